"""What of MPT and JSQ can be made again: their tables, fits, audits and figures."""

from __future__ import annotations

from analysis.curves.transition_table import mpt_transitions
from analysis.output.figure import Figure
from analysis.output.table import Table
from analysis.published.jsq import accounting_table, averages_table
from analysis.published.misprints import misprint_table
from analysis.published.mpt import CAPTIONS, published_table
from analysis.published.mpt_surface import TITLES, front_table
from analysis.report.figures.mpt_figures import mpt_figures
from analysis.reproduction.jsq_figures import rate_figure

PAPERS = ("mpt", "jsq")


def tables(paper: str) -> tuple[Table, ...]:
    """Every table of "mpt" or "jsq": what was computed first, then the printed ones."""
    if paper == "jsq":
        return accounting_table(), averages_table()
    fronts = (front_table(table) for table in TITLES)
    printed = (published_table(table) for table in CAPTIONS)
    return mpt_transitions(), *fronts, misprint_table(), *printed


def figures(paper: str) -> tuple[Figure, ...]:
    """Every figure of "mpt" or "jsq"."""
    return (rate_figure(),) if paper == "jsq" else tuple(mpt_figures())
