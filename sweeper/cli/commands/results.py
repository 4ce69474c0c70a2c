"""``isorate results``: every cell's numbers, for a person or, with output=json, for a program."""

from __future__ import annotations

from sweeper.cli.request import Request
from sweeper.results import cell_table, formatting


def perform(request: Request) -> int:
    """Print rate, real size, bits and what is kept of every cell; writes nothing."""
    read = request.read()
    if request.as_json:
        request.answer({"name": read.name, "cells": cell_table.rows(read.results)}, "")
        return 0
    from analysis.data.panel import panels
    from analysis.data.task_groups import pooled
    from analysis.output.render import printed
    from analysis.report.headline import headline_table

    table = headline_table(panels(pooled(read.results)))
    head = [column.title for column in table.columns]
    request.answer({}, formatting.table(head, printed(table)) if len(table.rows) else "no scores")
    return 0
