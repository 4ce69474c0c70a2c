"""A directory is the files that its index (or its one file) names, whatever else lies in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from sweeper.modeling import directory
from sweeper.modeling import integrity as soundness
from sweeper.stages import Job, measure
from sweeper.stages.evaluate import hf_backend as models
from sweeper.store import hashing as digests
from tests import tiny
from tests.planned import plan_of

LABEL = {"sparsity": 0.0, "pattern": "unstructured", "bits": 16, "mask": "none"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.make(tmp_path / "model")


def sharded(model: Path) -> Path:
    """The same weights in two files and an index."""
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for file, own in parts.items():
        save_file({n: tensors[n] for n in own}, model / file, metadata={"format": "pt"})
    index = {"weight_map": {n: file for file, own in parts.items() for n in own}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    return model


def littered(model: Path) -> None:
    """What people keep beside a model."""
    files = sorted(model.glob("*.safetensors"))
    shutil.copyfile(files[0], model / "consolidated.safetensors")
    (model / "checkpoint-500").mkdir()
    shutil.copyfile(files[0], model / "checkpoint-500" / "model.safetensors")
    (model / "results.json").write_text("{}")
    (model / "notes.txt").write_text("tried on Tuesday")
    (model / "modeling_other.py").write_text("raise SystemExit")
    (model / "broken.safetensors").write_bytes(b"half a fi")


def identity(model: Path) -> str:
    digests.file_digest.cache_clear()  # a plan hashes each file once
    (cell,) = plan_of(model, "prune.sparsity=50").cells
    return str(cell.stages["prune"].params["model"])


@pytest.mark.parametrize("shards", [False, True])
def test_what_lies_beside_the_model_neither_counts_nor_changes_it(
    model: Path, shards: bool, tmp_path: Path
) -> None:
    if shards:
        sharded(model)

    def measured() -> dict[str, object]:
        return measure.run(
            Job(params=LABEL, out=tmp_path, scratch=tmp_path, sources={"model": model})
        )

    before = identity(model), measured(), models.checkpoint_sha256(model)
    littered(model)
    assert soundness.trouble(model) is None
    assert (identity(model), measured(), models.checkpoint_sha256(model)) == before


def test_what_is_the_model_changes_it(model: Path) -> None:
    before = identity(model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))
    assert identity(model) != before
    changed = identity(model)
    (model / "generation_config.json").write_text('{"max_new_tokens": 7}')
    assert identity(model) != changed


def test_two_models_in_one_directory_are_refused(model: Path) -> None:
    whole = (model / "model.safetensors").read_bytes()
    sharded(model)
    assert soundness.trouble(model) is None
    (model / "model.safetensors").write_bytes(whole)
    assert "name different weights" in str(soundness.trouble(model))


def test_files_are_found_by_the_index_alone(model: Path) -> None:
    sharded(model)
    littered(model)
    assert [path.name for path in directory.weights(model)] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert "modeling_other.py" not in {path.name for path in directory.files(model)}
    assert "modeling_other.py" in {path.name for path in directory.files(model, code=True)}
