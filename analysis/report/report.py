"""Writes the report of a sweep: one self-contained page, its tables and its figures.

Equal results and provenance give equal bytes, so two runs can be compared by their files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from analysis.comparison.across_machines import noted
from analysis.comparison.disagreements import disagreement_texts
from analysis.comparison.summary import retention_table
from analysis.comparison.two_cells import asked, compared_table, parting_table
from analysis.data.panel import Panel, panels
from analysis.data.questions import Questions
from analysis.data.results import Results
from analysis.data.task_groups import pooled
from analysis.metrics import unbounded
from analysis.output.files import INDEX, contents, index, written
from analysis.output.page import MARKS, PAPER_LINKS, flat, inline, template
from analysis.output.render import body
from analysis.output.table import Table, without_model
from analysis.report.figures.published_points import PAPERS
from analysis.report.findings import findings
from analysis.report.sections import Filled, Material, Section, filled

PAGE = "report.html"
MOST_ROWS = 300
"""A longer table is in its files alone: a page has to open."""
BROAD = 8.0  # inches; a wider drawing takes the whole width of the page
_ALWAYS = ("result", "tcr")
_ASKED = Section(
    key="asked", title="The two cells that were asked for", short="Asked for", open=("compared",)
)


@unbounded()
def write_report(
    results: Results,
    out: Path,
    *,
    title: str,
    provenance: Mapping[str, object],
    compare: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
    questions: Questions | None = None,
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
        links: words -> address of what belongs to the sweep elsewhere, as its runs in MLflow.
        questions: what documents ask, for those on which two cells disagree.

    Returns:
        The path of every file by its name relative to `out`; the page is "report.html".

    Raises:
        NotComparable: `compare` names no two cells with scores of the same documents.
    """
    whole = pooled(results)
    groups = panels(whole)
    parts = filled(Material(results=whole, groups=groups))
    if questions:
        (texts,) = noted([disagreement_texts(groups, questions)], groups)
        parts = [_with(part, texts) if part.section.key == "tasks" else part for part in parts]
    if compare:
        pairs = asked(groups, compare)
        shown = noted([compared_table(pairs), parting_table(pairs)], groups)
        parts.insert(1, Filled(section=_ASKED, tables=tuple(shown)))
    if len(groups) == 1:
        parts = [replace(p, tables=tuple(map(without_model, p.tables))) for p in parts]
    tables = [table for part in parts for table in part.tables]
    files: dict[str, bytes] = {}
    files |= contents(tables, [figure for part in parts for figure in part.figures])
    files["data/cells.csv"] = results.cells.to_csv(index=False, lineterminator="\n").encode()
    files["data/scores.csv"] = results.scores.to_csv(index=False, lineterminator="\n").encode()
    long = retention_table(groups)
    files["data/retention.csv"] = long.to_csv(index=False, lineterminator="\n").encode()
    files[INDEX] = index(title, provenance, sorted([*files, INDEX, PAGE]))
    files[PAGE] = html(
        results, title=title, provenance=provenance, groups=groups, parts=parts, links=links or {}
    ).encode()
    return written(files, out)


def _with(part: Filled, table: Table) -> Filled:
    """A section that begins with one more table, if that has rows."""
    return replace(part, tables=(table, *part.tables)) if len(table.rows) else part


def html(
    results: Results,
    *,
    title: str,
    provenance: Mapping[str, object],
    groups: Sequence[Panel],
    parts: Sequence[Filled],
    links: Mapping[str, str],
) -> str:
    """The page: both answers and the result, then the evidence, then how numbers came about."""
    drawn = [figure for part in parts for figure in part.figures]
    places = {figure.name: i for i, figure in enumerate(drawn)}
    several = len(groups) > 1
    return template("report.html.j2").render(
        title=title,
        cells=len(results.cells),
        done=int((results.cells["status"] == "done").sum()),
        models=[panel.model for panel in groups],
        findings=[findings(panel) for panel in groups],
        parts=[part for part in parts if not part.empty or part.section.key == "result"],
        shown=lambda table: body(table, by_model=several) if _fits(table) else "",
        inline=lambda figure: inline(figure, places[figure.name]),
        provenance=flat(provenance),
        broad=BROAD,
        papers=PAPERS if any(figure.published for figure in drawn) else {},
        marks=MARKS,
        links={**links, **PAPER_LINKS},
    )


def _fits(table: Table) -> bool:
    """Whether a table goes on the page; the details of a huge sweep stay in their files."""
    return table.name in _ALWAYS or len(table.rows) <= MOST_ROWS
