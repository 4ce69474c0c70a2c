"""Makes the bundle of a sweep from what is known of its cells."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.planning.race.state import State
from sweeper.planning.record import SweepRecord
from sweeper.results.bundle import archive, conclusions, races, records, verify
from sweeper.results.bundle.portable import Redact, portable
from sweeper.results.outcomes import CellOutcome


def contents(
    outcomes: Sequence[CellOutcome],
    *,
    plan: SweepRecord | None,
    provenance: Mapping[str, Any],
    redact: Redact,
    race: State | None = None,
    reported: bool = False,
) -> dict[str, bytes]:
    """The files of a bundle; what is concluded is computed from the packed records alone.

    Args:
        outcomes: the cells.
        plan: the recorded plan, parents inside; None where there is none.
        provenance: as of a report.
        redact: takes secrets out of a text.
        race: the race of the sweep; None where it has none.
        reported: whether the sweep's report tells of it.

    Raises:
        DamagedOutput: scores of documents are no longer those that were written.
        BadResults: the results contradict themselves.
    """
    packed = records.pack(outcomes, redact)
    if race is not None:
        packed[records.RACE] = races.pack(race, redact, reported=reported)
    made = conclusions.of(records.read(packed).results())
    if plan is not None:
        packed[verify.PLAN] = records.plan(plan, redact)
    packed[verify.PROVENANCE] = archive.json_bytes(portable(dict(provenance), redact))
    packed |= {f"{verify.TABLES}{name}.csv": text.encode() for name, text in made.tables.items()}
    packed[verify.VERDICTS] = archive.json_bytes(made.verdicts)
    return packed


def head(name: str) -> dict[str, str]:
    """What the index says of a bundle."""
    return {"name": name, "isorate": importlib.metadata.version("isorate")}
