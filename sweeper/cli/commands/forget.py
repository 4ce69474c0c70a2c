"""``isorate forget``: take one plan back that was recorded under a sweep's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.cli.request import Request
from sweeper.errors import BadInput, one_of
from sweeper.planning.sweep import read_plan, typed
from sweeper.results import formatting

_HEAD = "plan-"


def perform(request: Request) -> int:
    """Show the plans of a sweep, or forget the one that `plan` names; outputs stay in the store."""
    request.sweep.load()
    plans = {path.stem.removeprefix(_HEAD): path for path in request.sweep.plans}
    asked = request.config.plan
    chosen = None if asked is None else _chosen(str(asked), plans)
    deleted = chosen is not None and bool(request.config.yes)
    rows = [_row(name, path) for name, path in plans.items()]
    if chosen is not None and deleted:
        request.sweep.forget(plans[chosen])
    document = {"name": request.sweep.name, "plans": rows, "plan": chosen, "forgotten": deleted}
    request.answer(document, _text(request.sweep.name, rows, chosen, deleted=deleted))
    return 0


def _chosen(asked: str, plans: dict[str, Path]) -> str:
    found = [name for name in plans if name.startswith(asked)]
    if len(found) != 1:
        raise BadInput("plan", asked, one_of(list(plans)) + ".", "The beginning of one is enough.")
    return found[0]


def _row(name: str, path: Path) -> dict[str, Any]:
    record = read_plan(path)
    return {
        "plan": name,
        "created": record["created"],
        "cells": len(record["cells"]),
        "arguments": typed(record["overrides"]),
    }


def _text(sweep: str, rows: list[dict[str, Any]], chosen: str | None, *, deleted: bool) -> str:
    if chosen is not None and deleted:
        return (
            f"the plan {chosen} of {sweep} is forgotten; its outputs stay in the store, and "
            "isorate sync takes its runs out of MLflow"
        )
    table = formatting.table(list(rows[0]), [[str(v) for v in row.values()] for row in rows])
    if chosen is None:
        return f"{table}\n\nThe last one counts where settings differ. plan=... forgets one."
    how = f"isorate forget name={sweep} plan={chosen} yes=true"
    return f"{table}\n\n{chosen} would be forgotten: {how} does it."
