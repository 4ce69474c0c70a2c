"""What was decided at one look of a race, with all that it rests on: a record that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from analysis.race.settings import RaceSettings

State = Literal["racing", "decided", "equivalent", "ended"]
FORMAT = 1
"""Of the record; a reader of another one refuses it."""


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """Two rivals of a group, as of one look.

    Attributes:
        first, second: their keys.
        look: the last look at which both were asked.
        documents: of the tasks that count, that both answered by then.
        discordant: those of them with different scores.
        difference: what the first has more, on these documents.
        variance: of the difference (V).
        z: difference in standard errors.
        boundary: |z| that decides this pair if no other of its family is (the first of Holm's
            steps).
        low, high: of the difference; all such intervals of the family, at all looks, hold the truth
            with a probability of 1 - alpha. None before both were asked.
        p: least p value over the looks so far, each valid whenever one stops.
        better: the cell that was ahead at the look of that p value; "" before the first.
        adjusted: p by Holm over the family.
        decided: the look at which `adjusted` fell to alpha; 0 if it has not.
    """

    first: str
    second: str
    look: int
    documents: int
    discordant: int
    difference: float
    variance: float
    z: float
    boundary: float
    low: float | None
    high: float | None
    p: float
    better: str
    adjusted: float
    decided: int

    @property
    def beaten(self) -> str:
        """The cell that lost; "" if that is open."""
        if not self.decided:
            return ""
        return self.second if self.better == self.first else self.first


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One cell on the documents of the last look at which it was asked.

    Attributes:
        cell: its key.
        look: that look.
        documents: of the tasks that count, that it answered by then.
        value: Sr (or nats per unit), every leaf weighed by all its documents.
        stderr: its standard error over documents, the dense cell's scores being known.
    """

    cell: str
    look: int
    documents: int
    value: float
    stderr: float


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """A group as of one look.

    Attributes:
        name, model: of the group.
        state: "racing"; "decided", one method survives; "equivalent", survivors differ by less
            than the margin; "ended", all documents were asked.
        look: at which it came to this state.
        why: the state in words, without names of cells.
        survivors: cells that nothing has beaten.
        beaten: cell -> who beat it.
        dropped: cell -> why it left the race without a verdict.
        pairs: all rivals.
    """

    name: str
    model: str
    state: State
    look: int
    why: str
    survivors: tuple[str, ...]
    beaten: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, str]
    pairs: tuple[PairResult, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One look.

    Attributes:
        look: its number, from 1.
        per_task: documents of each task by then.
        settings: what the race is run by.
        spent: how much of alpha the looks so far may have spent; all of it under rule A, which
            needs no plan of looks.
        groups: each.
        cells: every cell that was asked so far.
        ask: cells to be asked the documents of the next look; empty when the race is over.
    """

    look: int
    per_task: int
    settings: RaceSettings
    spent: float
    groups: tuple[GroupResult, ...]
    cells: tuple[CellResult, ...]
    ask: tuple[str, ...]

    @property
    def over(self) -> bool:
        """Whether nothing is left to be asked."""
        return not self.ask

    def group(self, name: str) -> GroupResult | None:
        """The group of this name."""
        return next((group for group in self.groups if group.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, which `from_json` reads."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Decision:
        """What `to_json` wrote, also after JSON has made lists of its tuples.

        Raises:
            ValueError: the record is of another format.
        """
        if record.get("format") != FORMAT:
            raise ValueError(
                f"a decision of format {record.get('format')}; this version reads {FORMAT}"
            )
        return cls(
            look=record["look"],
            per_task=record["per_task"],
            settings=RaceSettings.from_json(record["settings"]),
            spent=record["spent"],
            groups=tuple(_group(one) for one in record["groups"]),
            cells=tuple(CellResult(**one) for one in record["cells"]),
            ask=tuple(record["ask"]),
        )


def _group(record: Mapping[str, Any]) -> GroupResult:
    own = dict(record)
    own["survivors"] = tuple(own["survivors"])
    own["beaten"] = {cell: tuple(by) for cell, by in own["beaten"].items()}
    own["pairs"] = tuple(PairResult(**pair) for pair in own["pairs"])
    return GroupResult(**own)
