"""How much of each matrix goes, so that all together have the sparsity of the label.

``prune.profile`` names a profile. Whatever it is, a pruner is handed one mapping, name of a
matrix -> share of its weights to prune, as ``params["sparsities"]``, and honours it. A new
profile is one function here and one name in `PROFILES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.errors import BadInput, one_of
from sweeper.methods import Params

UNIFORM = "uniform"
ALLOCATED = "allocated"
LOW_RANK = "low-rank"
PROFILES: Mapping[str, tuple[str, ...]] = {
    UNIFORM: (),
    "owl": ("owl_lambda", "owl_m"),
    ALLOCATED: ("levels", "errors"),
}
"""Profile -> the configuration keys below ``prune`` that mean something to it."""

BIT_PROFILES: Mapping[str, tuple[str, ...]] = {UNIFORM: (), ALLOCATED: ("widths", "errors")}
"""The same of ``quant.profile`` and the keys below ``quant``."""

UNIT, PLAIN, LOSS = ERRORS = ("unit", "plain", "loss")
"""What the errors of layers are that an allocation rests on (`sweeper.stages.sensitivity`)."""

_MOST_LEVELS = 100

PROFILE_KEYS = {"profile", *(key for keys in PROFILES.values() for key in keys)}


def profile_options(
    section: Mapping[str, Any],
    profiles: Mapping[str, tuple[str, ...]] = PROFILES,
    key: str = "prune.profile",
) -> dict[str, Any]:
    """What a section of the configuration says of the profile; nothing if uniform.

    Raises:
        BadInput: there is no such profile, or no such errors to allocate by.
    """
    profile = section["profile"]
    if profile not in profiles:
        raise BadInput(key, profile, f"{one_of(list(profiles))}.")
    if profile == UNIFORM:
        return {}
    if profile == ALLOCATED and section["errors"] not in ERRORS:
        own = key.replace("profile", "errors")
        raise BadInput(own, section["errors"], f"{one_of(list(ERRORS))}.")
    return {"profile": profile, **{name: section[name] for name in profiles[profile]}}


def refuse_profile(params: Params, *, calibrated: bool = True) -> BadInput | None:
    """A profile that this pruner, pattern and sparsity leave room for.

    Args:
        params: of the stage; without ``profile`` it is uniform.
        calibrated: whether the pruner looks at inputs.
    """
    profile = params.get("profile", UNIFORM)
    if profile == UNIFORM:
        return None
    if params["pattern"] == LOW_RANK and profile != ALLOCATED:
        return BadInput(
            "prune.profile",
            profile,
            "it says how zeros are spread, and low rank has none.",
            f"valid with low rank: {UNIFORM}, {ALLOCATED}.",
        )
    if params["pattern"] not in ("unstructured", LOW_RANK):
        return BadInput(
            "prune.profile",
            profile,
            f"{params['pattern']} has the same sparsity in every matrix.",
            "valid with N:M: uniform.",
        )
    return (
        _refuse_allocated(params, calibrated)
        if profile == ALLOCATED
        else _refuse_owl(params, calibrated)
    )


def _refuse_allocated(params: Params, calibrated: bool) -> BadInput | None:
    if not calibrated:
        return BadInput(
            "prune.profile",
            ALLOCATED,
            f"{params['method']} has no calibration, and errors are measured on it.",
            "Use prune=wanda or prune=sparsegpt, or prune.profile=uniform.",
        )
    levels, sparsity = params["levels"], params["sparsity"]
    if not 2 <= levels <= _MOST_LEVELS:
        return BadInput("prune.levels", levels, f"valid: 2 to {_MOST_LEVELS}.", "20 is usual.")
    if sparsity > 1 - 1 / levels:
        return BadInput(
            "prune.levels",
            levels,
            f"no matrix would be pruned beyond {1 - 1 / levels:.4%}, all together should be.",
            "Raise it.",
        )
    return None


def _refuse_owl(params: Params, calibrated: bool) -> BadInput | None:
    if not calibrated:
        return BadInput(
            "prune.profile",
            "owl",
            f"{params['method']} looks at no inputs, and OWL needs them.",
            "Use prune=wanda or prune=sparsegpt, or prune.profile=uniform.",
        )
    if params["owl_m"] <= 0:
        return BadInput("prune.owl_m", params["owl_m"], "valid: above 0.", "5 is usual.")
    sparsity, reach = params["sparsity"], params["owl_lambda"]
    room = min(sparsity, 1 - sparsity) / 2
    if 0 <= reach < room:
        return None
    return BadInput(
        "prune.owl_lambda",
        reach,
        f"valid at this sparsity: 0 (uniform) to below {room:g}: no layer may be pruned to less "
        "than nothing or to more than all, and layers differ by up to twice this share.",
    )
