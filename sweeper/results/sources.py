"""Where results are read from: the store, MLflow, or the published numbers; several sweeps too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import BadInput, IsorateError, one_of
from sweeper.planning.sweep import Sweep
from sweeper.results import outcomes, provenance, tables
from sweeper.results.importers import scores
from sweeper.results.outcomes import CellOutcome
from sweeper.results.race.reported import with_race

if TYPE_CHECKING:
    from analysis.data.results import Results
    from sweeper.store.store import Store

SOURCES = ("store", "mlflow", "bundle", "published")
PUBLISHED = "published"
"""The sweep that the paper's numbers are read as, unless `name` says another."""
PAPER = "arXiv:2505.07289"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Results and what a reader must know of them.

    Attributes:
        name: of the sweep, of several joined by "+", or "published".
        results: checked.
        provenance: where they come from.
        sweep: whose directory takes what is made of them.
        source: one of `SOURCES`.
    """

    name: str
    results: Results
    provenance: dict[str, Any]
    sweep: Sweep
    source: str

    def folder(self, name: str) -> Path:
        """A directory for what is made of them, beside the one of what the store says."""
        own = self.source == "store" or self.sweep.name == PUBLISHED
        return self.sweep.path / (name if own else f"{name}-{self.source}")


def read(
    source: str,
    sweep: Sweep,
    store: Store,
    *,
    joined: Sequence[str] = (),
    name: str | None = None,
    tracking_uri: str | None = None,
    bundles: Sequence[str] = (),
) -> Reading:
    """What ``source`` and ``sweeps`` name.

    Args:
        source: one of `SOURCES`.
        sweep: the one that is meant where no others are named.
        store: the outputs of stages.
        joined: sweeps of the same home that are read as one.
        name: of what is read together, or of the published numbers.
        tracking_uri: where MLflow is.
        bundles: files that `isorate bundle` wrote.

    Raises:
        BadInput: an unknown source, a sweep that does not exist.
        IsorateError: results that contradict themselves or each other.
    """
    if source not in SOURCES:
        raise BadInput("source", source, one_of(list(SOURCES)) + ".")
    if source == "published":
        return published(Sweep(sweep.home, name or PUBLISHED))
    if source == "bundle":
        return bundled(sweep.home, bundles, name)
    sweeps = [Sweep(sweep.home, one) for one in joined] or [sweep]
    title = name if joined and name else "+".join(one.name for one in sweeps)
    found = {one.name: outcomes_of(source, one, store, tracking_uri=tracking_uri) for one in sweeps}
    return Reading(
        name=title,
        results=with_race(_together(found), sweeps[0]) if len(sweeps) == 1 else _together(found),
        provenance=provenance.of(sweep, [o for each in found.values() for o in each])
        | {"sweep": title}
        | ({} if source == "store" else {"source": source}),
        sweep=Sweep(sweep.home, title),
        source=source,
    )


def published(sweep: Sweep) -> Reading:
    """The numbers of the paper."""
    from analysis.published import reference

    return Reading(
        name=reference.PUBLISHED,
        results=reference.laborde2025(),
        provenance={"source": f"{PAPER}, Tables II-VII, as printed"},
        sweep=sweep,
        source=PUBLISHED,
    )


def outcomes_of(
    source: str, sweep: Sweep, store: Store, *, tracking_uri: str | None = None
) -> Sequence[CellOutcome]:
    """What became of every cell of a sweep, imported ones included.

    Raises:
        BadInput: another source than store and mlflow, or a sweep that does not exist.
    """
    if source not in ("store", "mlflow"):
        raise BadInput("source", source, one_of(["store", "mlflow"]) + ".")
    if source == "mlflow":
        from sweeper.results.mlflow import reader

        return reader.outcomes(sweep.name, home=sweep.home, uri=tracking_uri)
    brought = scores.outcomes(sweep)
    if brought and not sweep.planned:
        return brought
    return outcomes.joined(outcomes.collect(sweep.load(), store), brought)


def bundled(home: Path, paths: Sequence[str], name: str | None) -> Reading:
    """One bundle, or several of one grid: each further one is the grid made again.

    Raises:
        BadInput: no bundle, or the same evaluations twice.
        IsorateError: a file is no bundle or has changed; dense baselines that differ.
    """
    from sweeper.results.bundle import verify
    from sweeper.results.bundle.merging import merged

    if not paths:
        raise BadInput(
            "bundles",
            "[]",
            "source=bundle needs the files to read.",
            "For example: bundles=[here.zip,there.zip]",
        )
    found = [(Path(one), *verify.opened(Path(one).expanduser())) for one in paths]
    title = name or "+".join(dict.fromkeys(str(a.head.get("name")) for _, a, _ in found))
    results, origin = merged(found)
    return Reading(
        name=title,
        results=results,
        provenance={"sweep": title, **origin},
        sweep=Sweep(home, title),
        source="bundle",
    )


def _together(found: dict[str, Sequence[CellOutcome]]) -> Results:
    from analysis.data.combining import together
    from analysis.errors import BadResults

    try:
        return together({name: tables.results(each) for name, each in found.items()})
    except BadResults as refused:
        raise IsorateError(f"these results cannot be read: {refused}") from refused
