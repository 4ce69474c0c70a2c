"""What counts, what is a gap, and that no gap ever turns into a number."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.summary import retention_table, summarise
from analysis.data.panel import Panel, panels


def only(results) -> Panel:
    (panel,) = panels(results)
    return panel


def row_of(panel: Panel, label: str) -> int:
    return list(panel.cells["label"]).index(label)


def where(frame: pd.DataFrame, cell: str, task: str) -> pd.Series:
    return frame["cell"].str.endswith(f"/{cell}") & (frame["task"] == task)


def changed(cell: str, task: str, **values):
    def change(scores: pd.DataFrame) -> pd.DataFrame:
        scores = scores.copy()
        for column, value in values.items():
            scores.loc[where(scores, cell, task), column] = value
        return scores

    return change


def assert_gap(panel: Panel, label: str, task: str, why: str) -> None:
    row, column = row_of(panel, label), panel.tasks.index(task)
    assert why in panel.gap[row, column]
    assert np.isnan(panel.retentions().value[row, column])
    assert np.isnan(panel.sr1().value[row])
    assert why in panel.why_no_sr(row)


def test_the_dense_cell_is_exactly_one(make) -> None:
    table = summarise(panels(make()))
    dense = table[table["kind"] == "dense"].iloc[0]
    assert (dense["sr1"], dense["sr1_stderr"]) == (1, 0)
    assert (dense["sr2"], dense["sr2_stderr"]) == (1, 0)
    each = retention_table(panels(make()))
    each = each[each["label"] == "dense"]
    assert (each["retention"] == 1).all()
    assert (each["retention_stderr"] == 0).all()


def test_a_score_that_was_given_up_is_compared_with_none(make) -> None:
    panel = only(make(scores=changed("3bit", "topics", stopped=True, n=64, collapsed=True)))
    assert_gap(panel, "3bit", "topics", "collapsed: given up after 64 documents")
    assert np.isnan(panel.value[row_of(panel, "3bit"), panel.tasks.index("topics")])
    assert panel.shown[row_of(panel, "3bit"), panel.tasks.index("topics")] == 88
    baseline = only(make(scores=changed("dense", "topics", stopped=True)))
    assert np.isnan(baseline.dense.value[baseline.tasks.index("topics")])


@pytest.mark.parametrize(
    ("column", "word"), [("backend", "backend vllm against"), ("dtype", "precision vllm against")]
)
def test_two_backends_or_precisions_never_meet_in_one_ratio(make, column, word) -> None:
    def change(scores: pd.DataFrame) -> pd.DataFrame:
        return changed("3bit", "topics", **{column: "vllm"})(scores.assign(**{column: "hf"}))

    assert_gap(only(make(scores=change)), "3bit", "topics", word)
    unknown = only(make(scores=changed("3bit", "topics", **{column: "vllm"})))
    assert unknown.gap[row_of(unknown, "3bit"), unknown.tasks.index("topics")] == ""


def test_perplexity_never_enters_sr2(make) -> None:
    one, other = make(), make(scores=changed("3bit", "topics", value=1e9, stderr=1e6))
    row = row_of(only(one), "3bit")
    assert only(one).sr2().value[row] == only(other).sr2().value[row]
    assert only(one).sr1().value[row] > only(other).sr1().value[row]
    hand = (0.31 + 0.40 + 0.66) / (0.62 + 0.71 + 0.83)
    assert only(one).sr2().value[row] == pytest.approx(hand)


def test_published_scores_give_the_papers_numbers(published) -> None:
    table = summarise(panels(published)).set_index(["model", "label"])
    llama = table.loc[("LLaMA-3.1-8B", "25% + 4bit")]
    assert llama["sr2"] == pytest.approx(0.818024, abs=5e-7)
    assert llama["srcr_j"] == pytest.approx(0.204506, abs=5e-7)
    assert llama["srcr_estimate"] == pytest.approx(0.173990, abs=5e-7)
    assert len(table) == 48


def test_three_srcr_columns_never_mix(published) -> None:
    table = summarise(panels(published))
    for column, kind in {
        "srcr_p": "pruning",
        "srcr_q": "quantization",
        "srcr_j": "joint",
        "srcr_estimate": "joint",
    }.items():
        assert set(table.loc[table[column].notna(), "kind"]) == {kind}


def test_a_missing_task_is_a_gap_and_not_another_mean(make) -> None:
    panel = only(make(scores=lambda s: s[~where(s, "4bit", "facts")]))
    assert_gap(panel, "4bit", "facts", "not scored")
    assert np.isnan(panel.sr2().value[row_of(panel, "4bit")])
    assert np.isfinite(panel.sr2().value[row_of(panel, "3bit")])


def test_a_nan_score_is_a_gap(make) -> None:
    panel = only(make(scores=changed("4bit", "facts", value=np.nan)))
    assert_gap(panel, "4bit", "facts", "not a finite number")


def test_task_versions_never_meet_in_a_ratio(make) -> None:
    panel = only(make(scores=changed("4bit", "facts", version="2")))
    assert_gap(panel, "4bit", "facts", "task version 2 against the baseline's 1")


def test_metrics_never_meet_in_a_ratio(make) -> None:
    panel = only(make(scores=changed("4bit", "facts", metric="acc_norm")))
    assert_gap(panel, "4bit", "facts", "metric acc_norm against the baseline's acc")


def test_a_zero_baseline_leaves_sr1_undefined_and_sr2_alone(make) -> None:
    panel = only(make(scores=changed("dense", "facts", value=0.0)))
    assert_gap(panel, "4bit", "facts", "the baseline is 0")


def test_no_dense_baseline_is_said(make) -> None:
    panel = only(make(cells=lambda c: c[c["label"] != "dense"]))
    assert set(panel.gap.ravel()) == {"no dense baseline"}
    assert np.isnan(panel.sr2().value).all()
    assert panel.why_no_sr(0) == "no dense baseline"


def test_a_task_that_the_baseline_lacks_counts_nowhere(make) -> None:
    panel = only(make(scores=lambda s: s[~where(s, "dense", "facts")]))
    column = panel.tasks.index("facts")
    assert np.isnan(panel.retentions().value[:, column]).all()
    hand = (0.55 + 0.80) / (0.62 + 0.83)
    assert panel.sr2().value[row_of(panel, "4bit")] == pytest.approx(hand)


def test_a_failed_cell_has_its_reason_and_no_numbers(make) -> None:
    def fail(cells: pd.DataFrame) -> pd.DataFrame:
        failed = cells["label"] == "4bit"
        return cells.assign(
            status=np.where(failed, "failed", "done"),
            reason=np.where(failed, "the Hessian of layer 3 is singular", ""),
        )

    assert_gap(only(make(cells=fail)), "4bit", "facts", "failed: the Hessian of layer 3")


def test_zero_of_n_is_not_certain(make) -> None:
    panel = only(make())
    row, column = row_of(panel, "2bit"), panel.tasks.index("arithmetic")
    assert panel.value[row, column] == 0
    assert panel.stderr[row, column] == pytest.approx(0.0045468, rel=1e-4)


@pytest.mark.parametrize(("value", "flagged"), [(0.29, True), (0.10, True), (0.40, False)])
def test_a_baseline_at_chance_is_flagged(make, value: float, flagged: bool) -> None:
    panel = only(make(scores=changed("dense", "arithmetic", value=value, stderr=0.026)))
    said = panel.chance[panel.tasks.index("arithmetic")]
    assert ("at chance (0.25)" in said) == flagged


def test_two_device_types_are_marked(make) -> None:
    on_gpu = lambda c: c.assign(device=np.where(c["label"] == "4bit", "cuda", "cpu"))  # noqa: E731
    table = summarise(panels(make(cells=on_gpu))).set_index("label")
    assert table.loc["4bit", "remark"] == "scored on cuda, the baseline on cpu"
    assert table.loc["3bit", "remark"] == ""


def test_sizes_and_whole_model_rate(make) -> None:
    table = summarise(panels(make())).set_index("label")
    assert table.loc["4bit", "size"] == pytest.approx(124 / 269)
    assert table.loc["4bit", "whole_tcr"] == pytest.approx(0.75 * 106 / 134.5)
    ignored = table.loc["25% + 4bit (mask ignored)"]
    assert ignored["tcr"] == 0.8125
    assert ignored["achieved_tcr"] == pytest.approx(1 - 0.25 * 0.981)


def test_the_achieved_rate_is_that_of_the_files_where_bits_were_allocated(make) -> None:
    """A label of 3 bit whose matrices have 2.95 in the mean."""
    given = lambda c: c.assign(achieved_tcr=np.where(c["label"] == "3bit", 0.815625, np.nan))  # noqa: E731
    table = summarise(panels(make(cells=given))).set_index("label")
    assert table.loc["3bit", "achieved_tcr"] == 0.815625
    assert table.loc["4bit", "achieved_tcr"] == 0.75


def test_an_ambiguous_partner_gives_no_estimate(make) -> None:
    def twin(cells: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([cells, cells[cells["label"] == "4bit"].assign(cell="twin")])

    table = summarise(panels(make(cells=twin))).set_index("label")
    assert np.isnan(table.loc["25% + 4bit", "srcr_estimate"])


def test_a_joint_cell_is_estimated_from_cells_that_are_spread_like_it(make) -> None:
    def allocated(table: pd.DataFrame, name: str, **changes: str) -> pd.DataFrame:
        mine = table[table["cell"].str.endswith(f"/{name}")]
        return mine.assign(cell=mine["cell"] + " (allocated)", **changes)

    def cells(table: pd.DataFrame, single: bool = True) -> pd.DataFrame:
        bits = allocated(table, "4bit", label="4bit (allocated)", quant_profile="allocated")
        joint = allocated(table, "25% + 4bit", label="both", quant_profile="allocated")
        return pd.concat([table, joint, *([bits] if single else [])])

    def scores(table: pd.DataFrame) -> pd.DataFrame:
        rows = allocated(table, "4bit"), allocated(table, "25% + 4bit")
        return pd.concat([table, rows[0].assign(value=0.9 * rows[0]["value"]), rows[1]])

    plain = summarise(panels(make())).set_index("label")["srcr_estimate"]
    found = summarise(panels(make(cells=cells, scores=scores))).set_index("label")["srcr_estimate"]
    assert found["25% + 4bit"] == plain["25% + 4bit"], "the allocated cell is no namesake"
    assert found["both"] == pytest.approx(0.9 * plain["25% + 4bit"])
    alone = summarise(panels(make(cells=lambda c: cells(c, single=False), scores=scores)))
    assert np.isnan(alone.set_index("label").loc["both", "srcr_estimate"])


def test_several_models_keep_to_their_own_baseline(published) -> None:
    first, second = panels(published)
    assert (first.model, second.model) == ("LLaMA-3.1-8B", "Mistral-7B-v0.3")
    assert first.dense.value.sum() == pytest.approx(1.154)
    assert second.dense.value.sum() == pytest.approx(1.011)


def test_nothing_at_all_is_no_error(make) -> None:
    empty = make(cells=lambda c: c.head(0))
    assert panels(empty) == []
    assert summarise([]).empty
