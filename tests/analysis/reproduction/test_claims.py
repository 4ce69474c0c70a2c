"""Claims: the recomputed values, their errors and verdicts; under known truths too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.comparison.summary import summarise
from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.output import render
from analysis.published.reference import laborde2025
from analysis.reproduction.claim import Claim, Found, better, sr_of
from analysis.reproduction.claim_verdicts import _tails, alone, answer, averaged
from analysis.reproduction.laborde_claims import claims_table, rows
from analysis.reproduction.laborde_tables import config, find
from analysis.statistics.delta_method import propagate


@pytest.fixture(scope="module")
def llama():
    return panels(laborde2025())[0]


@pytest.fixture(scope="module")
def told():
    return {(r.key, r.model, r.definition): r for r in rows(panels(laborde2025()))}


LLAMA, MISTRAL = "LLaMA-3.1-8B", "Mistral-7B-v0.3"


# --- the delta method ---


def test_the_error_of_sr2_is_the_closed_form(llama) -> None:
    row = find(llama, config("25% + 4bit"))
    value, stderr = sr_of(llama, ("25% + 4bit",), "sr2", lambda a: a)
    assert value == pytest.approx(llama.sr2().value[row])
    assert stderr == pytest.approx(llama.sr2().stderr[row], rel=1e-6)


def test_the_error_of_sr1_is_the_closed_form(llama) -> None:
    row = find(llama, config("3bit"))
    value, stderr = sr_of(llama, ("3bit",), "sr1", lambda a: a)
    assert (value, stderr) == pytest.approx((llama.sr1().value[row], llama.sr1().stderr[row]))


def test_a_cell_against_itself_is_nought_and_certain(llama) -> None:
    assert sr_of(llama, ("dense",), "sr2", lambda a: a - 1) == pytest.approx((0, 0), abs=1e-9)


def test_the_estimate_counts_the_baseline_twice(llama) -> None:
    """SrCr_p SrCr_q has the error that `summary` gives it in closed form."""
    table = summarise([llama])
    row = find(llama, config("25% + 4bit"))
    value, stderr = sr_of(llama, ("25%", "4bit"), "sr2", lambda p, q: p * q * 0.25)
    assert value == pytest.approx(table["srcr_estimate"].iat[row])
    assert stderr == pytest.approx(table["srcr_estimate_stderr"].iat[row], rel=1e-5)


def test_errors_agree_with_simulation(llama) -> None:
    """The difference of two Sr1: redraw every score, the baseline once for both cells."""
    names = [find(llama, config(n)) for n in ("dense", "25% + 4bit", "3bit")]
    draw = np.random.default_rng(1).normal(
        llama.value[names], llama.stderr[names], size=(40_000, 3, 3)
    )
    simulated = (draw[:, 1] / draw[:, 0] - draw[:, 2] / draw[:, 0]).mean(axis=1).std()
    _, stderr = sr_of(llama, ("25% + 4bit", "3bit"), "sr1", lambda a, b: a - b)
    assert stderr == pytest.approx(simulated, rel=0.03)


def test_a_score_that_lacks_gives_no_number(make) -> None:
    without = make(
        scores=lambda s: s[~((s["cell"].str.endswith("/3bit")) & (s["task"] == "facts"))]
    )
    panel = panels(without)[0]
    row = list(panel.cells["label"]).index("3bit")
    assert math.isnan(propagate(panel, [panel.baseline, row], lambda s: float(s[1].sum()))[0])


# --- verdicts ---


def test_inside_a_range_needs_both_bounds() -> None:
    assert _tails(Found(0.2, 0.01, 0.15, 0.25))[0] < 1e-6  # holds
    assert _tails(Found(0.4, 0.01, 0.15, 0.25))[1] < 1e-6  # fails
    near = _tails(Found(0.24, 0.02, 0.15, 0.25))
    assert min(near) > 0.3


def test_a_claim_about_all_is_refuted_with_correction_only() -> None:
    one, many = (_tails(Found(-0.3, 0.1, cases=n)) for n in (1, 23))
    assert many[1] == pytest.approx(23 * one[1])
    assert many[0] == one[0]


def test_certain_values_are_decided() -> None:
    claim = Claim(key="k", where="", claim="", reading="", test=better("8bit", "dense"))
    assert alone(claim, "m", "Sr2", Found(0.0, 0.0)).verdict == "fails"
    assert alone(claim, "m", "Sr2", Found(0.1, 0.0)).verdict == "holds"
    assert alone(claim, "m", "Sr2", Found(0.1, math.nan)).verdict == "undecided"


def test_the_headline_is_points_and_not_relative(told) -> None:
    """0.2175 and 0.1761: 0.1968 on average; relative it is 36 % and 24 %."""
    assert told["gain-points", LLAMA, "Sr2"].value == pytest.approx((94.4 - 69.3) / 115.4)
    assert told["gain-points", MISTRAL, "Sr2"].value == pytest.approx((90.5 - 72.7) / 101.1)
    mean = told["gain-points-mean", "mean of models", "Sr2"]
    assert (round(mean.value, 3), mean.verdict) == (0.197, "holds")
    assert told["gain-relative-mean", "mean of models", "Sr2"].verdict == "fails"
    assert told["gain-relative", LLAMA, "Sr2"].value == pytest.approx(94.4 / 69.3 - 1)


def test_the_optimum_does_not_survive_for_both_models(told) -> None:
    assert told["optimum", LLAMA, "Sr2"].verdict == "holds"
    other = told["optimum", MISTRAL, "Sr2"]
    assert other.verdict == "undecided"
    assert other.value < 0
    assert "33.333% + 3bit 0.226" in other.note


def test_gptq_differs_from_nf4_on_llama(told) -> None:
    row = told["alike-4bit", LLAMA, "Sr2"]
    assert row.verdict == "fails"
    assert row.value == pytest.approx((85.5 - 105.8) / 115.4)
    assert told["alike-8bit", LLAMA, "Sr2"].verdict == "holds"


def test_what_all_tables_decide(told) -> None:
    for key in ("joint-75", "joint-81", "joint-87", "quant-50", "quant-75", "graceful", "srcr-p"):
        for model in (LLAMA, MISTRAL):
            for definition in ("Sr2", "Sr1"):
                assert told[key, model, definition].verdict == "holds", (key, model, definition)
    assert told["three-bit", LLAMA, "Sr2"].verdict == "fails"
    assert told["three-bit", MISTRAL, "Sr2"].verdict == "holds"
    assert told["math", LLAMA, "–"].note == "in 20 of 23 cells"


def test_claims_about_one_model_are_asked_of_that_model(told) -> None:
    assert ("estimate-close", LLAMA, "Sr2") not in told
    assert ("estimate-low", MISTRAL, "Sr2") not in told


def test_the_same_claims_run_on_a_measured_sweep(make) -> None:
    found = {(r.key, r.definition): r for r in rows(panels(make()))}
    gain = found["joint-81", "Sr2"]
    assert gain.value == pytest.approx((0.53 + 0.64 + 0.79 - 0.31 - 0.40 - 0.66) / 2.16)
    assert found["alike-4bit", "Sr2"].verdict == "not tested"
    assert found["alike-4bit", "Sr2"].note == "no cell NF4"
    assert found["math", "–"].note == "no task MATH"
    assert found["estimate-low", "Sr2"].verdict in ("holds", "fails", "undecided")


def test_without_a_baseline_nothing_is_tested(make) -> None:
    found = rows(panels(make(cells=lambda cells: cells[cells["label"] != "dense"])))
    assert {r.verdict for r in found} == {"not tested"}


def test_the_family_pays_for_its_size(llama) -> None:
    claim = Claim(key="k", where="", claim="", reading="", test=better("25% + 4bit", "3bit"))
    weak = Claim(key="w", where="", claim="", reading="", test=better("25% + NF4", "25% + 4bit"))
    lone = answer([weak], [llama], ["sr2"])[0]
    crowd = answer([weak, *[claim] * 9], [llama], ["sr2"])[0]
    assert crowd.p >= lone.p


def test_an_average_needs_two_models(told, llama) -> None:
    claim = Claim(key="mean", where="", claim="", reading="", test=better("8bit", "dense"))
    one = [r for r in told.values() if r.model == LLAMA]
    assert averaged(one, "gain-points", claim, lambda v, s: Found(v, s)) == []


def test_a_shift_of_all_scores_moves_the_verdict() -> None:
    """With the joint cell as bad as 3 bit the headline fails: the test can say no."""
    full = laborde2025()
    same = full.scores["cell"].str.endswith("/25% + 4bit")
    three = full.scores.set_index(["cell", "task"])["value"]
    value = [
        three[(c.replace("25% + 4bit", "3bit"), t)]
        for c, t in full.scores[["cell", "task"]].itertuples(index=False)
    ]
    scores = full.scores.assign(value=np.where(same, value, full.scores["value"]))
    found = rows(panels(Results(cells=full.cells, scores=scores)))
    verdicts = {(r.key, r.model, r.definition): r.verdict for r in found}
    assert verdicts["joint-81", LLAMA, "Sr2"] == "undecided"
    assert verdicts["gain-points", LLAMA, "Sr2"] == "fails"


def test_the_table_has_both_definitions_in_a_row(told) -> None:
    table = claims_table(panels(laborde2025()))
    assert len(table.rows) == len({(key, model) for key, model, _ in told})
    row = table.rows[(table.rows["key"] == "optimum") & (table.rows["model"] == MISTRAL)].iloc[0]
    assert row["sr2"] == told["optimum", MISTRAL, "Sr2"].value
    assert row["sr1_stderr"] == told["optimum", MISTRAL, "Sr1"].stderr
    assert "Holm" in table.notes[0]
    assert "-0.002 ± 0.003" in render.to_markdown(table).replace("\\", "")
