"""In which basis a cell's model is before it is compressed: rescaled, rotated, or as it is.

What was done is written into the model's section, under `BASIS`, where something was; a model as it
is has the section that it always had. A rescaled model is a base of its own, with a name and a
dense cell of its own. A rotated one is the same model, treated in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sweeper.config.section import Frozen, Section
from sweeper.errors import BadInput, one_of

BASIS = "basis"
"""The key of a model's section that has what is done before compression, in its order."""
BASE = "base"
"""The key of its section that names the model that it is another base of."""
Kind = Literal["rescale", "rotate"]
RESCALE: Literal["rescale"] = "rescale"
ROTATE: Literal["rotate"] = "rotate"
KINDS: tuple[Kind, ...] = (RESCALE, ROTATE)
METHODS = {RESCALE: ("none", "random"), ROTATE: ("none", "hadamard")}
SPREAD = 1.5
_OFF_GRID = (
    "The channels of this base were rescaled at random: the same function, its weights on no grid. "
    "Of the model before that:"
)


def of(model: Section, rescale: Section, rotate: Section) -> Section:
    """The section of the model with what is done to it; ``model`` itself where nothing is.

    Raises:
        BadInput: a value that means nothing, or a change of a checkpoint made elsewhere.
    """
    for kind, section in ((RESCALE, rescale), (ROTATE, rotate)):
        if section["method"] not in METHODS[kind]:
            raise BadInput(f"{kind}.method", section["method"], one_of(METHODS[kind]) + ".")
    steps: dict[Kind, Any] = {}
    if rescale["method"] != "none":
        if not 1 < rescale["spread"] <= 16:
            valid = "the largest factor: above 1, at most 16."
            raise BadInput("rescale.spread", rescale["spread"], valid)
        steps[RESCALE] = _own(rescale, "seed", "spread")
        name = _name(model["name"], rescale)
        model = {**model, "name": name, BASE: model["name"], "note": _note(model["note"])}
    if rotate["method"] != "none":
        size = rotate["block_size"]
        if size is not None and size < 1:
            raise BadInput("rotate.block_size", size, "columns of a block, or null: all.")
        steps[ROTATE] = _own(rotate, "block_size", "seed")
    if steps and model.get("compressed"):
        first = next(iter(steps))
        raise BadInput(
            f"{first}.method",
            steps[first]["method"],
            "a checkpoint that was compressed elsewhere (model.compressed) is taken as it is.",
            f"Set {first}=none.",
        )
    return {**model, BASIS: steps} if steps else model


def steps(model: Frozen) -> Mapping[Kind, Mapping[str, Any]]:
    """What is done to a model before it is compressed: kind of stage -> its options."""
    found: Mapping[str, Mapping[str, Any]] = model.dict.get(BASIS, {})
    return {kind: found[kind] for kind in KINDS if kind in found}


def rotated(model: Frozen) -> bool:
    """Whether cells of this model are compressed in a rotated basis."""
    return ROTATE in steps(model)


def suffix(model: Frozen) -> str:
    """' (rotated)', ' (rotated in blocks of 64, seed 1)': what the label of a cell ends with."""
    own = steps(model).get(ROTATE)
    if own is None:
        return ""
    size, seed = own["block_size"], own["seed"]
    blocks = [f"in blocks of {size}"] if size else []
    parts = [" ".join(["rotated", *blocks]), *([f"seed {seed}"] if seed else [])]
    return f" ({', '.join(parts)})"


def _own(section: Section, *names: str) -> dict[str, Any]:
    return {"method": section["method"], **{name: section[name] for name in names}}


def _name(name: str, rescale: Section) -> str:
    seed = f"-{rescale['seed']}" if rescale["seed"] else ""
    spread = f"-x{rescale['spread']:g}" if rescale["spread"] != SPREAD else ""
    return f"{name}-off-grid{seed}{spread}"


def _note(note: str) -> str:
    return f"{_OFF_GRID} {note}" if note else _OFF_GRID.removesuffix(" Of the model before that:")
