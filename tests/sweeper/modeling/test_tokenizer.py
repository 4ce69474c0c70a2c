"""Text is split as the tokenizer's file says, whatever class its configuration names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from sweeper.errors import StageFailure
from sweeper.modeling import checkpoint, tokenizer
from sweeper.stages import Job, prune
from sweeper.stages.evaluate import hf_backend as models
from tests import tiny
from tests.planned import plan_of
from tests.sweeper.stages.conftest import PRUNE

TEXT = "The quick fox sees the old river, and a teacher writes."


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A byte-level tokenizer that calls itself a Llama's."""
    path = tiny.make(tmp_path / "model")
    config = json.loads((path / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "LlamaTokenizerFast"
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def as_its_file_says(path: Path) -> list[int]:
    found: list[int] = Tokenizer.from_file(str(path / "tokenizer.json")).encode(TEXT).ids
    return found


def test_the_library_alone_splits_in_another_way(model: Path) -> None:
    """If this fails, transformers has mended it, and the comparison finds no difference."""
    found = AutoTokenizer.from_pretrained(model)
    assert found(TEXT)["input_ids"] != as_its_file_says(model)
    assert not tokenizer.agrees(found, model)


def test_both_readers_split_as_the_file_says(model: Path) -> None:
    for found in (checkpoint.tokenizer(model), models.tokenizer_of(model)):
        assert found(TEXT)["input_ids"] == as_its_file_says(model)
        assert found.decode(found(TEXT)["input_ids"]) == TEXT
        assert found.eos_token == "<|end|>"


def test_what_is_saved_has_the_files_of_the_model(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    prune.run(
        Job(params={**PRUNE, "method": "magnitude"}, out=out, scratch=out, sources={"model": model})
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / "checkpoint" / name).read_bytes() == (model / name).read_bytes()


def test_only_such_a_model_becomes_another_one(model: Path) -> None:
    plain = tiny.make(model.parent / "plain")
    meanings = [
        next(iter(plan_of(path, "prune.sparsity=50").cells)).stages["prune"].params["model"]
        for path in (model, plain)
    ]
    assert meanings[0]["tokenizer"] == "file"
    assert set(meanings[1]) == {"sha256"}


def test_one_that_cannot_be_loaded_right_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "PreTrainedTokenizerFast", AutoTokenizer)
    with pytest.raises(StageFailure, match=r"does not split text as its tokenizer\.json says"):
        tokenizer.load(model)
