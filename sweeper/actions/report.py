"""``isorate report``: tables, figures and verdicts from what is done."""

from __future__ import annotations

from sweeper import collect, conclude
from sweeper.actions import Request


def perform(request: Request) -> int:
    """Write the report of a recorded sweep and print its verdicts."""
    outcomes = collect.collect(request.sweep.load(), request.store)
    files, verdicts = conclude.report(request, outcomes)
    request.answer(
        {
            "name": request.sweep.name,
            "verdicts": verdicts,
            "report": {name: str(path) for name, path in files.items()},
        },
        "\n".join([*verdicts, "", f"Report: {files['report.html']}"]),
    )
    return 0
