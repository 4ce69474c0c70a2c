"""What a report says, before anything is drawn or written: its tables and its verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.comparison.across_machines import noted
from analysis.comparison.at_chance import chance_table
from analysis.comparison.definition_sensitivity import exponent_table, ranking_table
from analysis.comparison.disagreements import disagreement_table
from analysis.comparison.machines import machines_table
from analysis.comparison.noise_floor import noise_table
from analysis.comparison.per_task import per_task_table
from analysis.comparison.seed_variance import conclusion as about_methods
from analysis.comparison.seed_variance import methods_table, standings
from analysis.comparison.size import size_tables
from analysis.comparison.size_budget import choice_table
from analysis.comparison.verdicts import Verdict, defined, verdicts
from analysis.curves.measured_curves import perplexity_table, tolerance_table
from analysis.curves.measured_surface import budget_tables
from analysis.data.combining import elsewhere
from analysis.data.panel import Panel, panels
from analysis.data.results import Results
from analysis.output.table import Table
from analysis.report.figures.mpt_beside import beside_table
from analysis.report.next_steps import next_table
from analysis.report.sentences import conclusion
from analysis.report.tables import all_tables as main_tables
from analysis.report.task_breakdown import answers_table


def all_tables(results: Results, groups: Sequence[Panel]) -> list[Table]:
    """Every table of a report, in its order.

    Args:
        results: with the parts of benchmarks pooled.
        groups: their panels.
    """
    found = [*main_tables(groups, results.cells), *size_tables(groups)]
    further = [*_significance(groups), machines_table(results), noise_table(results)]
    return noted(found + [table for table in further if len(table.rows)], groups)


def conclusions(results: Results, groups: Sequence[Panel]) -> list[str]:
    """The verdicts in words, one for each group of cells that is compared, then about methods.

    Where the grid was carried out again elsewhere and a verdict came out otherwise there, that
    one follows; arguments as of `all_tables`.
    """
    here = {_about(panel, one): (panel, one) for panel in groups for one in verdicts(panel)}
    words = [conclusion(panel, one) for panel, one in here.values()]
    for number, other in enumerate(elsewhere(results), 2):
        for panel in panels(other):
            for one in verdicts(panel):
                known = here.get(_about(panel, one))
                if known and _best(*known) != _best(panel, one):
                    said = conclusion(panel, one)
                    words.append(f"Made again elsewhere (bundle {number}), otherwise: {said}")
    return words + [
        about_methods(rate, one)
        for panel in groups
        for rate, one in standings(panel, defined(panel)[0]).items()
    ]


def _about(panel: Panel, verdict: Verdict) -> tuple[object, ...]:
    return panel.model, verdict.tcr, verdict.by


def _best(panel: Panel, verdict: Verdict) -> set[str]:
    """The keys of the cells among which a verdict says the best is."""
    return {str(panel.cells["cell"].iat[row]) for row in verdict.best}


def _significance(groups: Sequence[Panel]) -> list[Table]:
    """Tables that need sizes, documents, seeds or whole curves; empty where there are none."""
    return [
        choice_table(groups, "sr2"),
        choice_table(groups, "sr1"),
        per_task_table(groups),
        answers_table(groups),
        methods_table(groups, "sr2"),
        methods_table(groups, "sr1"),
        ranking_table(groups),
        exponent_table(groups),
        next_table(groups),
        tolerance_table(groups),
        perplexity_table(groups),
        budget_tables(groups),
        beside_table(groups),
        chance_table(groups),
        disagreement_table(groups),
    ]
