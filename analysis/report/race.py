"""What a report says of a race: who beat whom at which look, and who survives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from analysis.data.devices import across
from analysis.data.results import Results
from analysis.output.table import ACROSS, Column, Table, if_any
from analysis.race.decision import CellResult, Decision, GroupResult, PairResult
from analysis.race.settings import RaceSettings
from analysis.report.sentences import across as across_words
from analysis.statistics.sequential import mixture_boundary, mixture_rho

QUANTITY = {"sr2": "Sr2", "sr1": "Sr1", "log_likelihood": "log-likelihood, nats per unit"}
RULES = {
    "anytime": "rule A (normal mixture): it holds whenever one looks, stops or goes on",
    "spending": "rule B (alpha spending, Pocock's type): it holds at the looks that were planned, "
    "and only there",
}
FAMILIES = {
    "group": "all pairs of a group of cells",
    "sweep": "all pairs of all groups, those of equal TCr and those of equal size together",
}


def decisions(results: Results) -> list[Decision]:
    """Those of the results' race, oldest first; none without a race."""
    return [Decision.from_json(one) for one in results.race.looks] if results.race else []


def _how(found: Sequence[Decision]) -> str:
    """How the race was decided, in a paragraph."""
    last, own = found[-1], found[-1].settings
    over = "It is over" if last.over else f"It goes on ({len(last.ask)} cells are asked more)"
    margin = "" if own.margin is None else f" Differences below {own.margin:g} count as none."
    return (
        f"Cells were asked documents look by look, and beaten ones no more. {over} after "
        f"{len(found)} looks, the last at {last.per_task} documents a task. Decided by "
        f"{RULES[own.rule]}. The probability of any false verdict in a family "
        f"({FAMILIES[own.family]}) is at most {100 * own.alpha:g} %, for large samples.{margin}"
    )


def race_table(results: Results) -> Table:
    """One row a cell of each group: its verdict, the look at which it fell, and what it rests on.

    Cells were asked different numbers of documents, so they are not ranked; retention is shown on
    the documents of the first look, which all of them answered.
    """
    found = decisions(results)
    names = results.race.names if results.race else {}
    rows = [
        {**row, "across": _pair_met(results, group, str(row["cell"]))}
        for group in (found[-1].groups if found else ())
        for row in _rows(found, group, names)
    ]
    by = QUANTITY[found[-1].settings.by] if found else "Sr"
    first = found[0].per_task if found else 0
    level = 100 * (1 - found[-1].settings.alpha) if found else 95
    columns = (
        Column(key="group", title="Group"),
        Column(key="label", title="Cell"),
        Column(key="value", title=f"{by} on the first {first} documents a task", form="number"),
        Column(key="interval", title=f"at all looks, {level:g} %"),
        Column(key="verdict", title="Verdict"),
        Column(key="look", title="Told at look", form="number", digits=0),
        Column(key="per_task", title="Documents a task", form="number", digits=0),
        Column(key="difference", title="Difference", form="number"),
        Column(key="apart", title="at all looks, simultaneously"),
        Column(key="p", title="p (Holm)", form="p"),
        *if_any(pd.DataFrame(rows), ACROSS),
    )
    notes = (
        "The difference is to the cell that the verdict names, on the documents that both answered "
        "by then; its interval holds for all pairs of the family and all looks together. Intervals "
        "of a single cell hold at all looks, for it alone, and take the dense cell's scores as "
        "known. A cell that left the race failed, collapsed, or answered other documents.",
    )
    return Table(
        name="race",
        caption="The race: who beat whom, and at which look",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=(_how(found), *notes) if found else (),
    )


def _rows(
    found: Sequence[Decision], group: GroupResult, names: Mapping[str, str]
) -> Iterator[dict[str, object]]:
    known = {one.cell: one for one in found[0].cells}
    per_task = {one.look: one.per_task for one in found}
    order = [*group.survivors, *group.beaten, *group.dropped]
    for cell in order:
        pair = _telling(group, cell)
        row: dict[str, object] = {
            "group": group.name,
            "cell": cell,
            "label": names.get(cell, cell),
            "verdict": _verdict(group, cell, names),
            **_level(known.get(cell), found[0].settings),
        }
        if pair is not None:
            sign = 1.0 if pair.first == cell else -1.0
            ends = sorted(sign * end for end in (pair.low, pair.high) if end is not None)
            row |= {
                "look": pair.decided or math.nan,
                "per_task": per_task.get(pair.look, math.nan),
                "difference": sign * pair.difference,
                "apart": f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "",
                "p": pair.adjusted,
            }
        yield row


def _pair_met(results: Results, group: GroupResult, cell: str) -> str:
    """What the two cells met that a cell's verdict rests on."""
    pair = _telling(group, cell)
    return _met(results, [pair.first, pair.second]) if pair else ""


def _telling(group: GroupResult, cell: str) -> PairResult | None:
    """The pair that a cell's verdict rests on: the surest of those it lost, or has open."""
    own = [pair for pair in group.pairs if cell in (pair.first, pair.second) and pair.look]
    if cell in group.beaten:
        own = [pair for pair in own if pair.beaten == cell]
    else:
        left = {*group.survivors} - {cell}
        own = [pair for pair in own if {pair.first, pair.second} - {cell} <= left] or own
    return min(own, key=lambda pair: pair.adjusted, default=None)


def _verdict(group: GroupResult, cell: str, names: Mapping[str, str]) -> str:
    if cell in group.dropped:
        return f"left: {group.dropped[cell]}"
    if cell in group.beaten:
        return f"beaten by {_and([names.get(one, one) for one in group.beaten[cell]])}"
    if group.state == "decided":
        return "best" if len(group.survivors) == 1 else "best, with other seeds of its method"
    others = [names.get(one, one) for one in group.survivors if one != cell]
    told = {
        "racing": "in the race with",
        "equivalent": "equivalent to",
        "ended": "not told from",
    }[group.state]
    return f"{told} {_and(others)}"


def _level(one: CellResult | None, settings: RaceSettings) -> dict[str, object]:
    """A cell's retention on the first look's documents, with an interval for all looks."""
    if one is None:
        return {"value": math.nan, "interval": ""}
    if not one.stderr > 0:
        return {"value": one.value, "interval": ""}
    rho = mixture_rho(settings.assumed_spread)
    reach = one.stderr * float(mixture_boundary(one.stderr**2, settings.alpha, rho))
    return {"value": one.value, "interval": f"{one.value - reach:.3f} to {one.value + reach:.3f}"}


def race_sentences(results: Results) -> list[str]:
    """One sentence a group: who is left, who was beaten at which look."""
    found = decisions(results)
    names = results.race.names if results.race else {}
    return [
        _sentence(group, names, _met(results, [*group.survivors, *group.beaten]))
        for group in (found[-1].groups if found else ())
    ]


def _met(results: Results, cells: Sequence[str]) -> str:
    """The types of machine that some cells met, if several; see `analysis.data.devices`."""
    met = set(cells)
    rows = [row for row, cell in enumerate(results.cells["cell"]) if cell in met]
    return across(results.cells, rows) if len(rows) > 1 else ""


def _sentence(group: GroupResult, names: Mapping[str, str], met: str) -> str:
    left = _and([names.get(cell, cell) for cell in group.survivors]) or "no cell"
    looks = {pair.beaten: pair.decided for pair in group.pairs if pair.beaten}
    beaten = [f"{names.get(cell, cell)} (look {looks[cell]})" for cell in group.beaten]
    gone = f"; beaten: {_and(beaten)}" if beaten else ""
    told = {
        "decided": f"{left} is best of the cells that raced",
        "equivalent": f"{left} differ by less than the margin",
        "ended": f"all documents could not tell {left} apart",
        "racing": f"{left} are still in the race",
    }[group.state]
    return f"{group.name}: {told}{gone}{across_words(met)}."


def _and(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
