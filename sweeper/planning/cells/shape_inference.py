"""What is left of a model whose pruning takes parameters out, as far as planning needs it."""

from __future__ import annotations

from dataclasses import replace

from sweeper import methods
from sweeper.config.section import Frozen
from sweeper.errors import BadInput
from sweeper.modeling.shapes import Shapes
from sweeper.planning.cells.cell import Cell
from sweeper.planning.cells.pruning import Pruning, percent

SLACK = 0.0005
"""How far a share may be from a whole number of layers: 16.7 means 5 of 30."""


def counted(cell: Cell, shapes: Shapes) -> Cell:
    """The cell with depth pruning counted in this model's own layers; any other cell as it is.

    Raises:
        BadInput: there are not so many layers, or the share is no whole number of them.
    """
    pruned = cell.pruning
    if pruned is None or methods.removal(pruned.method) is None:
        return cell
    asked = dict(pruned.options).get("blocks")
    blocks = _share(pruned.sparsity, shapes.layers) if asked is None else asked
    if not 0 < blocks < shapes.layers:
        valid = f"this model has {shapes.layers} decoder layers, so 0 to {shapes.layers - 1}."
        raise BadInput("prune.blocks", blocks, valid)
    options = dict(pruned.options) | {"blocks": blocks}
    return replace(
        cell,
        pruning=replace(
            pruned, sparsity=blocks / shapes.layers, options=tuple(sorted(options.items()))
        ),
    )


def _share(share: float, layers: int) -> int:
    blocks = round(share * layers)
    if blocks and abs(blocks / layers - share) <= SLACK:
        return blocks
    low = min(max(int(share * layers), 1), layers - 2)
    near = " or ".join(f"{percent(n / layers).rstrip('%')} ({n})" for n in (low, low + 1))
    raise BadInput(
        "prune.sparsity",
        f"{100 * share:g}",
        f"that is no whole number of the model's {layers} decoder layers.",
        f"Near: {near}. Or say prune.blocks.",
    )


def left(pruning: Pruning | None, shapes: Shapes) -> Shapes:
    """The shapes that later stages meet: those of the model, unless parameters are removed."""
    how = methods.reshaping(pruning.method) if pruning else None
    if pruning is None or how is None:
        return shapes
    return Shapes(how.reshaped(meaning(pruning) | {"shapes": shapes.linear}), shapes.other)


def meaning(pruning: Pruning) -> dict[str, object]:
    """A pruning as the parameters of its stage."""
    return {
        "method": pruning.method,
        "sparsity": pruning.sparsity,
        "pattern": pruning.pattern,
        **Frozen(pruning.options).dict,
    }
