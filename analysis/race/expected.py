"""How many documents a race is expected to ask, before it begins or after its first looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.metrics import Array
from analysis.race.decision import Decision
from analysis.race.field import Contest, Field, Group
from analysis.race.rules import information, rule
from analysis.race.schedule import Look, looks
from analysis.race.settings import RaceSettings
from analysis.statistics.holm import holm_rows

DRAWS = 200
DOCUMENT_SPREAD = 0.5
"""Standard deviation of a document's difference between two cells: a quarter of the documents are
answered otherwise, which is on the cautious side for cells at one rate."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Documents of a race; a document of n tasks counts n times, and once for each cell.

    Attributes:
        race: expected to be asked of all cells but the dense ones.
        full: without a race.
        dense: of the dense cells, which answer all either way.
        cells: cell -> expected.
    """

    race: float
    full: int
    dense: int
    cells: Mapping[str, float]

    @property
    def share(self) -> float:
        """Of the documents that are asked without a race, dense cells included."""
        return (self.race + self.dense) / (self.full + self.dense)


def expected_documents(
    settings: RaceSettings,
    field: Field,
    pilot: Decision | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Expected:
    """Plays the race on scores that are drawn, not measured.

    True scores of the cells of a group are drawn with the settings' assumed spread; with a pilot
    look, around what it found, as far as it is sure. Estimates move as normal ones do.

    Args:
        settings: of the race.
        field: who races; before the dense cells are scored, with scores that are assumed.
        pilot: the last recorded look.
        draws: how many races are played; the same ones for the same seed.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    cells = dict.fromkeys(field.cells, 0.0)
    for group, tests in zip(field.groups, field.tests(settings.family), strict=True):
        played = _played(settings, field, group, pilot, tests, draws, rng)
        for cell, documents in zip(group.cells, played.tolist(), strict=True):
            cells[cell] = max(cells[cell], documents)
    for cell, model in field.alone.items():
        contest = field.contests[model]
        schedule = looks(contest.leaves, settings.first_look)
        cells[cell] = float(_until(settings, contest, schedule).documents)
    totals = {model: sum(leaf.size for leaf in c.leaves) for model, c in field.contests.items()}
    return Expected(
        race=sum(cells.values()),
        full=sum(totals[field.model_of(cell)] for cell in cells),
        dense=sum(totals.values()),
        cells=cells,
    )


def _until(settings: RaceSettings, contest: Contest, schedule: tuple[Look, ...]) -> Look:
    """The look at which a cell without a rival is known enough."""
    if settings.stderr is None:
        return schedule[0]
    known = information(contest, schedule, settings.by)
    variance = DOCUMENT_SPREAD**2 / 2
    enough = [
        look
        for look, one in zip(schedule, known, strict=True)
        if variance / one <= settings.stderr**2
    ]
    return enough[0] if enough else schedule[-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Start:
    """Where a group stands when it begins to be played; k cells, m pairs of rivals.

    Attributes:
        look: looks that are over.
        documents: (k,) asked of each cell so far, of all tasks.
        information: 1/V of a difference so far.
        spread: standard deviation of a document's difference.
        value: (k,) estimates so far.
        mean: (k,) what their truth is expected to be.
        error: standard deviation of the truth around that.
        p: (m,) least p values so far.
        ahead: (m,) 1 where the first was ahead then, -1 where the second.
        alive: (k,) which cells are in the race.
        racing: whether the group is.
    """

    look: int
    documents: Array
    information: float
    spread: float
    value: Array
    mean: Array
    error: float
    p: Array
    ahead: Array
    alive: NDArray[np.bool_]
    racing: bool


def _start(
    settings: RaceSettings,
    group: Group,
    pilot: Decision | None,
    information: Sequence[float],
    asked: Sequence[int],
) -> _Start:
    count, rivals = len(group.cells), group.rivals()
    own = settings.assumed_spread / np.sqrt(2)
    result = pilot.group(group.name) if pilot else None
    known = {one.cell: one for one in pilot.cells} if pilot else {}
    if result is None or not all(cell in known for cell in group.cells):
        return _Start(
            look=0,
            documents=np.zeros(count),
            information=0.0,
            spread=DOCUMENT_SPREAD,
            value=np.zeros(count),
            mean=np.zeros(count),
            error=own,
            p=np.ones(len(rivals)),
            ahead=np.zeros(len(rivals)),
            alive=np.ones(count, dtype=bool),
            racing=True,
        )
    pairs = {(pair.first, pair.second): pair for pair in result.pairs}
    variances = [pair.variance for pair in result.pairs if pair.variance > 0]
    now = 1 / float(np.median(variances)) if variances else information[result.look - 1]
    value = np.array([known[cell].value for cell in group.cells])
    surely = own**2 / (own**2 + 0.5 / now)  # how far the pilot is believed
    return _Start(
        look=result.look,
        documents=np.array([asked[known[cell].look - 1] for cell in group.cells], dtype=float),
        information=now,
        spread=float(np.sqrt(information[result.look - 1] / now)),
        value=value,
        mean=value.mean() + surely * (value - value.mean()),
        error=float(own * np.sqrt(1 - surely)),
        p=np.array([pairs[pair].p for pair in rivals]),
        ahead=np.array([1.0 if pairs[pair].better == pair[0] else -1.0 for pair in rivals]),
        alive=np.array([cell in result.survivors for cell in group.cells]),
        racing=result.state == "racing",
    )


def _played(
    settings: RaceSettings,
    field: Field,
    group: Group,
    pilot: Decision | None,
    tests: int,
    draws: int,
    rng: np.random.Generator,
) -> Array:
    """(k,) mean documents that the cells of a group are asked."""
    contest = field.contests[group.model]
    schedule = looks(contest.leaves, settings.first_look)
    raw = information(contest, schedule, settings.by)
    counts = [look.documents for look in schedule]
    start, test = _start(settings, group, pilot, raw, counts), rule(settings, contest, schedule)
    pairs = _places(group)
    truth = start.mean + rng.normal(size=(draws, len(group.cells))) * start.error
    score = np.tile(start.value * start.information, (draws, 1))
    p, ahead = np.tile(start.p, (draws, 1)), np.tile(start.ahead, (draws, 1))
    alive, racing = np.tile(start.alive, (draws, 1)), np.full(draws, start.racing)
    asked, before = np.tile(start.documents, (draws, 1)), start.information
    for look in schedule[start.look :]:
        asked = np.where(alive & racing[:, None], float(look.documents), asked)
        total = raw[look.number - 1] / start.spread**2
        score += truth * (total - before)
        score += rng.normal(size=truth.shape) * np.sqrt((total - before) / 2)
        before = total
        difference = (score[:, pairs[:, 0]] - score[:, pairs[:, 1]]) / total
        now = test.p(difference * np.sqrt(total), 1 / total, look.number)
        less = (now < p) & alive[:, pairs[:, 0]] & alive[:, pairs[:, 1]] & racing[:, None]
        p, ahead = np.where(less, now, p), np.where(less, np.sign(difference), ahead)
        told = holm_rows(p) * (tests / len(pairs)) <= settings.alpha
        for i, (one, two) in enumerate(pairs.tolist()):
            alive[:, two] &= ~(told[:, i] & (ahead[:, i] > 0))
            alive[:, one] &= ~(told[:, i] & (ahead[:, i] < 0))
        left = alive[:, pairs[:, 0]] & alive[:, pairs[:, 1]]
        if settings.margin is not None:
            reach = test.boundary(look.number, 1 / total, settings.alpha / tests) / np.sqrt(total)
            left &= np.abs(difference) + reach > settings.margin
        racing &= left.any(axis=1)
    return np.asarray(asked.mean(axis=0))


def _places(group: Group) -> NDArray[np.int_]:
    """(m, 2) places of the rivals among the cells of a group."""
    place = {cell: i for i, cell in enumerate(group.cells)}
    return np.array([(place[a], place[b]) for a, b in group.rivals()], dtype=int).reshape(-1, 2)
