"""``isorate report``: tables, figures and verdicts from a sweep, several, or the paper."""

from __future__ import annotations

from sweeper import conclude, reading
from sweeper.actions import Request


def perform(request: Request) -> int:
    """Write the report of what `source` and `sweeps` name and print its verdicts."""
    read = reading.read(request)
    files, verdicts = conclude.write(read.results, read.sweep.report, read.name, read.provenance)
    request.answer(
        {
            "name": read.name,
            "verdicts": verdicts,
            "report": {name: str(path) for name, path in files.items()},
        },
        "\n".join([*verdicts, "", f"Report: {files['report.html']}"]),
    )
    return 0
