"""A race read from results: who competes, and what was answered in the seeded order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

import pandas as pd

from analysis.comparison.size import RATES, sizes
from analysis.comparison.size import groups as size_groups
from analysis.comparison.verdicts import equal_tcr_groups, not_proved
from analysis.data.documents import POSITION, Documents, scored
from analysis.data.paired import Link, link_of
from analysis.data.panel import Panel, panels
from analysis.data.results import Results, is_dense
from analysis.errors import BadResults
from analysis.output.text import listed, percent
from analysis.race.field import Answers, CellAnswers, Contest, Field, Group
from analysis.race.schedule import Leaf

SERVED = next(rate for rate in RATES if rate.key == "served")


class NotRaceable(BadResults):
    """Results over which no race can be held; the message says what they lack."""


def field_of(results: Results, by: str = "sr2") -> Field:
    """Who races whom: the cells of each model at equal TCr, and those of equal size as served.

    A cell whose label is not proved is in no group by rate. The dense cell of a model races
    nobody: it answered all documents.

    Args:
        results: by leaf task, with the documents of the dense cells. What others scored does not
            matter.
        by: what is compared: "sr2", "sr1" or "log_likelihood".

    Raises:
        NotRaceable: no dense cell has answered a model's tasks; a task has no score per document;
            no two cells are at one rate; nothing that was scored counts in what is compared.
    """
    models = _panels(results)
    contests = {panel.model: _contest(results, panel) for panel in models}
    for contest in contests.values():
        _check_quantity(contest, by)
    groups = tuple(group for panel in models for group in _groups(panel))
    if not groups:
        raise NotRaceable(
            "no two cells of a model are at one rate, so nothing can race; add cells at equal TCr "
            "(25 % + 4 bit and 3 bit, for example), or run the sweep without a race"
        )
    inside = {cell for group in groups for cell in group.cells}
    alone = {
        str(cell): panel.model
        for panel in models
        for cell in panel.cells["cell"]
        if cell not in inside and cell != contests[panel.model].dense
    }
    return Field(contests=contests, groups=groups, alone=alone)


def answers_of(results: Results, field: Field) -> tuple[dict[str, CellAnswers], dict[str, str]]:
    """What the cells of a race answered, and why some are out of it.

    Returns:
        Cell -> leaf -> answers, the first so many of the dense cell's order; and cell -> why it
        takes no part: it failed, was given up as collapsed, or answered other documents.
    """
    found: dict[str, CellAnswers] = {}
    out: dict[str, str] = {}
    orders = {
        model: {
            leaf.name: _order(results.documents, contest.dense, leaf.name)
            for leaf in contest.leaves
        }
        for model, contest in field.contests.items()
    }
    status = results.cells.set_index("cell")
    stopped = set(results.scores.loc[results.scores["stopped"].astype(bool), "cell"])
    metrics = _metrics(results)
    for cell in field.cells:
        if status.at[cell, "status"] == "failed":
            out[cell] = str(status.at[cell, "reason"])
            continue
        if cell in stopped:
            out[cell] = "collapsed: it was given up"
            continue
        own: dict[str, Answers] = {}
        for leaf, order in orders[field.model_of(cell)].items():
            table = _ordered(results.documents.table(cell, leaf))
            if table is None:
                continue
            if list(table["doc_hash"]) != order[: len(table)]:
                out[cell] = f"{leaf}: it was asked other documents than the dense cell"
                break
            if (one := _answers(table, metrics[leaf])) is None:
                out[cell] = f"{leaf}: an answer has no number to compare"
                break
            own[leaf] = one
        if cell not in out:
            found[cell] = own
    return found, out


def _panels(results: Results) -> list[Panel]:
    """The cells by model with what the dense ones scored; nothing of the raced data."""
    dense = results.cells[is_dense(results.cells)]["cell"]
    scores = results.scores[results.scores["cell"].isin(dense)]
    cells = results.cells[results.cells["rerun"] == 0]
    return panels(Results(cells=cells, scores=scores))


def _groups(panel: Panel) -> Iterator[Group]:
    """Rivals by TCr, then those by size that are not the same cells again."""
    cells, unfit = panel.cells, {panel.baseline, *not_proved(panel)}
    seen: set[frozenset[str]] = set()

    def group(rows: list[int], name: str) -> Iterator[Group]:
        keys = tuple(str(cells["cell"].iat[row]) for row in rows)
        methods = tuple(str(cells["method"].iat[row]) for row in rows)
        if len(set(methods)) > 1 and frozenset(keys) not in seen:
            seen.add(frozenset(keys))
            yield Group(name=name, model=panel.model, cells=keys, methods=methods)

    by_rate: Mapping[Fraction, list[int]] = equal_tcr_groups(cells)
    for rate, rows in by_rate.items():
        kept = [row for row in rows if row not in unfit]
        yield from group(kept, f"{panel.model} at {percent(rate)} TCr")
    share = sizes(panel)["share_served"].to_numpy(float)
    for rows in size_groups(share, SERVED):
        kept = [row for row in rows if row != panel.baseline]
        if kept:
            size = 100 * share[kept[0]]
            yield from group(kept, f"{panel.model} at {size:.1f} % of the dense size")


def _check_quantity(contest: Contest, by: str) -> None:
    """Refuse what nothing is retained of: no task that counts, or a dense cell that scored 0."""
    kept = contest.counted(by)
    if not kept:
        other = "sr2 or sr1" if by == "log_likelihood" else "log_likelihood"
        raise NotRaceable(
            f"{contest.model}: none of {listed(contest.tasks)} counts in {by}; set "
            f"tasks.race.by={other}, or score other tasks"
        )
    zero = [task for task in kept if contest.links[task] == "mean" and contest.scores[task] <= 0]
    if zero and (by == "sr1" or len(zero) == len(kept)):
        raise NotRaceable(
            f"{contest.model}: the dense cell scored 0 in {listed(zero)}, so nothing is retained "
            "there; leave these tasks out"
        )


def _contest(results: Results, panel: Panel) -> Contest:
    if panel.baseline is None:
        raise NotRaceable(
            f"{panel.model}: no dense cell is scored, and a race is over what it retains; add the "
            "dense cell (prune.sparsity=0 quant.bits=16) to the grid"
        )
    dense = str(panel.cells["cell"].iat[panel.baseline])
    own = results.scores[(results.scores["cell"] == dense) & results.scores["primary"].astype(bool)]
    leaves: list[Leaf] = []
    links: dict[str, Link] = {}
    higher: dict[str, bool] = {}
    parts: dict[str, list[Answers]] = {}
    unpaired = []
    for row in own.to_dict("records"):
        name, task = str(row["task"]), str(row["group"] or row["task"])
        table = _ordered(results.documents.table(dense, name))
        answers = None if table is None else _answers(table, str(row["metric"]))
        if answers is None or not (
            link := link_of(answers.numerator, answers.weight, float(row["value"]))
        ):
            unpaired.append(name)
            continue
        leaves.append(Leaf(name=name, task=task, size=len(answers)))
        links[task], higher[task] = link, bool(row["higher_is_better"])
        parts.setdefault(task, []).append(answers)
    if unpaired:
        raise NotRaceable(
            f"{panel.model}: no score per document of {listed(unpaired)}, so cells cannot be "
            "compared document by document; leave these tasks out of tasks.names, or run without "
            "a race"
        )
    scores = {
        task: float(
            sum(one.numerator.sum() for one in each) / sum(one.weight.sum() for one in each)
        )
        for task, each in parts.items()
    }
    return Contest(
        model=panel.model,
        dense=dense,
        leaves=tuple(leaves),
        links=links,
        higher=higher,
        scores=scores,
    )


def _metrics(results: Results) -> dict[str, str]:
    """Leaf -> its primary metric."""
    primary = results.scores[results.scores["primary"].astype(bool)]
    return dict(zip(primary["task"], primary["metric"], strict=True))


def _ordered(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """The documents in the order in which they were asked."""
    if table is None or POSITION not in table:
        return None
    return table.sort_values(POSITION, ignore_index=True)


def _order(documents: Documents, cell: str, leaf: str) -> list[str]:
    table = _ordered(documents.table(cell, leaf))
    return [] if table is None else list(table["doc_hash"])


def _answers(table: pd.DataFrame, metric: str) -> Answers | None:
    one = scored(table, metric)
    if one is None:
        return None
    return Answers(numerator=one.numerator, weight=one.weight, cluster=one.cluster)
