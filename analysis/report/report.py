"""Writes the report of a sweep: one self-contained page, its tables and its figures.

Equal results and provenance give equal bytes, so two runs can be compared by their files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.comparison.summary import retention_table
from analysis.comparison.two_cells import asked, compared_table, parting_table
from analysis.data.panel import Panel, panels
from analysis.data.results import Results
from analysis.data.task_groups import pooled
from analysis.metrics import unbounded
from analysis.output.figure import Figure
from analysis.output.files import INDEX, contents, index, written
from analysis.output.page import MARKS, flat, inline, template
from analysis.output.render import body
from analysis.output.table import Table, without_model
from analysis.report.contents import all_tables
from analysis.report.figures.curve_figures import curve_figures
from analysis.report.figures.mpt_beside import beside_figures
from analysis.report.figures.pareto_figures import front_figures
from analysis.report.figures.published_points import PAPERS
from analysis.report.figures.retention_figures import all_figures
from analysis.report.findings import findings
from analysis.report.layer_errors import layer_error_maps, layer_error_table
from analysis.report.task_breakdown import heat_maps

PAGE = "report.html"
MOST_SCORE_ROWS = 300
BROAD = 8.0  # inches; a wider drawing takes the whole width of the page
DETAILS = (
    "scores",
    "sizes_sr2",
    "tolerances",
    "transitions",
    "per_task",
    "answers",
    "next",
    "disagreements",
    "parting",
    "methods_sr1",
    "methods_sr2",
)


@unbounded()
def write_report(
    results: Results,
    out: Path,
    *,
    title: str,
    provenance: Mapping[str, object],
    compare: Sequence[str] = (),
) -> dict[str, Path]:
    """Write the page, the tables (CSV, Markdown, LaTeX), the figures (SVG, PDF) and the data.

    Each file is replaced in one step and the page comes last, so a reader never meets half
    a file. Files of an earlier report that this one does not have are removed; nothing else
    in the directory is touched.

    Args:
        results: the checked results, by leaf task; a group of tasks is shown as one task, and
            ``data/scores.csv`` has the parts.
        out: the directory, made if need be.
        title: the heading of the page.
        provenance: where the numbers come from (versions, commit, configuration); shown as
            it is, so it must not hold times if equal runs are to give equal bytes.
        compare: names of two cells to be laid side by side, task by task and document by
            document; none: only the best of each rate and its rival are.

    Returns:
        The path of every file by its name relative to `out`; the page is "report.html".

    Raises:
        NotComparable: `compare` names no two cells with scores of the same documents.
    """
    whole = pooled(results)
    groups = panels(whole)
    tables = all_tables(whole, groups)
    if compare:
        pairs = asked(groups, compare)
        tables = [compared_table(pairs), parting_table(pairs), *tables]
    tables += [one for one in [layer_error_table(results, groups)] if len(one.rows)]
    figures = [
        *all_figures(groups),
        *curve_figures(groups),
        *heat_maps(groups),
        *front_figures(groups),
        *beside_figures(groups),
        *layer_error_maps(results, groups),
    ]
    if len(groups) == 1:
        tables = [without_model(table) for table in tables]
    files: dict[str, bytes] = {}
    files |= contents(tables, figures)
    files["data/cells.csv"] = results.cells.to_csv(index=False, lineterminator="\n").encode()
    files["data/scores.csv"] = results.scores.to_csv(index=False, lineterminator="\n").encode()
    long = retention_table(groups)
    files["data/retention.csv"] = long.to_csv(index=False, lineterminator="\n").encode()
    files[INDEX] = index(title, provenance, sorted([*files, INDEX, PAGE]))
    files[PAGE] = html(
        results, title=title, provenance=provenance, groups=groups, tables=tables, figures=figures
    ).encode()
    return written(files, out)


def html(
    results: Results,
    *,
    title: str,
    provenance: Mapping[str, object],
    groups: Sequence[Panel],
    tables: Sequence[Table],
    figures: Sequence[Figure],
) -> str:
    """The page: verdicts first, then tables and figures, then how every number came about."""
    return template("report.html.j2").render(
        title=title,
        cells=len(results.cells),
        done=int((results.cells["status"] == "done").sum()),
        models=[panel.model for panel in groups],
        findings=[findings(panel) for panel in groups],
        tables=[
            (table, body(table, by_model=len(groups) > 1) if _fits(table) else "")
            for table in tables
            if len(table.rows)
        ],
        figures={
            panel.model: [
                (figure, inline(figure, i))
                for i, figure in enumerate(figures)
                if figure.model == panel.model
            ]
            for panel in groups
        },
        provenance=flat(provenance),
        broad=BROAD,
        papers=PAPERS if any(figure.published for figure in figures) else {},
        marks=MARKS,
    )


def _fits(table: Table) -> bool:
    """Whether a table goes on the page; the details of a huge sweep stay in their files."""
    return table.name not in DETAILS or len(table.rows) <= MOST_SCORE_ROWS
