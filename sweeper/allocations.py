"""The stage that an allocation rests on: which errors of which model it has to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper import methods
from sweeper.errors import BadInput
from sweeper.frozen import Frozen
from sweeper.identity import library
from sweeper.methods._profiles import LOSS, LOW_RANK
from sweeper.plan import Params, Stage
from sweeper.shared import Shared

_GRID = ("widths", "errors", "group_size", "symmetric")
# For estimates: the pass through the model, each share or width, all ranks at once, and to the
# loss and back with a Hessian for each matrix.
_PASS, _OPTION, _RANKS, _GRADIENTS = 0.5, 0.04, 0.33, 0.73


def sensitivity(
    shared: Shared, meaning: Frozen, section: Frozen, calibration: Frozen, read: Stage | None
) -> Stage:
    """Errors by matrix of the model that ``read`` makes; all allocations of a kind share it.

    Args:
        shared: of the plan.
        meaning: what is measured, see `measured`.
        section: the model.
        calibration: the text on which errors are taken.
        read: the stage that makes the model, or None where it is read as it is.
    """
    reads = shared.reads(section, read)
    text, path = shared.text(calibration, section)
    tokens = calibration["samples"] * calibration["length"]
    own, packages = dict(meaning.dict), ["llmcompressor"]
    if "widths" in own:
        own["save_dtype"] = section["save_dtype"]
        packages.append("compressed-tensors")
    return shared.stage(
        kind="sensitivity",
        params=Params(
            **own, calibration=text, model=reads["meaning"], compute_dtype=section["compute_dtype"]
        ),
        parents=reads["parents"],
        library=library(tuple(packages)),
        sources=reads["sources"] | ({"calibration": path} if path else {}),
        label=read.label if read is not None else section["name"],
        work=float(shared.model(section).shapes.linear_parameters) * tokens * _passes(own),
    )


def measured(meaning: Mapping[str, Any]) -> Frozen:
    """What is measured for a stage that means this: widths on its grid, ranks or shares."""
    if "widths" in meaning:
        return Frozen.of({name: meaning[name] for name in _GRID})
    if meaning["pattern"] != LOW_RANK:
        return Frozen.of({name: meaning[name] for name in ("levels", "errors")})
    own = (*methods.method(meaning["method"]).options, "method", "levels", "errors")
    return Frozen.of({name: meaning[name] for name in own if name != "profile"})


def _passes(own: Mapping[str, Any]) -> float:
    whole = _PASS + (_GRADIENTS if own["errors"] == LOSS else 0.0)
    if "method" in own:
        return whole + _RANKS
    options = len(own["widths"]) if "widths" in own else own["levels"]
    return float(whole + _OPTION * options)


def refuse_groups(meaning: Mapping[str, Any], removed: Mapping[str, Any]) -> BadInput | None:
    """Groups of columns need to know how many there are; allocated ranks are not known yet."""
    size = meaning.get("group_size", -1)
    if size == -1 or removed.get("pattern") != LOW_RANK or "profile" not in removed:
        return None
    return BadInput(
        "quant.group_size",
        size,
        "with allocated ranks it is not known before they are measured whether it divides them; "
        "valid: -1 (whole rows).",
    )
