"""What is counted of each matrix of a checkpoint, one row a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict

from sweeper.errors import StageFailure
from sweeper.methods import validation

if TYPE_CHECKING:
    import torch

    from sweeper.stages.measure.matrix import Matrix


class MeasureParams(TypedDict):
    """What the label of a cell says of its checkpoint.

    ``sparsity`` is a share in [0, 1), ``bits`` of a weight, ``widths`` what single matrices may
    have where bits are allocated; ``elsewhere`` is set for a checkpoint that was imported.
    """

    sparsity: float
    pattern: str
    bits: float
    mask: str
    widths: NotRequired[Sequence[int]]
    activation_bits: NotRequired[int]
    profile: NotRequired[str]
    elsewhere: NotRequired[bool]


class Row(TypedDict):
    """What is counted of one matrix; a line of ``layers.json``.

    ``pruned`` and ``held`` (of those, still zero) are left out where the mask is not known.
    """

    name: str
    rows: int
    columns: int
    zeros: int
    finite: bool
    bits: int
    group_size: int | None
    entropy: float
    scale_bits: int
    zero_point_bits: int
    stored_bits: int
    pruned: NotRequired[int]
    held: NotRequired[int]
    nm_groups: NotRequired[int]
    nm_valid_groups: NotRequired[int]


Count = Literal[
    "weights",
    "zeros",
    "scale_bits",
    "zero_point_bits",
    "stored_bits",
    "pruned",
    "held",
    "nm_groups",
    "nm_valid_groups",
]
Kept = Mapping[str, "torch.Tensor"]
"""Matrix -> which of its weights were kept, bool [rows, columns]."""


def row_of(matrix: Matrix, params: MeasureParams, kept: Kept | None) -> Row:
    """The counts of one matrix; ``kept`` is the mask of each by name, where there is one."""
    nm = validation.nm(params["pattern"])
    rows, columns = matrix.zero.shape
    row: Row = {
        "name": matrix.name,
        "rows": rows,
        "columns": columns,
        "zeros": int(matrix.zero.sum()),
        "finite": matrix.finite,
        "bits": matrix.bits,
        "group_size": matrix.group_size,
        "entropy": entropy(matrix.symbols),
        "scale_bits": 8 * matrix.scale_bytes,
        "zero_point_bits": 8 * matrix.zero_point_bytes,
        "stored_bits": 8 * matrix.stored_bytes,
    }
    row["pruned"], row["held"] = _held(matrix, params, kept)
    if nm is not None:
        row["nm_groups"] = rows * (columns // nm[1])
        row["nm_valid_groups"] = valid_groups(matrix.zero, *nm)
    return row


def _held(matrix: Matrix, params: MeasureParams, kept: Kept | None) -> tuple[int, int]:
    """How many weights were pruned, and how many of those are still exactly zero."""
    if kept is not None:
        if matrix.name not in kept or kept[matrix.name].shape != matrix.zero.shape:
            raise StageFailure(
                f"the mask has no matrix {matrix.name} of {tuple(matrix.zero.shape)}: it is that "
                "of another model. Name the pruned model that this one was quantized from."
            )
        pruned = ~kept[matrix.name]
        return int(pruned.sum()), int((pruned & matrix.zero).sum())
    zeros = int(matrix.zero.sum()) if params["sparsity"] else 0
    return zeros, zeros


def valid_groups(zero: torch.Tensor, n: int, m: int) -> int:
    """Number of complete groups of ``m`` neighbours in a row with at least ``n`` zeros."""
    rows, columns = zero.shape
    groups = zero[:, : columns - columns % m].reshape(rows, -1, m)
    return int((groups.sum(-1) >= n).sum())


def entropy(symbols: torch.Tensor) -> float:
    """Order-0 entropy of the stored symbols in bits per weight; pruned zeros are symbols too."""
    import torch

    counts = torch.unique(symbols, return_counts=True)[1].double()
    share = counts / counts.sum()
    return float(-(share * share.log2()).sum()) + 0.0


def weights_of(row: Row) -> int:
    """Number of weights of a matrix."""
    return row["rows"] * row["columns"]


def mean_bits(rows: list[Row]) -> float:
    """Bits of a stored weight in the mean over all matrices."""
    return float(sum(row["bits"] * weights_of(row) for row in rows) / total(rows, "weights"))


def total(rows: list[Row], name: Count) -> int:
    """A count over all matrices; "weights" is rows x columns."""
    if name == "weights":
        return sum(weights_of(r) for r in rows)
    return sum(r.get(name, 0) for r in rows)
