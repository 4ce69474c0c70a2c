"""Where results are read from: the store, MLflow, or the published numbers; several sweeps too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.errors import BadInput, IsorateError, one_of
from sweeper.planning.sweep import Sweep
from sweeper.results import outcomes, provenance, tables
from sweeper.results.importers import scores
from sweeper.results.outcomes import CellOutcome

if TYPE_CHECKING:
    from analysis.data.results import Results
    from sweeper.cli.request import Request

SOURCES = ("store", "mlflow", "published")
PAPER = "arXiv:2505.07289"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Results and what a reader must know of them.

    Attributes:
        name: of the sweep, of several joined by "+", or "published".
        results: checked.
        provenance: where they come from.
        sweep: whose directory takes what is made of them.
    """

    name: str
    results: Results
    provenance: dict[str, Any]
    sweep: Sweep


def read(request: Request) -> Reading:
    """What ``source`` and ``sweeps`` name.

    Raises:
        BadInput: an unknown source, a sweep that does not exist.
        IsorateError: results that contradict themselves or each other.
    """
    source, config = request.config.source, request.config
    if source not in SOURCES:
        raise BadInput("source", source, one_of(list(SOURCES)) + ".")
    if source == "published":
        return published(Sweep(request.home, config.name or "published"))
    names = list(config.sweeps) or [request.sweep.name]
    name = config.name if config.sweeps and config.name else "+".join(names)
    found = {one: _outcomes(request, one) for one in names}
    return Reading(
        name=name,
        results=_together(found),
        provenance=provenance.of(request, [o for each in found.values() for o in each])
        | {"sweep": name}
        | ({} if source == "store" else {"source": source}),
        sweep=Sweep(request.home, name),
    )


def published(sweep: Sweep) -> Reading:
    """The numbers of the paper."""
    from analysis.published import reference

    return Reading(
        name=reference.PUBLISHED,
        results=reference.laborde2025(),
        provenance={"source": f"{PAPER}, Tables II-VII, as printed"},
        sweep=sweep,
    )


def _outcomes(request: Request, name: str) -> Sequence[CellOutcome]:
    if request.config.source == "mlflow":
        from sweeper.results.mlflow import reader

        return reader.outcomes(name, home=request.home, uri=request.config.tracking.uri)
    sweep = Sweep(request.home, name)
    brought = scores.outcomes(sweep)
    if brought and not sweep.planned:
        return brought
    return outcomes.joined(outcomes.collect(sweep.load(), request.store), brought)


def _together(found: dict[str, Sequence[CellOutcome]]) -> Results:
    from analysis.data.combining import together
    from analysis.errors import BadResults

    try:
        return together({name: tables.results(each) for name, each in found.items()})
    except BadResults as refused:
        raise IsorateError(f"these results cannot be read: {refused}") from refused
