"""The tables, figures and claims of arXiv:2505.07289 as a directory to hold beside the paper.

From published numbers, from a measured sweep, or from both: then side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.comparison.across_machines import noted
from analysis.comparison.size import equal_size_table, sizes_table
from analysis.data.panel import Panel, panels
from analysis.data.results import BadResults, Results
from analysis.data.task_groups import LABORDE, pooled
from analysis.metrics import Definition
from analysis.output.figure import Figure
from analysis.output.files import INDEX, contents, index, put, written
from analysis.output.page import flat, inline, template
from analysis.output.render import body
from analysis.output.table import Table
from analysis.report.figures.pareto_figures import front_figures
from analysis.reproduction import laborde_tables, model_families, other_papers
from analysis.reproduction.jsq_measured import measured_table
from analysis.reproduction.laborde_audit import audit_table
from analysis.reproduction.laborde_claims import claims_table
from analysis.reproduction.laborde_figures import NUMBERS, Side, figure
from analysis.reproduction.measured_vs_published import beside_table, versions
from analysis.reproduction.model_families import Family, contest_table, family_figures
from analysis.reproduction.printed import as_printed

PAGE = "index.html"
TABLES = tuple(f"table{n}" for n in laborde_tables.NUMBERS.values())
FIGURES = tuple(f"fig{n}" for n in NUMBERS)
DEFINITIONS: tuple[Definition, ...] = ("sr2", "sr1")
ITEMS = ("claims", *TABLES, *FIGURES, "sizes", "families", "both", "audit", *other_papers.PAPERS)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One set of results that is held against the paper.

    Attributes:
        name: "published", or what a reader should call it, such as the sweep's name.
        results: its cells and scores, by leaf task or by benchmark.
        published: whether these are the paper's own numbers.
    """

    name: str
    results: Results
    published: bool = False


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing of the paper, made again: its tables and figures."""

    name: str
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A source with its benchmarks put together."""

    source: Source
    results: Results
    panels: Sequence[Panel]


def items(sources: Sequence[Source], only: str | None = None) -> list[Item]:
    """Everything that the sources can show, in the order of a reader's questions.

    Args:
        sources: one, or a measured one and the published one.
        only: the name of one item; see `ITEMS`.

    Raises:
        BadResults: `only` is no item, or needs a source that is not given.
    """
    if only is not None and only not in ITEMS:
        raise BadResults(f"there is no {only!r} to reproduce; valid: {', '.join(ITEMS)}")
    read = [_read(source) for source in sources]
    every = [panel for one in read for panel in one.panels]
    made = [
        replace(item, tables=tuple(noted(item.tables, every)))
        for item in _items(read, [only] if only else list(ITEMS))
        if item.tables or item.figures
    ]
    if only and not made:
        names = " and ".join(source.name for source in sources)
        raise BadResults(
            f"{only} cannot be made from {names}: "
            f"{_NEEDS.get(only, 'no cell that it shows is there')}"
        )
    return made


_NEEDS = {
    "both": "it needs a measured sweep and the published numbers",
    **dict.fromkeys(("audit", "mpt"), "it is about published numbers"),
    "jsq": "it needs the published numbers, or cells of experiment=jsq2024",
}


def _read(source: Source) -> _Read:
    results = pooled(source.results, LABORDE)
    return _Read(source=source, results=results, panels=panels(results))


def _items(read: Sequence[_Read], names: Sequence[str]) -> Iterator[Item]:
    sides = [Side(name=one.source.name, panels=one.panels) for one in read]
    for name in names:
        if name == "sizes":
            drawings = [drawn for one in read for drawn in front_figures(one.panels)]
            yield Item(name=name, tables=tuple(_tables(name, read)), figures=tuple(drawings))
        elif name == "families":
            known = _families(read)
            yield Item(
                name=name,
                tables=(contest_table(known),) if known else (),
                figures=tuple(family_figures(known)),
            )
        elif name in other_papers.PAPERS:
            published = any(one.source.published for one in read)
            yield Item(
                name=name,
                tables=tuple(_of_paper(name, read, published)),
                figures=other_papers.figures(name) if published else (),
            )
        elif name in FIGURES:
            drawn = figure(int(name.removeprefix("fig")), sides)
            yield Item(name=name, figures=(drawn,) if drawn else ())
        else:
            yield Item(name=name, tables=tuple(_tables(name, read)))


def _of_paper(name: str, read: Sequence[_Read], published: bool) -> Iterator[Table]:
    """What a sweep repeats of another paper, then what its printed numbers give."""
    for one in read:
        if name == "jsq" and not one.source.published:
            found = measured_table(one.results, one.source.name)
            yield from [found] if found else []
    if published:
        yield from other_papers.tables(name)


def _families(read: Sequence[_Read]) -> list[Family]:
    """Models of one family: the published ones of MPT, and those of a sweep with several."""
    found = [
        model_families.measured(one.panels, one.source.name)
        for one in read
        if not one.source.published
    ]
    known = model_families.published() if any(one.source.published for one in read) else []
    return [*(family for family in found if family is not None), *known]


def _tables(name: str, read: Sequence[_Read]) -> Iterator[Table]:
    if name == "table1":
        yield laborde_tables.rate_table()
    elif name == "sizes":
        for one in read:
            sized = [
                make(one.panels, by)
                for by in DEFINITIONS
                for make in (equal_size_table, sizes_table)
            ]
            yield from sized if len(read) == 1 else (_marked(t, one.source) for t in sized)
    elif name == "audit":
        yield from (audit_table() for one in read if one.source.published)
    elif name == "both":
        yield from _beside(read)
    else:
        for one in read:
            made = _table(name, one)
            yield made if len(read) == 1 else _marked(made, one.source)


def _table(name: str, one: _Read) -> Table:
    if name == "claims":
        return claims_table(one.panels)
    numeral = next(n for n, number in laborde_tables.NUMBERS.items() if f"table{number}" == name)
    made = laborde_tables.score_table(one.panels, numeral)
    return as_printed(made, numeral) if one.source.published else made


def _beside(read: Sequence[_Read]) -> Iterator[Table]:
    published = [one for one in read if one.source.published]
    for one in read:
        if published and not one.source.published:
            yield beside_table(one.panels, published[0].panels, versions(one.results))


def _marked(table: Table, source: Source) -> Table:
    """The same table, saying whose numbers it holds."""
    suffix = "published" if source.published else "measured"
    caption = f"{table.caption} ({'published' if source.published else source.name})"
    return replace(table, name=f"{table.name}_{suffix}", caption=caption)


def write_files(made: Sequence[Item], out: Path) -> dict[str, Path]:
    """Write the tables and figures alone, beside what is there; name -> path."""
    return put(_contents(made), out)


def _contents(made: Sequence[Item]) -> dict[str, bytes]:
    tables = [table for item in made for table in item.tables]
    return contents(tables, [drawn for item in made for drawn in item.figures])


def write(
    made: Sequence[Item], out: Path, *, title: str, provenance: Mapping[str, object]
) -> dict[str, Path]:
    """Write a page, and each table and figure as files; name -> path, the page is "index.html".

    Files that an earlier call left here and this one does not make are removed.
    """
    files = _contents(made)
    files[INDEX] = index(title, provenance, sorted([*files, INDEX, PAGE]))
    files[PAGE] = _page(made, title, provenance).encode()
    return written(files, out)


def _page(made: Sequence[Item], title: str, provenance: Mapping[str, object]) -> str:
    drawn = [one for item in made for one in item.figures]
    return template("reproduction.html.j2").render(
        title=title,
        items=[
            (
                item.name,
                [(table, body(table)) for table in item.tables],
                [(one, inline(one, drawn.index(one))) for one in item.figures],
            )
            for item in made
        ],
        provenance=flat(provenance),
    )
