"""Types of machines, GPUs and processors: one rule for whatever is set against something else.

A type is "cpu (AMD EPYC, avx2)", "NVIDIA A100", with "portable kernels" behind it where those were
chosen. A comparison is across machines when the cells in it, scored or compressed, are known to
have met more than one type. That is said wherever two cells, or a cell and its dense model, are
set against each other; standard errors are over documents and know nothing of machines.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

UNKNOWN_CPU = "cpu"
MOST_CELLS = 6  # of one type are named


def types(names: Iterable[str]) -> tuple[str, ...]:
    """The known types among some devices, sorted.

    Several of one cell are joined by "+". "" is not known, and of a bare "cpu" (as older outputs
    say) no type is where another one has it.
    """
    found = {part for name in names for part in name.split("+")} - {""}
    if any(name.startswith(f"{UNKNOWN_CPU} ") for name in found):
        found.discard(UNKNOWN_CPU)
    return tuple(sorted(found))


def differ(one: str, two: str) -> bool:
    """Whether two are known to have met more than one type between them; "" is not known."""
    return bool(one and two) and len(types((one, two))) > 1


def across(cells: pd.DataFrame, rows: Iterable[int]) -> str:
    """The types that some cells were scored or compressed on, if there are several; else "".

    Args:
        cells: as `Results.cells`.
        rows: their positions.
    """
    # Whole columns: to take rows of a table costs more than all tests of a pair.
    scored, made = (cells[name].to_numpy(object) for name in ("device", "compressed_on"))
    found = types(each[row] for row in rows for each in (scored, made))
    return "; ".join(found) if len(found) > 1 else ""


def mixed_note(model: str, cells: pd.DataFrame, names: Iterable[str]) -> str:
    """What to know of any comparison among the cells of a model; "" on one type of machine.

    Args:
        model: its name.
        cells: as `Results.cells`.
        names: what the cells are called.
    """
    called = list(names)
    if not across(cells, range(len(cells))):
        return ""
    groups: dict[str, list[str]] = {}
    for name, *met in zip(called, cells["device"], cells["compressed_on"], strict=True):
        if kinds := " and ".join(types(met)):
            groups.setdefault(kinds, []).append(name)
    told = "; ".join(f"{kinds}: {_few(each)}" for kinds, each in sorted(groups.items()))
    return (
        f"{model}: cells were compressed or scored on machines of several types ({told}). A "
        "difference between two types has the machines' in it, which no standard error here "
        "contains."
    )


def _few(names: list[str]) -> str:
    rest = len(names) - MOST_CELLS
    return ", ".join(names[:MOST_CELLS]) + (f" and {rest} more" if rest > 0 else "")
