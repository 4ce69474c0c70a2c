"""A model's own code runs only where `model.trust_remote_code` says so, and that is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.planning import builder
from tests import tiny
from tests.composing import composed
from tests.stubs import kinds

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({ran!r}).touch()

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_it_runs_only_when_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import dynamic_module_utils

    from sweeper.modeling import checkpoint

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    model, ran = tiny.make(tmp_path / "model"), tmp_path / "ran"
    config = json.loads((model / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config |= {"model_type": "own", "auto_map": own}
    (model / "config.json").write_text(json.dumps(config))
    (model / "own.py").write_text(CODE.format(ran=str(ran)))
    with pytest.raises(ValueError, match="trust_remote_code"):
        checkpoint.load(model, dtype="float32")
    assert not ran.exists()
    assert type(checkpoint.load(model, dtype="float32", trust_remote_code=True)).__name__ == (
        "OwnModel"
    )
    assert ran.exists()


def test_it_is_off_and_where_it_is_on_that_is_recorded(tmp_path: Path) -> None:
    words = [
        "model=custom",
        f"model.id={kinds.model(tmp_path / 'model')}",
        "model.name=tiny",
        "model.group_size=32",
        "prune.sparsity=50",
    ]
    keys = []
    with composed([]) as (config, loader):
        for more in ([], ["model.trust_remote_code=false"], ["model.trust_remote_code=true"]):
            stages = builder.plan(config, loader, [*words, *more]).stages.values()
            (prune,) = (stage for stage in stages if stage.kind == "prune")
            keys.append((prune.key, prune.params["model"].get("trust_remote_code", False)))
    (default, off, on) = keys
    assert default == off
    assert not off[1]
    assert on[1]
    assert on[0] != off[0]
