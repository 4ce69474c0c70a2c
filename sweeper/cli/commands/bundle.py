"""``isorate bundle``: a sweep as one file that anyone can check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeper.cli.request import Request
from sweeper.errors import BadInput, IsorateError, several
from sweeper.planning.race import state
from sweeper.redaction import Redactor
from sweeper.results import formatting, provenance, sources
from sweeper.results.bundle import archive, making
from sweeper.results.outcomes import CellOutcome
from sweeper.results.race import advance


def perform(request: Request) -> int:
    """Write the records of a sweep and what follows from them to `to`; say its digest."""
    from analysis.errors import BadResults

    config, sweep = request.config, request.sweep
    target = _target(request)
    outcomes = sources.outcomes_of(
        config.source, sweep, request.store, tracking_uri=config.tracking.uri
    )
    _check(outcomes, partial=bool(config.partial))
    plan = sweep.load() if sweep.planned else None
    try:
        packed = making.contents(
            outcomes,
            plan=plan,
            provenance=provenance.of(sweep, outcomes),
            redact=Redactor(*filter(None, [config.tracking.uri])),
            race=state.read(sweep.path),
            reported=advance.under_way(sweep) is not None,
        )
    except BadResults as refused:
        raise IsorateError(f"no bundle: {refused}") from refused
    data = archive.pack(packed, making.head(sweep.name))
    archive.write(target, data)
    digest = archive.read(target).digest
    lacking = [outcome.cell["label"] for outcome in outcomes if outcome.status != "done"]
    request.answer(
        {
            "name": sweep.name,
            "file": str(target),
            "digest": digest,
            "bytes": len(data),
            "cells": len(outcomes),
            "unfinished": lacking,
        },
        f"{target}: {len(outcomes)} cells, {formatting.size(len(data))}\n  digest {digest}"
        + (f"\n  not done: {several(lacking)}" if lacking else "")
        + f"\nisorate verify {target} computes every table and verdict again.",
    )
    return 0


def _target(request: Request) -> Path:
    if request.config.to is None:
        return request.sweep.path / f"{request.sweep.name}.bundle.zip"
    target = Path(request.config.to).expanduser().absolute()
    if target.exists():
        raise BadInput("to", request.config.to, "it exists already.", "Name a new file.")
    return target


def _check(outcomes: Sequence[CellOutcome], *, partial: bool) -> None:
    """Refuse a sweep that is still to be carried out; a cell that failed is done for."""
    lacking = [f"{o.cell['label']} ({o.reason})" for o in outcomes if o.status == "missing"]
    if lacking and not partial:
        raise BadInput(
            "partial",
            "false",
            f"{len(lacking)} of {len(outcomes)} cells are not done: {several(lacking, 5)}.",
            "`isorate run` goes on; partial=true bundles what is done.",
        )
    if not any(outcome.scores for outcome in outcomes):
        raise IsorateError("no bundle: no cell of this sweep has a score yet.")
