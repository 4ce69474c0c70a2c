"""The sections of a report, in their order: what each is about, its tables and its figures.

This list is the only place that says what a report has; pages, files and bundles follow it,
but for what `write_report` alone is given: two cells that were asked for, the questions of
documents. What is new is one function in one section's ``tables`` or ``figures``, or one more
`Section`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from analysis.comparison.across_machines import noted
from analysis.comparison.across_models import across_table
from analysis.comparison.at_chance import chance_table
from analysis.comparison.definition_sensitivity import exponent_table, ranking_table
from analysis.comparison.disagreements import disagreement_table
from analysis.comparison.machines import machines_table
from analysis.comparison.noise_floor import noise_table
from analysis.comparison.per_task import per_task_table
from analysis.comparison.seed_variance import methods_table
from analysis.comparison.size import size_tables
from analysis.comparison.size_budget import choice_table
from analysis.curves.measured_curves import perplexity_table, tolerance_table
from analysis.curves.measured_surface import budget_tables
from analysis.data.panel import Panel
from analysis.data.results import Results
from analysis.output.figure import Figure
from analysis.output.table import Table
from analysis.report.figures.curve_figures import curve_figures
from analysis.report.figures.mpt_beside import beside_figures, beside_table
from analysis.report.figures.pareto_figures import front_figures
from analysis.report.figures.race_figures import race_figures
from analysis.report.figures.retention_figures import per_cell, retention_over
from analysis.report.figures.srcr_figures import srcr_figures
from analysis.report.headline import headline_table
from analysis.report.layer_errors import layer_error_maps, layer_error_table
from analysis.report.next_steps import next_table
from analysis.report.race import race_table
from analysis.report.tables import cells_table, equal_tcr_table, scores_table, tcr_table
from analysis.report.task_breakdown import answers_table, heat_maps


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What a report is made of.

    Attributes:
        results: the checked results, the parts of benchmarks pooled.
        groups: their panels, one a model.
    """

    results: Results
    groups: Sequence[Panel]


Tables = Callable[[Material], Iterable[Table]]
Figures = Callable[[Material], Iterable[Figure]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page.

    Attributes:
        key: its anchor.
        title: its heading.
        short: its name in the navigation.
        lead: what a reader must know of all of it; "" for nothing.
        tables: each makes some tables; those without rows are left out.
        figures: each draws some figures; what says nothing is not drawn.
        open: names of the tables that are shown at once; the others are folded.
    """

    key: str
    title: str
    short: str
    lead: str = ""
    tables: Sequence[Tables] = field(default=())
    figures: Sequence[Figures] = field(default=())
    open: tuple[str, ...] = ()


SECTIONS: tuple[Section, ...] = (
    Section(
        key="result",
        title="Result",
        short="Result",
        tables=(lambda m: [headline_table(m.groups, both=True)],),
        figures=(lambda m: retention_over(m.groups),),
    ),
    Section(
        key="race",
        title="The race",
        short="Race",
        tables=(lambda m: [race_table(m.results)],),
        figures=(lambda m: race_figures(m.results),),
        open=("race",),
    ),
    Section(
        key="rate",
        title="At equal TCr",
        short="Equal TCr",
        lead="TCr is the theoretical compression rate. It counts every pruned weight as saved.",
        tables=(
            lambda m: (equal_tcr_table(m.groups, "sr2"), equal_tcr_table(m.groups, "sr1")),
            lambda m: (methods_table(m.groups, "sr2"), methods_table(m.groups, "sr1")),
            lambda m: (across_table(m.groups, "sr2"), across_table(m.groups, "sr1")),
        ),
        open=(
            "equal_tcr_sr2",
            "equal_tcr_sr1",
            "methods_sr2",
            "methods_sr1",
            "across_models_sr2",
            "across_models_sr1",
        ),
    ),
    Section(
        key="size",
        title="At equal size",
        short="Equal size",
        lead="Size is what the files take. A mask that no format stores saves nothing there.",
        tables=(
            lambda m: (choice_table(m.groups, "sr2"), choice_table(m.groups, "sr1")),
            lambda m: size_tables(m.groups),
        ),
        figures=(lambda m: front_figures(m.groups),),
        open=("choice_sr2", "choice_sr1"),
    ),
    Section(
        key="cells",
        title="Cells",
        short="Cells",
        tables=(
            lambda m: [cells_table(m.groups)],
            lambda m: [scores_table(m.groups)],
            lambda m: [tcr_table(m.results.cells)],
        ),
        figures=(lambda m: per_cell(m.groups), lambda m: heat_maps(m.groups)),
        open=("cells",),
    ),
    Section(
        key="srcr",
        title="SrCr and the definition of retention",
        short="SrCr",
        tables=(
            lambda m: [ranking_table(m.groups)],
            lambda m: [exponent_table(m.groups)],
        ),
        figures=(lambda m: srcr_figures(m.groups),),
    ),
    Section(
        key="curves",
        title="Curves over compression",
        short="Curves",
        tables=(
            lambda m: [tolerance_table(m.groups)],
            lambda m: [perplexity_table(m.groups)],
            lambda m: [budget_tables(m.groups)],
            lambda m: [beside_table(m.groups)],
        ),
        figures=(lambda m: curve_figures(m.groups), lambda m: beside_figures(m.groups)),
    ),
    Section(
        key="tasks",
        title="Tasks and documents",
        short="Tasks",
        tables=(
            lambda m: [per_task_table(m.groups)],
            lambda m: [answers_table(m.groups)],
            lambda m: [chance_table(m.groups)],
            lambda m: [disagreement_table(m.groups)],
        ),
        open=("disagreement_texts",),
    ),
    Section(
        key="layers",
        title="Where compression loses most",
        short="Layers",
        tables=(lambda m: [layer_error_table(m.results, m.groups)],),
        figures=(lambda m: layer_error_maps(m.results, m.groups),),
    ),
    Section(
        key="trust",
        title="Noise and what to run next",
        short="Noise",
        tables=(
            lambda m: [machines_table(m.results)],
            lambda m: [noise_table(m.results)],
            lambda m: [next_table(m.groups)],
        ),
        open=("machines", "noise_floor", "next"),
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Filled:
    """A section with what it has in one report."""

    section: Section
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.tables or self.figures)


def tables_of(section: Section, material: Material) -> tuple[Table, ...]:
    """The tables of a section that have rows."""
    made = (table for make in section.tables for table in make(material))
    return tuple(noted([table for table in made if len(table.rows)], material.groups))


def filled(material: Material) -> list[Filled]:
    """Every section with its tables and figures, in their order."""
    taken: set[str] = set()
    return [
        Filled(
            section=section,
            tables=tables_of(section, material),
            figures=tuple(_drawn(section, material, taken)),
        )
        for section in SECTIONS
    ]


def figures_of(material: Material) -> list[Figure]:
    """Every figure of a report, in its order."""
    taken: set[str] = set()
    return [figure for section in SECTIONS for figure in _drawn(section, material, taken)]


def _drawn(section: Section, material: Material, taken: set[str]) -> Iterator[Figure]:
    """The figures of a section; two models may differ only in what a file name cannot hold."""
    for draw in section.figures:
        for figure in draw(material):
            name, again = figure.name, 1
            while name in taken:
                again += 1
                name = f"{figure.name}-{again}"
            taken.add(name)
            yield replace(figure, name=name)
