"""Calibration seeds as a second source of variance, and tests task by task."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from analysis.comparison import seed_variance
from analysis.comparison.per_task import per_task_table
from analysis.comparison.seed_variance import (
    conclusion,
    contrasts,
    mean,
    methods,
    methods_table,
    sentence,
    standings,
)
from analysis.comparison.verdicts import compare, verdicts
from analysis.data.panel import Panel, panels
from analysis.data.results import Results
from analysis.metrics import Array
from analysis.output.render import to_markdown
from analysis.report.findings import findings
from analysis.report.next_steps import next_table
from analysis.report.sentences import conclusion as cell_conclusion
from tests.analysis.simulated import answers, covers, panel, redrawn, results

K = 4


def evaluated(rng, *, calibration=0.03, gap=0.0, n=200) -> dict[str, Array]:
    """Dense, then K seeds of one method and K of another, which is worse by `gap`."""
    shift = rng.normal(0, calibration, size=(2, K))
    levels = [0.8, *(0.6 + shift[0]), *(0.6 - gap + shift[1])]
    return {"t": answers(rng, np.clip(levels, 0.05, 0.95), n)}


def seeded(tasks, **options) -> Panel:
    """Two methods at one TCr with seeds 0 .. K-1 each."""
    made = results(tasks, **options)
    cells = made.cells.assign(
        method="",
        calibration_seed=[np.nan, *range(K), *range(K)],
        label=["dense"] + ["gptq"] * K + ["rtn"] * K,
        quant_method=[""] + ["gptq"] * K + ["rtn"] * K,
    )
    return panels(Results(cells=cells, scores=made.scores, documents=made.documents))[0]


A, B = range(1, K + 1), range(K + 1, 2 * K + 1)


def test_methods_are_cells_that_differ_in_the_seed_alone() -> None:
    p = seeded(evaluated(np.random.default_rng(1)))
    found = methods(p, [*A, *B])
    assert [m.label for m in found] == ["gptq", "rtn"]
    assert found[0].rows == {float(s): s + 1 for s in range(K)}


def test_the_variance_by_hand() -> None:
    p = seeded(evaluated(np.random.default_rng(2)), documents=False)
    value = p.sr2().value
    d = value[1 : K + 1] - value[K + 1 :]
    # Without documents their covariance is unknown: the variance of one seed stands for it.
    s = p.stderr[:, 0] / p.value[0, 0]
    over = s[1 : K + 1] ** 2 + s[K + 1 :] ** 2 + (d * s[0]) ** 2
    found = mean(p, "sr2", A, B)
    assert found.value == pytest.approx(d.mean())
    assert found.stderr**2 == pytest.approx(d.var(ddof=1) / K + over.mean(), rel=1e-9)
    assert found.df >= K - 1


@pytest.mark.parametrize("calibration", [0.0, 0.03])
def test_intervals_cover_the_difference_of_the_methods(calibration) -> None:
    rng, hits = np.random.default_rng(3), []
    model = seeded(evaluated(rng))
    for _ in range(300):
        p = redrawn(model, evaluated(rng, calibration=calibration, gap=0.02))
        ends = mean(p, "sr2", A, B).interval
        hits.append(ends.low <= 0.02 / 0.8 <= ends.high)
    assert np.mean(hits) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 300)


def test_one_seed_would_not_cover_when_calibration_varies() -> None:
    """What the second variance is for: documents alone cover far too rarely."""
    rng, hits = np.random.default_rng(4), []
    model = panel({"t": answers(rng, (0.8, 0.6, 0.6), 2000)})
    for _ in range(200):
        shift = rng.normal(0, 0.03, 2)
        p = redrawn(model, {"t": answers(rng, (0.8, 0.6 + shift[0], 0.6 + shift[1]), 2000)})
        sigma = p.covariance(0, [1, 2])
        stderr = np.sqrt(sigma[0, 0] + sigma[1, 1] - 2 * sigma[0, 1])
        hits.append(abs(p.value[1, 0] - p.value[2, 0]) < 1.96 * stderr)
    assert np.mean(hits) < 0.7
    assert not covers(0.95, hits)


def test_verdicts_about_methods_need_three_common_seeds(monkeypatch) -> None:
    p = seeded(evaluated(np.random.default_rng(5), gap=0.15, calibration=0.005))
    ((rate, (found,)),) = contrasts(p).items()
    assert rate == Fraction(3, 4)
    assert (found.first.label, found.second.label) == ("gptq", "rtn")
    assert found.decided
    assert "the method is better, not only these checkpoints" in sentence(rate, found)
    assert "over 4 calibration seeds" in sentence(rate, found)
    monkeypatch.setattr(seed_variance, "FEWEST_SEEDS", K + 1)
    again = seeded(evaluated(np.random.default_rng(5), gap=0.15, calibration=0.005))
    assert contrasts(again) == {}


def test_a_method_without_calibration_is_the_same_under_every_seed() -> None:
    rng = np.random.default_rng(6)
    made = results({"t": answers(rng, (0.8, 0.6, 0.61, 0.6, 0.5), 300)})
    cells = made.cells.assign(
        method="",
        calibration_seed=[np.nan, 0, 1, 2, np.nan],
        label=["dense", "gptq", "gptq", "gptq", "rtn"],
        quant_method=["", "gptq", "gptq", "gptq", "rtn"],
    )
    (p,) = panels(Results(cells=cells, scores=made.scores, documents=made.documents))
    ((_, (found,)),) = contrasts(p).items()
    assert found.mean.seeds == 3
    assert found.mean.value == pytest.approx(p.sr2().value[1:4].mean() - p.sr2().value[4])


def test_undecided_methods_are_said_to_be_so() -> None:
    p = seeded(evaluated(np.random.default_rng(7), calibration=0.05))
    ((rate, (found,)),) = contrasts(p).items()
    assert not found.decided
    assert sentence(rate, found).endswith("undecided for the methods.")
    table = methods_table([p])
    assert len(table.rows) == 1
    assert "undecided" in to_markdown(table)
    assert methods_table([panel(evaluated(np.random.default_rng(8)))]).rows.empty


def test_task_by_task_names_the_exact_test() -> None:
    one, two = np.ones(40), np.r_[np.zeros(9), np.ones(31)]
    p = panel({"a": np.array([one, one, two]), "b": np.array([one, one, one])})
    rows = per_task_table([p]).rows.set_index("task")
    assert rows.loc["a", "only_first"] == 9
    assert rows.loc["a", "raw"] == pytest.approx(2 / 2**9)
    assert rows.loc["a", "p"] == pytest.approx(2 * 2 / 2**9)
    assert rows.loc["a", "verdict"] == "best cell better"
    assert rows.loc["b", "p"] == 1
    assert per_task_table([panel({"a": np.array([one, one, two])}, documents=False)]).rows.empty


def by_axis(tasks, **columns) -> Panel:
    """As `seeded`, but labelled as a sweep with an axis of seeds labels its cells."""
    made = results(tasks)
    names = [f"{m} [seed={s}]" for m in ("gptq", "rtn") for s in range(K)]
    cells = made.cells.assign(
        method="",
        calibration_seed=[np.nan, *range(K), *range(K)],
        label=["dense", *names],
        quant_method=[""] + ["gptq"] * K + ["rtn"] * K,
        **columns,
    )
    return panels(Results(cells=cells, scores=made.scores, documents=made.documents))[0]


def test_seeds_in_the_labels_make_no_methods() -> None:
    p = by_axis(evaluated(np.random.default_rng(9), gap=0.15, calibration=0.005))
    assert [m.label for m in methods(p, [*A, *B])] == ["gptq", "rtn"]
    assert len(methods_table([p]).rows) == 1
    assert "seeds" not in next_table([p]).rows.to_string()
    (rate,) = contrasts(p)
    told = [finding.sentence for finding in findings(p).findings]
    assert any("the method is better, not only these checkpoints" in one for one in told)
    assert conclusion(rate, standings(p)[rate]) in told


def test_what_is_no_seed_makes_methods() -> None:
    """Group sizes are no seeds, though the labels may be alike."""
    sizes = [np.nan, 32, 64, 128, 256, 128, 128, 128, 128]
    p = by_axis(evaluated(np.random.default_rng(10)), group_size=sizes)
    found = methods(p, [*A, *B])
    assert [len(m.rows) for m in found] == [1, 1, 1, 1, K]
    assert len({m.label for m in found}) == len(found)
    assert found[0].label == "gptq [group_size=32]"
    assert contrasts(p) == {}


def test_a_repeated_seed_is_said_and_never_overwrites() -> None:
    rng = np.random.default_rng(11)
    made = results(evaluated(rng))
    cells = made.cells.assign(
        method="",
        calibration_seed=[np.nan, 0, 1, 2, 2, 0, 1, 2, 3],
        label=["dense"] + ["gptq"] * K + ["rtn"] * K,
        quant_method=[""] + ["gptq"] * K + ["rtn"] * K,
    )
    (p,) = panels(Results(cells=cells, scores=made.scores, documents=made.documents))
    one, _ = methods(p, [*A, *B])
    assert one.rows == {0.0: 1, 1.0: 2, 2.0: 3}
    assert one.repeated == (4,)
    assert any("gptq (seed 2, key c4)" in said for said in findings(p).warnings)
    ((_, (found,)),) = contrasts(p).items()
    assert found.mean.seeds == 3


def test_seeds_of_one_method_are_not_ranked_against_each_other() -> None:
    """One method of four seeds, which do differ: nothing is to be chosen among them."""
    rng, other = np.random.default_rng(12), 0
    for _ in range(50):
        levels = [0.8, *(0.6 + rng.normal(0, 0.05, K)), *(0.45 + rng.normal(0, 0.005, K))]
        p = by_axis({"t": answers(rng, np.clip(levels, 0.05, 0.95), 400)})
        (verdict,) = verdicts(p)
        method = p.cells["method"].iloc[list(verdict.ranked)].tolist()
        assert all(p.cells["method"].iat[pair.second] != method[0] for pair in verdict.pairs)
        assert verdict.family == K * K
        other += verdict.decided
    assert other > 25
    said = cell_conclusion(p, verdict)
    assert "better than each of the 4 others of other methods" in said
    assert "its 3 other calibration seeds not ranked" in said
    only = compare(p, list(A), "sr2", rate=Fraction(3, 4))
    assert only.pairs == ()
    assert "there is nothing to compare" in cell_conclusion(p, only)
