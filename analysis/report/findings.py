"""What a report says first: the verdicts as sentences, and what to know before believing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from analysis.comparison.across_machines import mixed_notes
from analysis.comparison.equal_size import equal_size
from analysis.comparison.seed_variance import (
    Contrast,
    Standing,
    contrasts,
    repeated,
    sentence,
    standings,
)
from analysis.comparison.seed_variance import conclusion as about_methods
from analysis.comparison.verdicts import Verdict, defined, srcr_verdicts, verdicts
from analysis.data.alignment import NO_BASELINE
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Definition
from analysis.output.text import listed
from analysis.report.answers import unsaved_bytes
from analysis.report.sentences import conclusion, sentences
from analysis.report.tables import chance_notes, grown_notes

PERPLEXITIES_ONLY = (
    "Perplexities alone were scored: Sr2 and SrCr, which are made of tasks where "
    "higher is better, do not exist, and these verdicts are by Sr1."
)
MOST_EVIDENCE = 6
MOST_LEADING = 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One verdict as the page shows it; ``section`` is the key of the one it belongs to."""

    section: str
    decided: bool
    sentence: str
    evidence: tuple[str, ...]
    definition: Definition | None


@dataclass(frozen=True, kw_only=True)
class ModelFindings:
    """What the page says first about one model; ``unsaved`` names pruning that saves no byte."""

    model: str
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    unsaved: tuple[str, ...]

    def of(self, section: str) -> list[Finding]:
        """The findings of one section."""
        return [one for one in self.findings if one.section == section]

    def leading(self, section: str) -> list[Finding]:
        """Of each definition the last few, which are the most compressed: what is shown at once."""
        own = self.of(section)
        kinds = dict.fromkeys(one.definition for one in own)
        each = [[one for one in own if one.definition == kind][-MOST_LEADING:] for kind in kinds]
        return [one for some in each for one in some]

    def further(self, section: str) -> list[Finding]:
        """The others, folded."""
        shown = {id(one) for one in self.leading(section)}
        return [one for one in self.of(section) if id(one) not in shown]


def findings(panel: Panel) -> ModelFindings:
    """Verdicts about cells and about methods, by either definition of Sr, and the warnings."""
    kinds = defined(panel)
    both = len(kinds) > 1  # the only one is shown whatever is chosen on the page
    found = [
        _finding("rate", panel, verdict, by if both else None)
        for by in kinds
        for verdict in verdicts(panel, by)
    ]
    found += [
        _finding("size", panel, verdict, by if both else None)
        for by in kinds
        for _, verdict in equal_size(panel, by)
    ]
    found += [_finding("srcr", panel, verdict, None) for verdict in srcr_verdicts(panel) if both]
    found += [
        _about_methods(rate, each, standings(panel, by)[rate], by if both else None)
        for by in kinds
        for rate, each in contrasts(panel, by).items()
    ]
    warnings = _warnings(panel) if both else (PERPLEXITIES_ONLY, *_warnings(panel))
    return ModelFindings(
        model=panel.model,
        findings=tuple(found),
        warnings=warnings,
        unsaved=unsaved_bytes(panel),
    )


def _finding(
    section: str, panel: Panel, verdict: Verdict, definition: Definition | None
) -> Finding:
    return Finding(
        section=section,
        decided=verdict.decided,
        sentence=conclusion(panel, verdict),
        evidence=_evidence(panel, verdict),
        definition=definition,
    )


def _about_methods(
    rate: Fraction, found: Sequence[Contrast], standing: Standing, by: Definition | None
) -> Finding:
    first = [*standing.ahead, *standing.tied]
    told = [sentence(rate, one) for one in (*first, *(c for c in found if c not in first))]
    said = about_methods(rate, standing)
    return Finding(
        section="rate",
        decided=standing.decided,
        sentence=said,
        evidence=tuple(t for t in told if t != said)[:MOST_EVIDENCE],
        definition=by,
    )


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
        said.append(
            f"There is {NO_BASELINE}: add the cell with sparsity 0 and 16 bit, "
            "without it nothing can be said to be retained."
        )
    names, status = labels(panel), list(panel.cells["status"])
    for word in ("failed", "missing"):
        rows = [i for i, state in enumerate(status) if state == word]
        if rows:
            shown = [_with_reason(names[i], str(panel.cells["reason"].iat[i])) for i in rows]
            said.append(f"{len(rows)} of {len(status)} cells {word}: {listed(shown)}.")
    fallen = [n for n, c in zip(names, panel.cells["collapsed"], strict=True) if c]
    if fallen:
        said.append(f"Collapsed (a valid result, but no working model): {listed(fallen)}.")
    if again := repeated(panel):
        said.append(
            "The same method and seed twice; the first counts in verdicts about methods, "
            f"not: {listed(again)}."
        )
    said += mixed_notes([panel])
    said += _without_sr(panel, names, status)
    said += grown_notes([panel])
    return (*said, *(n for n in chance_notes([panel]) if panel.baseline is not None))


def _without_sr(panel: Panel, names: Sequence[str], status: Sequence[str]) -> list[str]:
    """Each reason for which done cells have no Sr, with those cells."""
    if panel.baseline is None:
        return []
    reasons: dict[str, list[str]] = {}
    for row, name in enumerate(names):
        if status[row] == "done" and (why := panel.why_no_sr(row)):
            reasons.setdefault(why, []).append(name)
    return [f"Done, but without Sr ({why}): {listed(cells)}." for why, cells in reasons.items()]


def _with_reason(name: str, reason: str) -> str:
    return f"{name} ({reason})" if reason else name
