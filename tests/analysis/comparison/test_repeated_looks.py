"""A sweep that grew after it was looked at: verdicts that hold however often one looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.comparison.repeated_looks import Look, always, equivalent, once, repeated
from analysis.comparison.seed_variance import methods_table
from analysis.comparison.verdicts import compare, look_at, verdicts
from analysis.data import looks
from analysis.data.panel import Panel, panels
from analysis.data.results import Results
from analysis.report.findings import findings
from analysis.report.sentences import conclusion, sentences
from analysis.report.tables import equal_tcr_table
from tests.analysis.simulated import answers, likelihoods, redrawn, results

DOUBLINGS = (50, 100, 200, 400)


def grown(tasks: dict, limits: str) -> Panel:
    """Cells on these documents, in the order in which they were asked, looked at before."""
    found = results(tasks)
    tables = {key: t.assign(position=range(len(t))) for key, t in found.documents.sources.items()}
    scores = found.scores.assign(looks=limits)
    documents = replace(found.documents, sources=tables)
    return panels(Results(cells=found.cells, scores=scores, documents=documents))[0]


def test_a_look_is_the_scores_as_they_were_then() -> None:
    rng = np.random.default_rng(1)
    tasks = {"a": answers(rng, (0.7, 0.6, 0.5), 400), "b": likelihoods(rng, (2.0, 2.1, 2.2), 90)}
    (then,) = looks.earlier(grown(tasks, "50"))
    sums, words = tasks["b"]
    alone = panels(results({"a": tasks["a"][:, :50], "b": (sums[:, :50], words[:50])}))[0]
    assert then.value == pytest.approx(alone.value)
    assert then.sr1().value == pytest.approx(alone.sr1().value)
    assert then.covariance(0, [0, 1, 2]) == pytest.approx(alone.covariance(0, [0, 1, 2]))
    assert then.n[:, 0] == pytest.approx([50] * 3)


def differences(panel: Panel) -> Look:
    """Of the two cells beside the dense one."""
    return look_at(panel, [1, 2], "sr2", np.ones(2))


def false_verdicts(*, limits: tuple[int, ...], runs: int) -> tuple[float, float]:
    """Share of null sweeps with a verdict: by the tests of one look each, and by those of all."""
    rng = np.random.default_rng(7)
    levels, last = (0.7, 0.6, 0.6), DOUBLINGS[-1]
    model = grown({"a": answers(rng, levels, last)}, "")
    naive = held = 0
    alike = np.eye(2, dtype=bool)
    for _ in range(runs):
        now = redrawn(model, {"a": answers(rng, levels, last)})
        seen = replace(now, looks=(limits,))
        seen.__dict__["samples"] = now.samples
        each = [differences(one) for one in (*looks.earlier(seen), now)]
        held += (repeated(each, alike, 0.05).adjusted[0, 1] <= 0.05).item()
        naive += any(once(one, alike).adjusted[0, 1] <= 0.05 for one in each)
    return naive / runs, held / runs


def replace_looks(panel: Panel) -> Panel:
    """The panel as if this were the first look."""
    fresh = replace(panel, looks=((),) * len(panel.tasks))
    fresh.__dict__["samples"] = panel.samples
    return fresh


def test_equal_cells_are_seldom_told_apart_however_often_one_looks() -> None:
    runs = 150
    naive, held = false_verdicts(limits=DOUBLINGS[:-1], runs=runs)
    assert held <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert naive > held
    assert naive > 0.07  # what the tests of one look do to whoever looks four times


def test_a_verdict_stays_at_the_look_at_which_it_fell() -> None:
    rng = np.random.default_rng(2)
    early = answers(rng, (0.8, 0.75, 0.3), 100)
    late = answers(rng, (0.8, 0.5, 0.5), 100)  # later documents tell nothing
    panel = grown({"a": np.hstack([early, late])}, "100")
    verdict = compare(panel, [1, 2], "sr2", rate=None)
    assert verdict.looks == 2
    assert verdict.decided
    assert "valid at all 2 looks" in conclusion(panel, verdict)
    (pair,) = verdict.pairs
    assert pair.look == 1
    assert pair.p == pytest.approx(
        float(
            repeated([differences(looks.earlier(panel)[0])], np.eye(2, dtype=bool), 0.05).adjusted[
                0, 1
            ]
        )
    )


def test_a_report_says_at_which_look_verdicts_fell_and_that_they_hold_at_all() -> None:
    rng = np.random.default_rng(3)
    panel = grown({"a": answers(rng, (0.8, 0.75, 0.4, 0.74), 400)}, "100 200")
    (verdict,) = verdicts(panel)
    assert verdict.looks == 3
    rows = equal_tcr_table([panel], "sr2").rows.set_index("label")
    assert rows.loc["c2", "look"] == 1
    assert np.isnan(rows.loc["c3", "look"])
    assert not verdict.decided
    told = " ".join(sentences(panel, verdict))
    assert "over 3 looks, told at look 1, by" in told
    assert "not significantly different, document by document, over 3 looks, by" in told
    (warning,) = [w for w in findings(panel).warnings if "earlier looks" in w]
    assert "a (at 100, 200 documents)" in warning
    fixed = replace_looks(panel)
    assert verdicts(fixed)[0].looks == 1
    assert "look" not in {c.key for c in equal_tcr_table([fixed], "sr2").columns}


def test_intervals_of_a_sweep_that_grew_are_wider() -> None:
    rng = np.random.default_rng(4)
    panel = grown({"a": answers(rng, (0.8, 0.75, 0.4), 400)}, "100")
    own = [compare(p, [1, 2], "sr2").pairs[0].interval for p in (panel, replace_looks(panel))]
    assert own[0].low < own[1].low
    assert own[0].high > own[1].high


def test_equivalence_is_shown_where_the_interval_fits_the_margin() -> None:
    error = np.array([0.004, 0.004, 0.02, np.nan, 0.0])
    difference = np.array([0.001, 0.03, 0.001, 0.001, 0.001])
    p = equivalent(difference, error, margin=0.02)
    fits = np.abs(difference) + always(error, 0.05) <= 0.02
    assert list(p <= 0.05) == [True, False, False, False, True]
    assert list(fits[:3]) == list((p <= 0.05)[:3])
    assert np.isnan(p[3])


def test_without_documents_only_the_last_look_is_tested_and_holds_at_all() -> None:
    rng = np.random.default_rng(5)
    tasks = {"a": answers(rng, (0.8, 0.75, 0.4), 400)}
    found = results(tasks, documents=False)
    panel = panels(Results(cells=found.cells, scores=found.scores.assign(looks="100")))[0]
    assert looks.earlier(panel) == []
    verdict = compare(panel, [1, 2], "sr2")
    assert verdict.decided
    assert verdict.pairs[0].p > compare(replace_looks(panel), [1, 2], "sr2").pairs[0].p


def test_verdicts_about_methods_say_that_theirs_are_tests_of_one_look() -> None:
    rng = np.random.default_rng(8)
    panel = grown({"a": answers(rng, (0.8, 0.75, 0.4), 100)}, "50")
    assert any("hold for one look" in note for note in methods_table([panel]).notes)
    assert not any("one look" in note for note in methods_table([replace_looks(panel)]).notes)
