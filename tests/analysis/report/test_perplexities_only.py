"""A sweep without any task where higher is better has verdicts all the same."""

from __future__ import annotations

from analysis.comparison.verdicts import defined
from analysis.data.panel import panels
from analysis.report.findings import PERPLEXITIES_ONLY, findings


def test_verdicts_are_by_sr1_and_it_is_said(make) -> None:
    (panel,) = panels(make(scores=lambda s: s[s["task"] == "topics"]))
    assert defined(panel) == ("sr1",)
    found = findings(panel)
    assert found.warnings[0] == PERPLEXITIES_ONLY
    assert found.findings
    assert not any("no cell can be judged" in one.sentence for one in found.findings)
    assert {one.definition for one in found.findings} == {None}


def test_with_other_tasks_both_are_there(make) -> None:
    (panel,) = panels(make())
    assert defined(panel) == ("sr2", "sr1")
    assert PERPLEXITIES_ONLY not in findings(panel).warnings
    assert {one.definition for one in findings(panel).findings} == {None, "sr1", "sr2"}


def test_without_a_baseline_it_is_not_the_perplexities_fault(make) -> None:
    (panel,) = panels(make(cells=lambda c: c[c["label"] != "dense"]))
    assert defined(panel) == ("sr2", "sr1")
