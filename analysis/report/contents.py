"""What a report says, before anything is drawn or written: its tables and its verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.comparison.seed_variance import conclusion as about_methods
from analysis.comparison.seed_variance import standings
from analysis.comparison.verdicts import Verdict, defined, verdicts
from analysis.data.combining import elsewhere
from analysis.data.panel import Panel, panels
from analysis.data.results import Results
from analysis.output.table import Table
from analysis.report.answers import answers
from analysis.report.race import race_sentences
from analysis.report.sections import SECTIONS, Material, tables_of
from analysis.report.sentences import conclusion


def all_tables(results: Results, groups: Sequence[Panel]) -> list[Table]:
    """Every table of a report that has rows, in its order.

    Args:
        results: with the parts of benchmarks pooled.
        groups: their panels.
    """
    material = Material(results=results, groups=groups)
    return [table for section in SECTIONS for table in tables_of(section, material)]


def conclusions(results: Results, groups: Sequence[Panel]) -> list[str]:
    """The verdicts in words: the race, equal TCr, equal size, what saves no byte, and `_further`.

    Arguments as of `all_tables`.
    """
    told = [answers(panel) for panel in groups]
    words = [line for one in told for line in (*one.rate, *one.size, *one.unsaved)]
    return race_sentences(results) + words + _further(results, groups)


def spoken(results: Results, groups: Sequence[Panel]) -> str:
    """The same for a terminal, each answer under its heading."""
    several = len(groups) > 1
    told = [answers(panel).text(panel.model if several else "") for panel in groups]
    raced = [f"  {line}" for line in race_sentences(results)]
    first = "\n".join(["The race, verdicts that hold at all its looks:", *raced]) if raced else ""
    if raced:
        told = [f"On the documents that all cells answered:\n\n{one}" for one in told if one]
    return "\n\n".join(filter(None, [first, *told, "\n".join(_further(results, groups))]))


def _further(results: Results, groups: Sequence[Panel]) -> list[str]:
    """Verdicts that came out otherwise where the grid was carried out again, then of methods."""
    here = {_about(panel, one): (panel, one) for panel in groups for one in verdicts(panel)}
    words = []
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
