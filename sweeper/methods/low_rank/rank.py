"""Low rank as the front end sees it: which rank keeps which share of the parameters."""

from __future__ import annotations

from sweeper.errors import BadInput
from sweeper.methods import Params
from sweeper.methods.profiles import refuse_profile
from sweeper.modeling.shapes import Shape

INNER, OUTER = "0", "1"
"""Names of the two factors below the matrix that they stand for: x -> outer(inner(x))."""


def rank_of(rows: int, columns: int, removed: float) -> int:
    """The largest rank r whose two factors have at most the share of parameters that is kept.

    r (rows + columns) <= (1 - removed) rows columns; 0 where not even rank 1 fits.
    """
    # 1e-9: a share such as 0.2 must not lose a rank to its last binary digit
    return int((1 - removed) * rows * columns / (rows + columns) + 1e-9)


def factors_of(shape: Shape, rank: int) -> int:
    """Parameters of the two factors that stand for a matrix at a rank."""
    return rank * (shape[0] + shape[1])


def ranks(shape: Shape, levels: int) -> list[int | None]:
    """What an allocation can choose from: whole (None), then without 1/levels, 2/levels ..."""
    return [None, *(max(1, rank_of(*shape, k / levels)) for k in range(1, levels))]


class LowRank:
    """What methods that write a matrix as a product of two have in common."""

    stage = "prune"
    packages = ("llmcompressor",)
    calibrated = True
    masks = ()
    prunes = True
    pattern = "low-rank"

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return self._refuse_narrow(params) or refuse_profile(params)

    def _refuse_narrow(self, params: Params) -> BadInput | None:
        share, shapes = params["sparsity"], params["shapes"].items()
        narrow = [name for name, (rows, cols) in shapes if not rank_of(rows, cols, share)]
        if not narrow:
            return None
        return BadInput(
            "prune.sparsity",
            f"{100 * share:g}",
            f"not even rank 1 is left of {', '.join(narrow[:3])}.",
            "Remove less.",
        )

    def reshaped(self, params: Params) -> dict[str, Shape]:
        """See `sweeper.methods.Reshaping`: two factors for each matrix.

        Allocated ranks are not known before errors were measured; the uniform ones, which have
        as many parameters, stand for them.
        """
        found: dict[str, Shape] = {}
        for name, (rows, columns) in params["shapes"].items():
            rank = rank_of(rows, columns, params["sparsity"])
            found |= {f"{name}.{INNER}": (rank, columns), f"{name}.{OUTER}": (rows, rank)}
        return found
