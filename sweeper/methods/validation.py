"""What the front end can refuse of OBS methods without torch: patterns, groups, dampening."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from sweeper.errors import BadInput, one_of
from sweeper.methods import Params

_LAYERS_SHOWN = 6
REMOVED = ("low-rank", "structured")
"""Patterns whose parameters are removed from the checkpoint, instead of set to zero."""


def nm(pattern: str) -> tuple[int, int] | None:
    """'2:8' -> (2, 8): prune 2 of every 8; None for 'unstructured', 'low-rank', 'structured'.

    Raises:
        BadInput: neither of both.
    """
    if pattern in ("unstructured", *REMOVED):
        return None
    n, colon, m = pattern.partition(":")
    if not (colon and n.isdigit() and m.isdigit() and 0 < int(n) < int(m)):
        raise BadInput(
            "prune.pattern",
            pattern,
            "valid: unstructured, or N:M with 0 < N < M (N of every M weights are pruned).",
            unquoted(pattern),
        )
    return int(n), int(m)


def unquoted(pattern: str) -> str:
    """What YAML made a number of: 2:8 without quotes is two minutes and eight seconds."""
    if not pattern.isdigit():
        return ""
    n, m = divmod(int(pattern), 60)
    return f"In a YAML file write '{n}:{m}' in quotes: without them it is a number." if n else ""


def refuse_pattern(params: Params) -> BadInput | None:
    """A pattern that exists and fits into every row, or a share of the weights."""
    try:
        pattern = nm(params["pattern"])
    except BadInput as refused:
        return refused
    if pattern is not None:
        return refuse_wide(pattern[1], params)
    if 0 < params["sparsity"] < 1:
        return None
    percent = 100 * params["sparsity"]
    return BadInput("prune.sparsity", percent, "valid: 0, or 1 to below 100 percent.")


def refuse_missing(package: str, method: str) -> BadInput | None:
    """A quantizer of another package needs that package, an extra of this project."""
    if find_spec(package) is not None:
        return None
    return BadInput(
        "quant.method",
        method,
        f"it is done by {package}, which is not installed.",
        f"Install it: pip install 'isorate[{package}]'",
    )


def refuse_bits(method: str, params: Params, valid: tuple[int, ...]) -> BadInput | None:
    """The bits that a quantizer has codes for."""
    if params["bits"] in valid:
        return None
    return BadInput("quant.bits", params["bits"], f"{method}, {one_of(valid)}.")


def refuse_dampening(stage: str, params: Params) -> BadInput | None:
    """Dampening is a share of the mean diagonal: above 0, at most 1."""
    value = params.get("dampening", 0.01)
    if 0 < value <= 1:
        return None
    return BadInput(f"{stage}.dampening", value, "valid: above 0, at most 1.", "0.01 is usual.")


def refuse_block(stage: str, params: Params) -> BadInput | None:
    """A block has at least one column."""
    value = params.get("block_size", 128)
    if value >= 1:
        return None
    return BadInput(f"{stage}.block_size", value, "valid: 1 or more columns.", "128 is usual.")


def refuse_wide(m: int, params: Params) -> BadInput | None:
    """A group of M must fit into a row at least once."""
    narrow = {name: s[1] for name, s in _shapes(params).items() if s[1] < m}
    if not narrow:
        return None
    return BadInput(
        "prune.pattern",
        params["pattern"],
        f"M={m} is wider than a row of {_listed(narrow)}.",
        "Choose a smaller M.",
    )


def refuse_group(params: Params) -> BadInput | None:
    """A group size must divide the columns of every matrix; -1 means whole rows."""
    size = params.get("group_size", -1)
    if size == -1:
        return None
    columns = {name: shape[1] for name, shape in _shapes(params).items()}
    misfits = {n: c for n, c in columns.items() if size < 1 or c % size}
    if size >= 1 and not misfits:
        return None
    if not columns:
        return BadInput("quant.group_size", size, "valid: -1 (whole rows), or 1 or more weights.")
    return BadInput(
        "quant.group_size",
        size,
        f"it does not divide the columns of {_listed(misfits)}.",
        f"Sizes that fit all layers: -1 (whole rows), {_fitting(set(columns.values()))}.",
    )


def _shapes(params: Params) -> Mapping[str, tuple[int, int]]:
    shapes: Mapping[str, tuple[int, int]] = params.get("shapes") or {}
    return shapes


def _fitting(columns: set[int]) -> str:
    """Common divisors of all widths that are sensible group sizes (8 to 1024), as text."""
    sizes = [s for s in range(8, 1025) if all(c % s == 0 for c in columns)]
    return ", ".join(map(str, sizes)) if sizes else "no other"


def _listed(columns: Mapping[str, int]) -> str:
    """'q_proj (576), ...': each kind of matrix once, since decoder layers repeat."""
    kinds = {_kind(name): width for name, width in columns.items()}
    shown = [f"{kind} ({width} columns)" for kind, width in list(kinds.items())[:_LAYERS_SHOWN]]
    return ", ".join(shown) + (" ..." if len(kinds) > _LAYERS_SHOWN else "")


def _kind(name: str) -> str:
    """'q_proj'; of a factor of low rank 'q_proj.1'."""
    *_, before, last = ("", *name.split("."))
    return f"{before}.{last}" if last.isdigit() else last
