"""Everything that configuration, headers and tokenizer tell is refused while planning, once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeper.errors import BadInput
from sweeper.inputs import hub_cache, jsonl, sources
from tests import tiny
from tests.planned import plan_of

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def configured(**values: Any) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        config = json.loads((model / "config.json").read_text()) | values
        kept = {name: value for name, value in config.items() if value is not None}
        (model / "config.json").write_text(json.dumps(kept))

    return change


def without_tokenizer(model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()


def with_adapter(model: Path) -> None:
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/base"}')
    save_file({"lora": torch.zeros(1)}, model / "adapter_model.safetensors")


def adapter_alone(model: Path) -> None:
    with_adapter(model)
    (model / "model.safetensors").unlink()


def pickled(model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def pointer(name: str) -> Callable[[Path], None]:
    return lambda model: (model / name).write_text(POINTER) and None


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (without_tokenizer, "it has no tokenizer. Copy tokenizer.json"),
        (configured(model_type="brandnew"), "transformers cannot build it: .*brandnew"),
        (configured(model_type=None), "config.json has no model_type"),
        (
            configured(architectures=["LlamaForTokenClassification"]),
            "it is a LlamaForTokenClassification: no model that predicts the next token",
        ),
        (configured(architectures=["RobertaForMaskedLM"]), "no model that predicts the next"),
        (configured(is_encoder_decoder=True), "it is an encoder with a decoder"),
        (with_adapter, "an adapter lies beside its weights.*merge_and_unload"),
        (adapter_alone, "it is an adapter of acme/base, without a model"),
        (pickled, r"its weights are pickles \(pytorch_model\*\.bin\).*save_pretrained"),
        (pointer("model.safetensors"), "model.safetensors is a pointer of Git LFS"),
        (pointer("tokenizer.json"), "tokenizer.json is a pointer of Git LFS"),
        *(
            (
                configured(quantization_config={"quant_method": by}),
                rf"its weights are quantized already \({by}\)",
            )
            for by in ("fp8", "gptq", "awq", "bitsandbytes", "compressed-tensors")
        ),
    ],
)
def test_what_the_files_tell(model: Path, harm: Callable[[Path], None], message: str) -> None:
    assert plan_of(model, "prune.sparsity=50").cells
    harm(model)
    with pytest.raises(BadInput, match=f"(?s)model.id={model}: .*{message}") as refused:
        plan_of(model, "prune.sparsity=0,50", "quant.bits=16,4")
    assert str(refused.value).count("model.id=") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["calibration.length=600", "prune=wanda", "prune.sparsity=50"],
            "calibration.length=600: the model takes texts of at most 512 tokens",
        ),
        (
            [
                "tasks=demo",
                "tasks.names=[demo_agreement]",
                "tasks.apply_chat_template=true",
                "prune.sparsity=0",
            ],
            "tasks.apply_chat_template=True: the tokenizer of .* has no chat template",
        ),
    ],
)
def test_what_the_model_cannot_do(model: Path, words: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plan_of(model, *words)


TEXT = "The quick fox sees the old river and a teacher writes a song. "


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.csv", b"text\n" + TEXT.encode(), r"valid: \.txt, \.jsonl or \.parquet"),
        ("text.jsonl.gz", b"\x1f\x8b", r"valid: \.txt, \.jsonl or \.parquet"),
        ("latin.txt", TEXT.encode() + "naïve".encode("latin-1"), "it is not UTF-8 text"),
        ("wide.txt", TEXT.encode("utf-16"), "it is not UTF-8 text"),
        ("other.jsonl", b'{"content": "a"}\n', "no column 'text' of text .*line 1 has 'content'"),
        ("number.jsonl", b'{"text": "a"}\n{"text": 5}\n', "line 2 has 5 in it"),
        ("broken.jsonl", b'{"text": "a"}\n{"text": ', "line 2 is no JSON"),
        ("list.jsonl", b'["a"]\n', "line 1 is no object"),
    ],
)
def test_text_that_is_none(
    model: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content * (1 if name.endswith("l") else 60))
    with pytest.raises(BadInput, match=message):
        plan_of(model, f"calibration.path={tmp_path / name}", "prune=wanda", "prune.sparsity=50")


def test_a_parquet_file_without_the_column(model: Path, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet as pq

    table = pyarrow.table({"body": [TEXT] * 80, "text": list(range(80))})
    pq.write_table(table, tmp_path / "rows.parquet")
    words = [f"calibration.path={tmp_path / 'rows.parquet'}", "prune=wanda", "prune.sparsity=50"]
    with pytest.raises(BadInput, match=r"calibration\.field=text: valid: body, the texts of"):
        plan_of(model, *words)
    assert plan_of(model, *words, "calibration.field=body").cells


def test_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    odd = "one\u2028two\u0085three\x0bfour"
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": odd}, ensure_ascii=False), '{"text": null}', "", '{"text": "b"}']
    file.write_text("\ufeff" + "\r\n".join(lines) + "\n", encoding="utf-8", newline="")
    assert list(jsonl.texts(file, "text")) == [odd, "b"]


def in_hub(whole: Path, hub: Path) -> str:
    """A snapshot as `from_pretrained` leaves it: links into blobs, and no list of its files."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = hub / "models--acme--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    for number, file in enumerate(sorted(whole.iterdir())):
        shutil.copyfile(file, folder / "blobs" / str(number))
        (folder / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{number}")
    return commit


@pytest.mark.parametrize(
    ("variable", "below"),
    [
        ("HF_HOME", "hub"),
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("XDG_CACHE_HOME", "huggingface/hub"),
    ],
)
def test_a_cache_as_people_have_it(
    whole: Path, tmp_path: Path, variable: str, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    commit = in_hub(whole, tmp_path / "cache" / below)
    assert hub_cache.snapshot("models", "acme/tiny", "main") is not None
    plan = plan_of(whole, "model.id=acme/tiny", "prune.sparsity=50")
    (prune,) = (stage for stage in plan.stages.values() if stage.kind == "prune")
    assert prune.params["model"] == {"id": "acme/tiny", "revision": commit}
    at = sources.resolve({"sources": prune.sources, "params": prune.params})["model"]
    assert {path.name for path in at.iterdir()} == {path.name for path in whole.iterdir()}


def test_pickles_in_a_cache_are_not_said_to_be_missing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickles = Path(shutil.copytree(whole, tmp_path / "pickles"))
    pickled(pickles)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    in_hub(pickles, tmp_path / "hub")
    with pytest.raises(BadInput, match="its weights are pickles"):
        plan_of(whole, "model.id=acme/tiny", "prune.sparsity=50")
