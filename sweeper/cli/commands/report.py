"""``isorate report``: tables, figures and verdicts from a sweep, several, or the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeper.cli import reporting
from sweeper.cli.request import Request
from sweeper.errors import BadInput, one_of
from sweeper.planning.sweep import REPORT
from sweeper.results import formatting

if TYPE_CHECKING:
    from analysis.data.results import Results


def perform(request: Request) -> int:
    """Write the report of what `source` and `sweeps` name; print its verdicts, and `compare`."""
    read, pair = request.read(), list(request.config.compare)
    said = [compared(read.results, pair), ""] if pair else []
    written = reporting.write(
        read.results,
        read.folder(REPORT),
        read.name,
        read.provenance,
        pair,
        sweep=read.sweep if read.source == "store" else None,
        links=reporting.links(request),
    )
    request.answer(
        {
            "name": read.name,
            "verdicts": list(written.verdicts),
            "report": {name: str(path) for name, path in written.files.items()},
        },
        "\n".join([*said, written.text, "", f"Report: {written.files['report.html']}"]),
    )
    return 0


def compared(results: Results, pair: Sequence[str]) -> str:
    """Two cells side by side, task by task, in plain text.

    Raises:
        BadInput: these are no two cells with scores of the same documents.
    """
    from analysis.comparison.two_cells import asked, compared_table
    from analysis.data.panel import panels
    from analysis.data.task_groups import pooled
    from analysis.errors import NotComparable
    from analysis.output.render import printed

    try:
        table = compared_table(asked(panels(pooled(results)), pair))
    except NotComparable as refused:
        valid = f"{one_of(refused.valid)}." if refused.valid else ""
        raise BadInput("compare", list(pair), f"{refused}.", valid) from refused
    return formatting.table([column.title for column in table.columns], printed(table))
