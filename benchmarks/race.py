"""How many documents races ask, and how often they lose the best cell, on the paper's own scores.

    python benchmarks/race.py documents --runs 400
    python benchmarks/race.py check

Cells of arXiv:2505.07289 answer with their printed shares of right answers; a document is right for
a cell where a normal variable, of which the document decides a share phi and the cell the rest, is
below the quantile. So cells of one model are paired as real ones are, the more the larger phi.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.comparison.size import groups as size_groups
from analysis.comparison.size import sizes
from analysis.comparison.verdicts import equal_tcr_groups
from analysis.data.labels import labels
from analysis.data.panel import Panel, panels
from analysis.published.reference import laborde2025
from analysis.race.decide import decide
from analysis.race.decision import Decision
from analysis.race.field import Answers, Contest, Field, Group
from analysis.race.reading import SERVED
from analysis.race.schedule import Look, looks
from analysis.race.settings import RaceSettings
from benchmarks.racing import Differences, contest, differences, pairs_of, play

DOCUMENTS = {"MMLU-Pro": 12032, "BBH": 6511, "MATH": 5000}
TIED = "LLM.int8"
FLOOR = 2e-4
"""A printed share of 0 right answers is one below this."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of the paper.

    Attributes:
        name: of the model.
        own: its tasks.
        cells: names of all cells but the dense one.
        rate: (tasks, k) their printed shares of right answers.
        by_tcr, by_size: who races whom.
    """

    name: str
    own: Contest
    cells: tuple[str, ...]
    rate: np.ndarray
    by_tcr: tuple[Group, ...]
    by_size: tuple[Group, ...]

    @property
    def schedule(self) -> tuple[Look, ...]:
        """Looks at 128 documents a task, twice as many, and so on."""
        return looks(self.own.leaves, 128)


def published() -> list[Model]:
    return [_model(panel) for panel in panels(laborde2025())]


def _model(panel: Panel) -> Model:
    names = labels(panel)
    rows = [row for row in range(len(names)) if row != panel.baseline]
    place = [panel.tasks.index(task) for task in DOCUMENTS]
    dense = panel.value[panel.baseline, place]

    def group(kind: str, members: list[int]) -> Group:
        kept = tuple(names[row] for row in members if row != panel.baseline)
        return Group(name=f"{kind}: {', '.join(kept)}", model="m", cells=kept)

    by_tcr = [group("TCr", own) for own in equal_tcr_groups(panel.cells).values() if len(own) > 1]
    share = sizes(panel)["share_served"].to_numpy(float)
    by_size = [group("size", own) for own in size_groups(share, SERVED)]
    return Model(
        name=panel.model,
        own=contest(DOCUMENTS, dict(zip(DOCUMENTS, dense.tolist(), strict=True))),
        cells=tuple(names[row] for row in rows),
        rate=np.maximum(panel.value[np.ix_(rows, place)].T, FLOOR),
        by_tcr=tuple(by_tcr),
        by_size=tuple(group for group in by_size if len(group.cells) > 1),
    )


def drawn(rng: np.random.Generator, model: Model, phi: float, task: int) -> np.ndarray:
    """(k, n) right or wrong: one run's answers to all documents of a task."""
    size = list(DOCUMENTS.values())[task]
    common = rng.standard_normal(size, dtype=np.float32)
    own = rng.standard_normal((len(model.cells), size), dtype=np.float32)
    edge = special.ndtri(model.rate[task]).astype(np.float32)[:, None]
    return (np.sqrt(phi) * common + np.sqrt(1 - phi) * own < edge).astype(np.float32)


def counted(rng: np.random.Generator, model: Model, phi: float, runs: int) -> np.ndarray:
    """(looks, runs, tasks, k, k) documents that two cells both got right by each look."""
    schedule, tasks = model.schedule, list(DOCUMENTS)
    found = np.zeros(
        (len(schedule), runs, len(tasks), len(model.cells), len(model.cells)), dtype=np.int32
    )
    for run in range(runs):
        for i, task in enumerate(tasks):
            right, before = drawn(rng, model, phi, i), 0
            total = np.zeros(found.shape[-2:], dtype=np.float32)
            for look in schedule:
                new = right[:, before : look.counts[f"{task}_0"]]
                total += new @ new.T
                before += new.shape[1]
                found[look.number - 1, run, i] = total
    return found


@dataclass
class Tally:
    """What is summed over runs."""

    asked: float = 0.0
    full: float = 0.0
    lost: int = 0
    lost_ties: int = 0
    races: int = 0
    wrong: int = 0
    uncovered: int = 0


def raced(model: Model, both: np.ndarray, settings: RaceSettings, kind: str) -> Tally:
    """All races of one model.

    Args:
        model: its cells.
        both: what they answered.
        settings: of the race.
        kind: "tcr", all groups of equal TCr; "ten", those of the two models but for 50 %, where
            8 bit and LLM.int8 differ by half a point; "both", equal TCr and equal size.
    """
    groups = model.by_tcr + (model.by_size if kind == "both" else ())
    groups = tuple(g for g in groups if kind != "ten" or TIED not in g.cells)
    field = Field(contests={"m": model.own}, groups=groups, alone={})
    runs, schedule, tally = both.shape[1], model.schedule, Tally()
    documents = np.array([0, *(look.documents for look in schedule)])
    place = {cell: i for i, cell in enumerate(model.cells)}
    last = np.ones((runs, len(model.cells)), dtype=int)  # a cell without a rival: the first look
    weight = 1 / sum(model.own.scores.values())
    for group, tests in zip(groups, field.tests(settings.family), strict=True):
        rows = [place[cell] for cell in group.cells]
        seen = [
            differences(
                model.own,
                one[:, :, rows][..., rows],
                [look.counts[leaf.name] for leaf in model.own.leaves],
                pairs_of(group),
            )
            for look, one in zip(schedule, both, strict=True)
        ]
        a, b = pairs_of(group).T
        level = weight * model.rate[:, rows].sum(axis=0)
        found = play(settings, model.own, group, seen, level[a] - level[b], tests)
        last[:, rows] = np.maximum(last[:, rows], found.last)
        _count(tally, group, seen[-1], found.beaten)
        tally.races += runs
        tally.wrong += int(found.wrong.sum())
        tally.uncovered += int(found.uncovered.sum())
    whole = documents[-1]
    rows = [place[cell] for cell in model.cells if kind != "ten" or cell in field.cells]
    tally.asked = float(documents[last[:, rows]].sum() + runs * whole)
    tally.full = float(runs * whole * (len(rows) + 1))
    return tally


def _count(tally: Tally, group: Group, full: Differences, beaten: np.ndarray) -> None:
    """Races in which the cell that is best with all documents was beaten.

    A tie is one whose runner-up is nearer than one standard error of the full run.
    """
    a, b = pairs_of(group).T
    runs, size = len(beaten), len(group.cells)
    ahead = np.zeros((runs, size, size))
    error = np.full((runs, size, size), np.inf)
    ahead[:, a, b], ahead[:, b, a] = full.value, -full.value
    error[:, a, b] = error[:, b, a] = np.sqrt(full.variance)
    best = ahead.sum(axis=2).argmax(axis=1)
    each = np.arange(runs)
    others = np.where(np.arange(size) == best[:, None], np.inf, ahead[each, best])
    second = others.argmin(axis=1)
    tie = others.min(axis=1) < error[each, best, second]
    lost = beaten[each, best]
    tally.lost += int((lost & ~tie).sum())
    tally.lost_ties += int((lost & tie).sum())


FAMILIES = (("group", "tcr"), ("group", "ten"), ("group", "both"), ("sweep", "both"))


def documents(runs: int, seed: int, spreads: list[float]) -> None:
    """Prints a line for each phi, rule and family."""
    models = published()
    print(f"{runs} runs of {sum(len(m.by_tcr) for m in models)} groups by TCr, ", end="")
    print(f"{sum(len(m.by_size) for m in models)} by size; seed {seed}")
    print("phi  rule      family  groups  spread  documents  best lost  of ties  wrong  uncovered")
    for phi in (0.3, 0.5, 0.7):
        rng = np.random.default_rng((seed, int(10 * phi)))
        both = [counted(rng, model, phi, runs) for model in models]
        for name in ("anytime", "spending"):
            for spread in spreads if name == "anytime" else spreads[:1]:
                for family, kind in FAMILIES:
                    own = RaceSettings(rule=name, family=family, assumed_spread=spread)
                    each = [raced(m, one, own, kind) for m, one in zip(models, both, strict=True)]
                    _print(phi, own, kind, each)


def _print(phi: float, own: RaceSettings, kind: str, each: list[Tally]) -> None:
    def total(name: str) -> float:
        return sum(getattr(one, name) for one in each)

    races = total("races")
    shares = [total(name) / races for name in ("lost", "lost_ties", "wrong", "uncovered")]
    print(
        f"{phi}  {own.rule:8s}  {own.family:6s}  {kind:6s}  {own.assumed_spread:6g}  "
        f"{total('asked') / total('full'):9.3f}  {shares[0]:9.4f}  {shares[1]:7.4f}  "
        f"{shares[2]:5.4f}  {shares[3]:9.4f}",
        flush=True,
    )


def check(seed: int) -> None:
    """Races of counts end as `decide` ends them on the answers, look by look."""
    for model in published():
        for name in ("anytime", "spending"):
            settings = RaceSettings(rule=name)
            rng = np.random.default_rng(seed)
            answers = {cell: {} for cell in model.cells}
            for i, task in enumerate(DOCUMENTS):
                for cell, row in zip(model.cells, drawn(rng, model, 0.5, i), strict=True):
                    answers[cell][f"{task}_0"] = Answers(
                        numerator=row.astype(float), weight=np.ones(len(row))
                    )
            both = counted(np.random.default_rng(seed), model, 0.5, 1)
            for group in model.by_tcr:
                _same(model, group, settings, both, answers)
    print("the same looks and the same survivors")


def _same(
    model: Model,
    group: Group,
    settings: RaceSettings,
    both: np.ndarray,
    answers: Mapping[str, dict[str, Answers]],
) -> None:
    field = Field(contests={"m": model.own}, groups=(group,), alone={})
    found: list[Decision] = []
    while not found or not found[-1].over:
        found.append(decide(settings, field, answers, found))
    rows = [model.cells.index(cell) for cell in group.cells]
    asked = [[look.counts[leaf.name] for leaf in model.own.leaves] for look in model.schedule]
    seen = [
        differences(model.own, one[:, :, rows][..., rows], count, pairs_of(group))
        for one, count in zip(both, asked, strict=True)
    ]
    mine = play(
        settings, model.own, group, seen, np.zeros(len(pairs_of(group))), field.tests("group")[0]
    )
    last = [
        max(one.look for one in found if one.look == 1 or cell in found[one.look - 2].ask)
        for cell in group.cells
    ]
    assert mine.last[0].tolist() == last, (group.name, mine.last, last)
    survivors = [not lost for lost in mine.beaten[0]]
    assert survivors == [cell in found[-1].groups[0].survivors for cell in group.cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("documents", "check"))
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spreads", type=float, nargs="+", default=[0.1])
    given = parser.parse_args()
    if given.what == "check":
        check(given.seed)
    else:
        documents(given.runs, given.seed, given.spreads)


if __name__ == "__main__":
    main()
