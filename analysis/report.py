"""Writes the report of a sweep: one self-contained page, its tables and its figures.

Equal results and provenance give equal bytes, so two runs can be compared by their files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis import render
from analysis.aligned import NO_BASELINE
from analysis.answers import answers_table, heat_maps
from analysis.at_chance import chance_table
from analysis.choosing import choice_table
from analysis.compare import Definition, Verdict, srcr_verdicts, verdicts
from analysis.curve_figures import curve_figures
from analysis.disagreements import disagreement_table
from analysis.drawing import Figure, Spot
from analysis.figures import all_figures
from analysis.fronts import front_figures
from analysis.html_table import body
from analysis.literature import PAPERS
from analysis.measured_curves import perplexity_table, tolerance_table
from analysis.measured_surface import budget_tables
from analysis.mpt_beside import beside_figures, beside_table
from analysis.next_steps import next_table
from analysis.noise_floor import noise_table
from analysis.panel import Panel, panels
from analysis.per_task import per_task_table
from analysis.rates import size_tables
from analysis.results import Results
from analysis.seeds import Contrast, contrasts, methods_table, sentence
from analysis.sensitivity import exponent_table, ranking_table
from analysis.summary import retention_table
from analysis.tables import Table, all_tables, chance_notes
from analysis.wording import conclusion, labels, sentences

INDEX = "report.json"
PAGE = "report.html"
MOST_EVIDENCE = 6
_SPOT = Markup('<circle class="spot" cx="{}" cy="{}" r="5"><title>{}</title></circle>')
_POINT = Markup('<path d="M{} {}{}"><title>{}</title></path>')
# A dot and a square are ends of a line without length.
MARKS = {"laborde2025": "h0", "jsq2024": "h0", "mpt": "m-2.5 0h5m-2.5-2.5v5"}
DEFINITIONS: tuple[Definition, Definition] = ("sr2", "sr1")
MOST_SCORE_ROWS = 300
DETAILS = ("scores", "sizes_sr2", "tolerances", "transitions", "per_task", "answers", "next",
           "disagreements", "methods_sr1", "methods_sr2")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One verdict as the page shows it."""

    decided: bool
    sentence: str
    evidence: tuple[str, ...]
    definition: Definition | None


@dataclass(frozen=True, kw_only=True)
class ModelFindings:
    """What the page says first about one model."""

    model: str
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]


def write_report(
    results: Results, out: Path, *, title: str, provenance: Mapping[str, object]
) -> dict[str, Path]:
    """Write the page, the tables (CSV, Markdown, LaTeX), the figures (SVG, PDF) and the data.

    Each file is replaced in one step and the page comes last, so a reader never meets half
    a file. Files of an earlier report that this one does not have are removed; nothing else
    in the directory is touched.

    Args:
        results: the checked results.
        out: the directory, made if need be.
        title: the heading of the page.
        provenance: where the numbers come from (versions, commit, configuration); shown as
            it is, so it must not hold times if equal runs are to give equal bytes.

    Returns:
        The path of every file by its name relative to `out`; the page is "report.html".
    """
    groups = panels(results)
    tables = [*all_tables(groups, results.cells), *size_tables(groups), *_significance(groups)]
    if len((noise := noise_table(results)).rows):
        tables.append(noise)
    figures = [*all_figures(groups), *curve_figures(groups), *heat_maps(groups),
               *front_figures(groups), *beside_figures(groups)]  # fmt: skip
    files: dict[str, bytes] = {}
    files |= contents(tables, figures)
    files["data/cells.csv"] = results.cells.to_csv(index=False, lineterminator="\n").encode()
    files["data/scores.csv"] = results.scores.to_csv(index=False, lineterminator="\n").encode()
    long = retention_table(groups)
    files["data/retention.csv"] = long.to_csv(index=False, lineterminator="\n").encode()
    files[INDEX] = _index(title, provenance, sorted([*files, INDEX, PAGE]))
    files[PAGE] = html(results, title=title, provenance=provenance, groups=groups,
                       tables=tables, figures=figures).encode()  # fmt: skip
    return written(files, out)


def _significance(groups: Sequence[Panel]) -> list[Table]:
    """Tables that need sizes, documents, seeds or whole curves; absent where there are none."""
    found = [choice_table(groups, "sr2"), choice_table(groups, "sr1"),
             per_task_table(groups), answers_table(groups),
             methods_table(groups, "sr2"), methods_table(groups, "sr1"),
             ranking_table(groups), exponent_table(groups), next_table(groups),
             tolerance_table(groups), perplexity_table(groups), budget_tables(groups),
             beside_table(groups), chance_table(groups), disagreement_table(groups)]  # fmt: skip
    return [table for table in found if len(table.rows)]


def contents(tables: Sequence[Table], figures: Sequence[Figure]) -> dict[str, bytes]:
    """The files of tables (CSV, Markdown, LaTeX) and figures (SVG, PDF) by their name."""
    files: dict[str, bytes] = {}
    for table in tables:
        files[f"tables/{table.name}.csv"] = render.to_csv(table).encode()
        files[f"tables/{table.name}.md"] = render.to_markdown(table).encode()
        files[f"tables/{table.name}.tex"] = render.to_latex(table).encode()
    for figure in figures:
        files[f"figures/{figure.name}.svg"] = figure.svg
        files[f"figures/{figure.name}.pdf"] = figure.pdf
    return files


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
    environment = Environment(
        loader=PackageLoader("analysis"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("report.html.j2")
    return page.render(
        title=title,
        cells=len(results.cells),
        done=int((results.cells["status"] == "done").sum()),
        models=[panel.model for panel in groups],
        findings=[_findings(panel) for panel in groups],
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
        papers=PAPERS if any(figure.published for figure in figures) else {},
        marks=MARKS,
    )


def _fits(table: Table) -> bool:
    """Whether a table goes on the page; the details of a huge sweep stay in their files."""
    return table.name not in DETAILS or len(table.rows) <= MOST_SCORE_ROWS


def _findings(panel: Panel) -> ModelFindings:
    found = [_finding(panel, verdict, by) for by in DEFINITIONS
             for verdict in verdicts(panel, by)]  # fmt: skip
    found += [_finding(panel, verdict, None) for verdict in srcr_verdicts(panel)]
    found += [_about_methods(rate, each, by) for by in DEFINITIONS
              for rate, each in contrasts(panel, by).items()]  # fmt: skip
    return ModelFindings(model=panel.model, findings=tuple(found), warnings=_warnings(panel))


def _finding(panel: Panel, verdict: Verdict, definition: Definition | None) -> Finding:
    decided = len(verdict.ranked) > 1 and len(verdict.best) == 1
    return Finding(decided=decided, sentence=conclusion(panel, verdict),
                   evidence=_evidence(panel, verdict), definition=definition)  # fmt: skip


def _about_methods(rate: Fraction, found: Sequence[Contrast], by: Definition) -> Finding:
    told = [sentence(rate, one) for one in found]
    return Finding(decided=found[0].decided, sentence=told[0],
                   evidence=tuple(told[1:MOST_EVIDENCE]), definition=by)  # fmt: skip


def _evidence(panel: Panel, verdict: Verdict) -> tuple[str, ...]:
    told = sentences(panel, verdict)
    more = len(told) - MOST_EVIDENCE
    rest = (f"{more} more comparisons are in the tables.",) if more > 0 else ()
    return (*told[:MOST_EVIDENCE], *rest)


def _warnings(panel: Panel) -> tuple[str, ...]:
    """What a reader must know before believing the verdicts."""
    said = []
    if len(panel.cells) < 2:
        said.append("There is one cell only, so there is nothing to compare.")
    if panel.baseline is None:
        said.append(f"There is {NO_BASELINE}: add the cell with sparsity 0 and 16 bit, "
                    "without it nothing can be said to be retained.")  # fmt: skip
    names, status = labels(panel), list(panel.cells["status"])
    for word in ("failed", "missing"):
        rows = [i for i, state in enumerate(status) if state == word]
        if rows:
            shown = [_with_reason(names[i], str(panel.cells["reason"].iat[i])) for i in rows[:8]]
            more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
            said.append(f"{len(rows)} of {len(status)} cells {word}: {', '.join(shown)}{more}.")
    fallen = [n for n, c in zip(names, panel.cells["collapsed"], strict=True) if c]
    if fallen:
        listed = ", ".join(fallen[:8])
        said.append(f"Collapsed (a valid result, but no working model): {listed}.")
    gaps = [f"{names[i]}: {why}" for i in range(len(names)) if status[i] == "done"
            and panel.baseline is not None and (why := panel.why_no_sr(i))]  # fmt: skip
    if gaps:
        said.append(f"No Sr for {len(gaps)} cells that are done: {' | '.join(gaps[:4])}.")
    return (*said, *(n for n in chance_notes([panel]) if panel.baseline is not None))


def _with_reason(name: str, reason: str) -> str:
    return f"{name} ({reason})" if reason else name


def inline(figure: Figure, index: int) -> Markup:
    """The drawing for use inside a page: no prolog, and ids that no other drawing has."""
    svg = figure.svg.decode()
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(
        r' (?:d|x|y|transform)="(?!scale)[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg
    )  # a hundredth of a point is finer than any screen
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    # Nothing reaches beyond its axes; shorter names make a page of many drawings lighter.
    svg = re.sub(r' clip-path="[^"]*"', "", svg).replace("DejaVuSans-", "g")
    svg = svg.replace("xlink:href", "href").replace("stroke-linejoin: miter", "")
    used = set(re.findall(r'href="#([^"]+)"', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{index}-", svg)
    label = Markup('<svg role="img" aria-label="{}" ').format(figure.caption)
    # Drawn by ourselves with text as outlines: nothing of the user's is markup in here.
    end = svg.rindex("</svg>")
    spots = Markup("").join(_SPOT.format(*spot) for spot in figure.spots)
    spots += Markup("").join(_beside(paper, each) for paper, each in figure.published.items())
    return Markup(svg[:end].replace("<svg ", str(label), 1) + str(spots) + svg[end:])


def _beside(paper: str, spots: Sequence[Spot]) -> Markup:
    """Published points, hidden until a reader asks for them."""
    points = Markup("").join(_POINT.format(x, y, MARKS[paper], said) for x, y, said in spots)
    return Markup('<g class="published {}">{}</g>').format(paper, points)


def flat(provenance: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """A tree as sorted lines: dotted path and text."""
    lines: list[tuple[str, str]] = []
    for key in sorted(provenance, key=str):
        value = provenance[key]
        if isinstance(value, Mapping):
            lines += flat(value, f"{prefix}{key}.")
        else:
            said = value if isinstance(value, str) else json.dumps(value, default=str)
            lines.append((f"{prefix}{key}", said))
    return lines


def _index(title: str, provenance: Mapping[str, object], files: Sequence[str]) -> bytes:
    content = {"title": title, "provenance": provenance, "files": list(files)}
    return json.dumps(content, indent=1, sort_keys=True, default=str).encode() + b"\n"


def written(files: Mapping[str, bytes], out: Path) -> dict[str, Path]:
    """Put files into a directory, each whole or not at all, and remove those of an earlier index.

    Args:
        files: name relative to `out` -> content, in order; `INDEX` among them.
        out: the directory.
    """
    stale = _earlier(out) - set(files)
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(content)
        temporary.replace(path)
    for name in stale:
        (out / name).unlink(missing_ok=True)
    return {name: out / name for name in sorted(files)}


def _earlier(out: Path) -> set[str]:
    """The files that an earlier report put here, as its index says."""
    try:
        listed = json.loads((out / INDEX).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # no index or not ours: then there is nothing that we may remove
    inside = out.resolve()
    return {str(n) for n in listed if (inside / str(n)).resolve().is_relative_to(inside)}
