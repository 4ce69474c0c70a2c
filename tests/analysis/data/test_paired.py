"""Cells that answered the same documents are compared document by document."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparison.verdicts import compare, look_at, verdicts
from analysis.data.documents import Documents
from analysis.data.paired import mcnemar
from analysis.data.panel import panels
from analysis.data.results import BadResults, Results
from analysis.report.sentences import sentences
from analysis.statistics.intervals import (
    MARGIN,
    difference_stderr,
    sr_covariance,
    sr_intervals,
    tost,
)
from tests.analysis.simulated import answers, covers, likelihoods, panel, redrawn, results

LEVELS = (0.7, 0.6, 0.6)


def mixed(rng, levels=LEVELS, n=250):
    losses = [2.5 + 0.1 * i for i in range(len(levels))]
    return {
        "facts": answers(rng, levels, n),
        "grammar": answers(rng, [x + 0.1 for x in levels], n // 2),
        "topics": likelihoods(rng, losses, 60),
    }


def test_parts_of_a_benchmark_are_paired_whatever_order_they_came_in() -> None:
    def part(name: str) -> pd.DataFrame:
        known = {"doc_id": [0, 1], "doc_hash": [f"{name}0", f"{name}1"], "target_hash": "t"}
        return pd.DataFrame({**known, "acc": [1.0, 0.0]})

    parts = {name: part(name) for name in ("algebra", "law", "zoology")}
    turned = dict(reversed(parts.items()))
    documents = Documents({("one", "all"): parts, ("two", "all"): turned})
    one, two = (documents.scored(cell, "all", "acc") for cell in ("one", "two"))
    assert one is not None
    assert two is not None
    assert (one.identity, one.subtask) == (two.identity, two.subtask)


def test_the_error_of_a_difference_by_hand() -> None:
    # 8 documents: both right 4, only the first 2, only the second 1, neither 1.
    one, two = [1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, 1, 0]
    p = panel({"t": np.array([[1.0] * 8, one, two])})
    shared = p.samples[0]
    assert shared.discordant(1, 2) == (2, 1)
    sigma = p.covariance(0, [1, 2])
    # var = (b + c - (b - c)^2 / n) / (n (n - 1)), and one discordant pair more
    by_hand = (3 - 1 / 8) / (8 * 7) + 1 / 64
    assert sigma[0, 0] + sigma[1, 1] - 2 * sigma[0, 1] == pytest.approx(by_hand, rel=1e-12)


def test_without_documents_only_the_diagonal_is_known() -> None:
    rng = np.random.default_rng(1)
    p = panel(mixed(rng), documents=False)
    assert p.covariance(0, [1, 2]) == pytest.approx(np.diag(p.stderr[[1, 2], 0] ** 2))
    assert not p.paired(1, 2)


def test_pairing_shrinks_the_error_of_alike_cells_and_the_dense_one_stays_exact() -> None:
    rng = np.random.default_rng(2)
    tasks = mixed(rng)
    with_, without = panel(tasks), panel(tasks, documents=False)
    assert with_.sr2().value == pytest.approx(without.sr2().value)
    assert (with_.sr2().stderr[1:] < 0.8 * without.sr2().stderr[1:]).all()
    assert (with_.sr1().stderr[1:] < 0.8 * without.sr1().stderr[1:]).all()
    assert with_.sr2().stderr[0] == with_.sr1().stderr[0] == 0
    z = [abs(look_at(p, [0, 1, 2], "sr2", np.ones(3)).z[0, 1]) for p in (with_, without)]
    assert z[0] > 1.3 * z[1]


def test_a_paired_verdict_reads_as_an_interval() -> None:
    p = panel(mixed(np.random.default_rng(4)))
    pair = verdicts(p)[0].pairs[0]
    assert pair.paired
    assert pair.interval.low < pair.difference < pair.interval.high
    told = sentences(p, verdicts(p)[0])[0]
    assert "document by document, by 0." in told
    assert "(95 % CI " in told


@pytest.mark.parametrize("by", ["sr1", "sr2"])
def test_intervals_of_differences_cover(by) -> None:
    rng = np.random.default_rng(5)
    losses = (2.5, 2.6, 2.7)
    truth = {
        "sr2": (0.65 + 0.75 - 0.6 - 0.7) / (0.7 + 0.8),
        "sr1": ((0.65 - 0.6) / 0.7 + (0.75 - 0.7) / 0.8 + np.exp(-0.1) - np.exp(-0.2)) / 3,
    }
    formula, edges, model = [], [], None
    for _ in range(400):
        tasks = {
            "facts": answers(rng, (0.7, 0.65, 0.6), 200),
            "grammar": answers(rng, (0.8, 0.75, 0.7), 120),
            "topics": likelihoods(rng, losses, 60),
        }
        model = model or panel(tasks)
        p = redrawn(model, tasks)
        sr = (p.sr1() if by == "sr1" else p.sr2()).value
        stderr = difference_stderr(sr_covariance(p, [1, 2], by), np.ones(2))[0, 1]
        formula.append(abs(sr[1] - sr[2] - truth[by]) < 1.96 * stderr)
        (found,) = sr_intervals(p, by, [(1, 2)])
        edges.append(found.low < truth[by] < found.high)
    assert covers(0.95, formula)
    assert covers(0.95, edges)


def test_unpaired_intervals_would_cover_far_too_often() -> None:
    """What the paired error is held against: the coverage test above can fail."""
    rng = np.random.default_rng(6)
    hits, model = [], panel({"t": answers(rng, (0.7, 0.6, 0.6), 200)}, documents=False)
    for _ in range(400):
        p = redrawn(model, {"t": answers(rng, (0.7, 0.6, 0.6), 200)})
        hits.append(abs(look_at(p, [1, 2], "sr2", np.ones(2)).z[0, 1]) < 1.96)
    assert not covers(0.95, hits)


def test_subtasks_are_strata_and_not_extra_spread() -> None:
    rng = np.random.default_rng(7)
    easy, hard = answers(rng, (0.95, 0.9, 0.9), 100), answers(rng, (0.2, 0.1, 0.1), 100)
    both = np.hstack([easy, hard])
    parts = {"t": ["easy"] * 100 + ["hard"] * 100}
    one, two = panel({"t": both}), panel({"t": both}, subtasks=parts)
    assert two.covariance(0, [1])[0, 0] < 0.5 * one.covariance(0, [1])[0, 0]
    width = [i.high - i.low for p in (one, two) for i in sr_intervals(p, "sr2", [(1, None)])]
    assert width[1] < width[0]


def test_equal_cells_are_told_apart_in_at_most_five_percent() -> None:
    rng = np.random.default_rng(8)

    def draw() -> dict[str, Any]:
        return {"a": answers(rng, (0.7,) + (0.6,) * 3, 150), "b": answers(rng, (0.9,) * 4, 90)}

    model = panel(draw())
    wrong = [len(compare(redrawn(model, draw()), [1, 2, 3], "sr2").best) < 3 for _ in range(200)]
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_five_documents_that_point_one_way_are_no_proof() -> None:
    two = np.ones(200)
    two[:5] = 0
    p = panel({"t": np.array([np.ones(200), np.r_[np.ones(199), 0], two[::-1]])})
    # Exact: 5 of 5 discordant documents give p = 0.0625; the test must not be far below.
    assert mcnemar(5, 0) == pytest.approx(0.0625)
    z = abs(look_at(p, [0, 2], "sr2", np.ones(2)).z[0, 1])
    assert 2 * stats.norm.sf(z) > 0.03


def test_mcnemar_by_hand_and_never_above_its_level() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(3, 8) == mcnemar(8, 3)
    for n in range(1, 60):
        chance = sum(stats.binom.pmf(k, n, 0.5) for k in range(n + 1) if mcnemar(k, n - k) <= 0.05)
        assert chance <= 0.05


def _other(results: Results, **change) -> Results:
    tables = {key: results.documents.table(*key) for key in results.documents}
    tables["c2", "t"] = tables["c2", "t"].assign(**change)
    return Results(cells=results.cells, scores=results.scores, documents=Documents(tables))


def test_other_documents_are_not_paired() -> None:
    r = results({"t": answers(np.random.default_rng(9), LEVELS, 100)})
    assert panels(r)[0].paired(1, 2)
    for change in (
        {"doc_hash": "x"},
        {"target_hash": "x"},
        {"doc_id": np.arange(1, 101)},
        {"acc": 0.5},
    ):
        (p,) = panels(_other(r, **change))
        assert not p.paired(1, 2)
        assert p.paired(0, 1)
        assert p.covariance(0, [1, 2])[0, 1] == 0
        assert np.isfinite(p.sr2().stderr).all()


def test_documents_that_cannot_be_read_are_refused_by_name(tmp_path) -> None:
    torn = tmp_path / "documents.parquet"
    torn.write_bytes(b"PAR1 torn")
    with pytest.raises(BadResults, match=r"documents\.parquet cannot be read"):
        Documents({("c", "t"): torn}).table("c", "t")
    with pytest.raises(BadResults, match="lack doc_hash, target_hash"):
        Documents({("c", "t"): pd.DataFrame({"doc_id": [1]})}).table("c", "t")
    twice = pd.DataFrame({"doc_id": [1, 1], "doc_hash": "a", "target_hash": "b"})
    with pytest.raises(BadResults, match="appear twice"):
        Documents({("c", "t"): twice}).table("c", "t")


def test_saved_results_keep_their_documents(tmp_path) -> None:
    r = results(mixed(np.random.default_rng(10)))
    r.save(tmp_path)
    one, two = panels(r)[0], panels(Results.load(tmp_path))[0]
    assert two.paired(1, 2)
    assert two.sr1().stderr == pytest.approx(one.sr1().stderr, rel=1e-12)


def test_a_perplexity_that_overflows_is_no_pair() -> None:
    rng = np.random.default_rng(11)
    sums, words = likelihoods(rng, (2.5, 2.6, 800.0), 30)
    tasks = {"topics": (sums, words), "facts": answers(rng, LEVELS, 50)}
    r = results(tasks)
    scores = r.scores.assign(value=r.scores["value"].replace(np.inf, np.nan))
    (p,) = panels(Results(cells=r.cells, scores=scores, documents=r.documents))
    assert p.samples[1].shared.tolist() == [True, True, False]
    assert np.isfinite(p.sr2().stderr).all()


def test_tost_by_hand_and_as_a_test() -> None:
    assert tost(0.0, 0.01) == pytest.approx(stats.norm.sf(2))
    assert tost(0.03, 0.01) == pytest.approx(stats.norm.cdf(1))
    assert tost(0.0, 0.0) == 0
    assert tost(MARGIN, 0.01) == 0.5
    assert np.isnan(tost(0.0, np.nan))
    assert tost(0.0, 0.01, df=3) > tost(0.0, 0.01)
    with pytest.raises(ValueError, match="above 0"):
        tost(0.0, 0.1, margin=0)
    # At the margin itself, equivalence is claimed in 5 % of repetitions, and not more.
    seen = np.random.default_rng(12).normal(MARGIN, 0.004, 4000)
    assert covers(0.05, tost(seen, 0.004) <= 0.05)


def test_undecided_is_not_equivalent() -> None:
    """Few documents decide nothing and prove nothing; many of equal cells prove equality."""
    rng = np.random.default_rng(13)
    said = {}
    for n in (60, 12000):
        p = panel({"t": answers(rng, (0.8, 0.7, 0.7), n, alike=0.98)})
        verdict = compare(p, [1, 2], "sr2")
        assert not verdict.pairs[0].decided
        said[n] = sentences(p, verdict)[0]
    assert "Nor is it shown that they differ by less than 0.02" in said[60]
    assert "They differ by less than 0.02 (two one-sided tests" in said[12000]


def test_documents_that_share_something_count_as_one_in_every_test() -> None:
    """Sixty passages with five questions each, which a cell gets all right or all wrong."""
    rng = np.random.default_rng(6)
    right = np.repeat(answers(rng, LEVELS, 60), 5, axis=1)
    found = results({"t": right})
    tables = {
        key: table.assign(cluster=[f"passage {j // 5}" for j in range(300)])
        for key, table in found.documents.sources.items()
    }
    clustered = Results(cells=found.cells, scores=found.scores, documents=Documents(tables))
    plain, one = (panels(each)[0].covariance(0, [1, 2]) for each in (found, clustered))
    alone = panel({"t": right[:, ::5]}).covariance(0, [1, 2])

    def of(sigma: np.ndarray) -> float:
        return float(sigma[0, 0] + sigma[1, 1] - 2 * sigma[0, 1])

    assert of(one) > 3.5 * of(plain)
    # what sixty documents say, but for the discordant pair more, which is one of 300 here
    assert of(one) - 1 / 300**2 == pytest.approx(of(alone) - 1 / 60**2)
