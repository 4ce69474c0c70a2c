"""What the front end knows of refinement: its options, what they leave in an identity, their cost.

An option that is off means nothing: it is in no stage's parameters, so the stages of a grid without
refinement have the keys that they always had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.errors import BadInput, Refused, one_of
from sweeper.methods import Params

REFINE, RESCALE, SWAPS = "refine", "rescale", "swaps"
DAMPENING = "dampening"
QUANT: tuple[str, ...] = (REFINE, RESCALE)
"""The keys below ``quant`` of a quantizer whose grid is fixed when it starts."""
EVERY = (*QUANT, SWAPS)
"""All keys below ``quant`` that are about refinement."""
MOST = 100
"""Sweeps, or steps: the tenth changes next to nothing."""

NO_GRID: Mapping[str, str] = {
    "nf4": "nf4's codes are quantiles that bitsandbytes looks up while it loads a model: no grid "
    "is there for a sweep to move them on",
    "llm_int8": "bitsandbytes rounds llm_int8's weights while it loads a model, and leaves out the "
    "columns of outliers at run time: no grid is there for a sweep to move codes on",
    "smoothquant": "smoothquant rounds the inputs too, at run time and by token, so the error of "
    "a layer is not the one that a sweep lowers",
}
"""Quantizer -> why its codes cannot be refined."""
NO_SUPPORT = "it has no mask whose kept weights could be refitted"


def check(section: Mapping[str, Any], stage: str) -> None:
    """Refuse a number of sweeps or steps that means nothing, whatever the method.

    Raises:
        BadInput: it is below 0 or beyond reason.
    """
    count = section.get(REFINE, 0)
    if 0 <= count <= MOST:
        return
    quant = stage == "quant"
    what = "sweeps" if quant else "steps of conjugate gradients"
    hint = "3 is usual." if quant else "20 is usual."
    raise BadInput(f"{stage}.{REFINE}", count, f"valid: 0 to {MOST} {what}.", hint)


def options(section: Mapping[str, Any], own: Sequence[str], stage: str) -> dict[str, Any]:
    """The options of a section of the configuration that are on.

    Args:
        section: with every option of the stage.
        own: what the method understands.
        stage: "prune" or "quant", the section's name.

    Raises:
        Refused: one that this method, or the rest of the section, leaves no use for.
    """
    found = {name: section[name] for name in EVERY if section.get(name)}
    for name, value in found.items():
        if name not in own:
            raise Refused(_unusable(stage, name, value, section["method"]))
    for name in (RESCALE, SWAPS):
        if name in found and REFINE not in found:
            none = "it is done beside the sweeps of quant.refine, of which there are none."
            raise Refused(BadInput(f"{stage}.{name}", found[name], none, "Set quant.refine=3."))
    if REFINE in found and DAMPENING not in own:
        found[DAMPENING] = section[DAMPENING]  # of the Hessian, which nothing else needs here
    return found


def _unusable(stage: str, name: str, value: object, method: str) -> BadInput:
    key = f"{stage}.{name}"
    if stage == "prune":
        return BadInput(
            key,
            value,
            f"{method}: {NO_SUPPORT}.",
            "valid with prune=sparsegpt, wanda and magnitude; else prune.refine=0.",
        )
    if name == SWAPS:
        return BadInput(
            key,
            value,
            "a swap changes the mask, and what a prune stage has pruned is to stay 0.",
            "valid with quant=joint, which chooses the mask itself; else quant.swaps=false.",
        )
    why = NO_GRID.get(method, f"{method} has no grid that is fixed when it starts")
    return BadInput(
        key,
        value,
        f"{why}.",
        f"{one_of(['gptq', 'joint', 'rtn', 'awq'])}; else quant.{name}=0.",
    )


def label(found: Mapping[str, Any]) -> str:
    """What a label says of refinement: '', ', refined', ', refined with scales and swaps'."""
    if not found.get(REFINE):
        return ""
    more = [word for name, word in ((RESCALE, "scales"), (SWAPS, "swaps")) if found.get(name)]
    return ", refined" + (f" with {' and '.join(more)}" if more else "")


def passes(params: Params, plain: float) -> float:
    """The cost of a stage that takes ``plain`` without refinement, as `methods.Costed.passes`."""
    sweeps = int(params.get(REFINE, 0))
    return plain + sweeps * (_A_SWEEP + _SCALES * bool(params.get(RESCALE)) + _swaps(params))


def refit_passes(params: Params, plain: float, *, hessians: bool = False) -> float:
    """The same of a prune stage; ``hessians``: without refinement it sums none."""
    steps = int(params.get(REFINE, 0))
    if not steps:
        return plain
    return (_SUMMED if hessians else plain) + steps * _A_STEP


_SUMMED = 0.7
_A_STEP = 0.06
_A_SWEEP = 0.15
_SCALES = 0.1


def _swaps(params: Params) -> float:
    return 0.15 if params.get(SWAPS) else 0.0
