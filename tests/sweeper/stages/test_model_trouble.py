"""Models that are not whole: refused while planning where the headers tell, else by the stage."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.errors import StageFailure
from sweeper.modeling import integrity
from tests import tiny
from tests.stubs import kinds


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def cut(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def beheaded(model: Path) -> None:
    (model / "model.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}")


def unsharded(model: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def outgrown(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, r"bytes, its header speaks of"),
        (beheaded, r"model\.safetensors is cut"),
        (unsharded, r"model-00002-of-00002\.safetensors, which is missing"),
        (outgrown, r"its tokenizer goes up to entry \d+, its embedding has 300 rows"),
    ],
)
def test_what_the_headers_tell(model: Path, harm: Callable[[Path], None], message: str) -> None:
    assert integrity.trouble(model) is None
    harm(model)
    found = integrity.trouble(model)
    assert found is not None
    assert re.search(message, found)


def test_the_stand_in_model_of_other_tests_is_whole(tmp_path: Path) -> None:
    assert integrity.trouble(kinds.model(tmp_path / "model")) is None


def without(model: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    del weights[name]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("reader", ["compress", "score"])
def test_weights_that_are_missing_are_never_made_up(model: Path, reader: str) -> None:
    """Transformers would fill them with random numbers and say so in a log only."""
    from sweeper.modeling import checkpoint
    from sweeper.stages.evaluate import hf_backend

    def load() -> None:
        if reader == "compress":
            checkpoint.load(model, dtype="float32")
        else:
            hf_backend.load(model, dtype="float32", device="cpu")

    load()
    without(model, "model.layers.1.mlp.up_proj.weight")
    assert integrity.trouble(model) is None
    with pytest.raises(StageFailure, match=r"not in .*: model\.layers\.1\.mlp\.up_proj\.weight"):
        load()


class Trap:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_weights_that_are_a_pickle_are_not_opened(model: Path, tmp_path: Path) -> None:
    """Neither where they are all there is (such a directory is no model to plan with either)."""
    from sweeper.modeling import checkpoint

    with (model / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Trap(tmp_path / "sprung"), file)
    assert checkpoint.load(model, dtype="float32").config.vocab_size
    (model / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        checkpoint.load(model, dtype="float32")
    assert not (tmp_path / "sprung").exists()
