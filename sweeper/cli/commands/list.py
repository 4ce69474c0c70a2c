"""``isorate list``: the sweeps of this home."""

from __future__ import annotations

from sweeper.cli.request import Request
from sweeper.planning.sweep import Sweep, sweeps, typed
from sweeper.results import formatting
from sweeper.results import outcomes as cell_outcomes


def perform(request: Request) -> int:
    """Print each recorded sweep: its cells by state, and the arguments of its newest plan."""
    found = [_row(request, name) for name in sweeps(request.home)]
    names = ["name", "cells", "done", "failed", "missing", "arguments"]
    rows = [[str(row[name]) for name in names] for row in found]
    text = formatting.table(names, rows) if rows else f"no sweeps in {request.home}"
    request.answer({"home": str(request.home), "sweeps": found}, text)
    return 0


def _row(request: Request, name: str) -> dict[str, object]:
    recorded = Sweep(request.home, name).load()
    words = typed(recorded["overrides"], recorded["launcher"])
    outcomes = cell_outcomes.collect(recorded, request.store)
    states = {s: sum(o.status == s for o in outcomes) for s in ("done", "failed", "missing")}
    return {"name": name, "cells": len(outcomes), **states, "arguments": words}
