"""The race as it went: differences and the boundary that tells them, over documents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from analysis.data.results import Results
from analysis.output.figure import Figure, canvas, finished, look
from analysis.race.decision import Decision, GroupResult, PairResult
from analysis.report.race import QUANTITY, decisions

PANELS = 3
"""Panels beside each other."""


def race_figures(results: Results) -> Iterator[Figure]:
    """One figure for every three groups of a model, a panel each.

    A line is how much less a cell has than the reference, the survivor that beat most others; the
    grey area is where the rule tells nothing.
    """
    found = decisions(results)
    names = results.race.names if results.race else {}
    by_model: dict[str, list[GroupResult]] = {}
    for group in found[-1].groups if found else ():
        by_model.setdefault(group.model, []).append(group)
    for model, groups in by_model.items():
        for start in range(0, len(groups), PANELS):
            yield _figure(model, found, groups[start : start + PANELS], names)


def _figure(
    model: str, found: Sequence[Decision], groups: Sequence[GroupResult], names: Mapping[str, str]
) -> Figure:
    with canvas(3.6 * len(groups), 3.8, columns=len(groups)) as (drawing, axes):
        for axis, group in zip(axes, groups, strict=True):
            reference = _reference(group)
            told = _lines(found, group, reference)
            edge: dict[int, float] = {}
            for i, (cell, line) in enumerate(told.items()):
                colour, marker = look(i)
                axis.plot(
                    [x for x, _ in line],
                    [_signed(pair, cell) for _, pair in line],
                    color=colour,
                    marker=marker,
                    label=names.get(cell, cell),
                )
                for x, pair in line:
                    edge[x] = max(edge.get(x, 0.0), pair.boundary * math.sqrt(pair.variance))
            at = sorted(edge)
            axis.fill_between(
                at, [-edge[x] for x in at], [edge[x] for x in at], color="#dddddd", zorder=0
            )
            axis.axhline(0, color="#888888", linewidth=1)
            axis.set_xscale("log", base=2)
            ticks = [one.per_task for one in found]
            axis.set_xticks(ticks, [str(tick) for tick in ticks], rotation=60, fontsize=7)
            axis.minorticks_off()
            axis.set_title(f"{group.name.removeprefix(model).strip()}", fontsize=9)
            axis.set_xlabel("documents a task")
            axis.legend(
                title=f"against {names.get(reference, reference)}", title_fontsize=7, fontsize=7
            )
        axes[0].set_ylabel(f"difference of {QUANTITY[found[-1].settings.by]}")
        caption = (
            "Differences to one cell of each group over the documents asked. Inside the grey area "
            "(the widest boundary of the first of Holm's steps) nothing is told; a line ends where "
            "its cell is beaten, or the group done."
        )
        return finished(drawing, "race", model, caption)


def _reference(group: GroupResult) -> str:
    """The survivor that beat most others; where none is left, the better of the first pair."""
    if group.survivors:
        wins = dict.fromkeys(group.survivors, 0)
        for by in group.beaten.values():
            for cell in by:
                if cell in wins:
                    wins[cell] += 1
        return max(group.survivors, key=lambda cell: wins[cell])
    return group.pairs[0].better or group.pairs[0].first


def _lines(
    found: Sequence[Decision], group: GroupResult, reference: str
) -> dict[str, list[tuple[int, PairResult]]]:
    """Rival -> (documents a task, the pair) at each look at which both were asked."""
    lines: dict[str, list[tuple[int, PairResult]]] = {}
    for decision in found:
        then = decision.group(group.name)
        for pair in then.pairs if then else ():
            if reference in (pair.first, pair.second) and pair.look == decision.look:
                other = pair.second if pair.first == reference else pair.first
                lines.setdefault(other, []).append((decision.per_task, pair))
    return lines


def _signed(pair: PairResult, cell: str) -> float:
    """How much more the cell has than the reference."""
    return pair.difference if pair.first == cell else -pair.difference
