"""The format of checkpoints whose linear layers are products of two, and its loader.

``config.json`` names the ranks and says ``"model_type": "low_rank"``, so that a loader which
does not know the format refuses it instead of filling the missing matrices with noise. `load`
gives the transformers model of the architecture in ``base_model_type``, in which each such
layer is ``Sequential(Linear(columns, rank), Linear(rank, rows))``: weights ``<name>.0.weight``
[rank, columns] and ``<name>.1.weight`` [rows, rank].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch.nn import Linear, Sequential
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    PretrainedConfig,
)
from transformers import AutoModelForCausalLM as Auto

from sweeper.errors import StageFailure

MODEL_TYPE = "low_rank"
BASE = "base_model_type"


class LowRankConfig(PretrainedConfig):  # type: ignore[misc]  # transformers leaves it untyped
    """Lets llm-compressor read such a ``config.json``; no model class goes with it."""

    model_type = MODEL_TYPE


AutoConfig.register(MODEL_TYPE, LowRankConfig, exist_ok=True)


def load(folder: Path | str, **how: Any) -> Any:
    """The causal LM at ``folder``, factored or not; ``how`` is for `from_pretrained`.

    Weights are read from safetensors only: a pickle could run anything.
    """
    how["use_safetensors"] = True
    if not is_factored(folder):
        return Auto.from_pretrained(folder, **how)
    config = config_of(folder)
    return class_of(config).from_pretrained(folder, config=config, **how)


def class_of(config: Any) -> Any:
    """The model class of a factored checkpoint's configuration."""
    base: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return _class(base)


def config_of(folder: Path | str, *, trust_remote_code: bool = False) -> Any:
    """The transformers configuration of a checkpoint, factored or not."""
    if not is_factored(folder):
        return AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    stored = _stored(folder)
    base = stored.pop(BASE)
    return CONFIG_MAPPING[base].from_dict(stored | {"model_type": base})


def is_factored(folder: Path | str) -> bool:
    """Whether a checkpoint directory is of this format."""
    return bool(_stored(folder).get("model_type") == MODEL_TYPE)


def adopt(model: Any) -> None:
    """Makes a model whose layers were factorized one that saves itself in this format.

    Raises:
        StageFailure: an architecture that transformers does not have.
    """
    known: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model.config), None)
    if known is not type(model):
        raise StageFailure(
            f"{type(model).__name__} is no architecture of transformers' own, so a checkpoint of "
            "its factors could not be loaded. Choose a method that keeps the matrices."
        )
    model.config.low_rank = {name: pair[0].out_features for name, pair in pairs(model).items()}
    model.__class__ = _class(known)


def pairs(model: Any) -> dict[str, Sequential]:
    """The factorized layers of a model by name."""
    found = model.named_modules()
    return {n: m for n, m in found if isinstance(m, Sequential) and len(m) == 2}


def _class(base: Any) -> Any:
    """The architecture ``base`` with the layers of ``config.low_rank`` factorized."""

    class Factored(base):  # type: ignore[misc]  # whichever architecture it is
        def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(config, *args, **kwargs)
            for name, rank in config.low_rank.items():
                self.set_submodule(name, _pair(self.get_submodule(name), rank))

        def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
            super().save_pretrained(save_directory, *args, **kwargs)
            _mark(Path(save_directory), self.config.model_type)

    # transformers looks up by these names what the weights are called in the files
    Factored.__name__, Factored.__module__ = base.__name__, base.__module__
    return Factored


def _pair(whole: Any, rank: int) -> Sequential:
    inner = Linear(whole.in_features, rank, bias=False)
    return Sequential(inner, Linear(rank, whole.out_features, bias=whole.bias is not None))


def _stored(folder: Path | str) -> dict[str, Any]:
    file = Path(folder) / "config.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def _mark(folder: Path, base: str) -> None:
    stored = _stored(folder) | {"model_type": MODEL_TYPE, BASE: base, "architectures": None}
    (folder / "config.json").write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
