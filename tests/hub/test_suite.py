"""A whole suite of the literature with a tiny model: fetched, offline, equal to lm-eval."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from tests import tiny
from tests.hub import standins, whole
from tests.hub.conftest import CONTEXT, long_context

SUITE = (
    "piqa",
    "boolq",
    "mmlu",
    "hellaswag",
    "arc_easy",
    "arc_challenge",
    "winogrande",
    "wikitext",
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_jsq2024_runs_offline_and_equals_lm_eval(tmp_path: Path) -> None:
    model = long_context(tiny.make(tmp_path / "dense"))
    words = (
        "name=suite",
        "model=custom",
        f"model.id={model}",
        "tasks=jsq2024",
        "tasks.limit=2",
        "tasks.dtype=float32",
        "quant.bits=16",
        "tracking.enabled=false",
        "checkpoints=keep",
        "hydra.launcher.workers=1",
    )
    run = whole.Whole(tmp_path / "whole", experiment=words)
    run.prefetch()
    run.resume()
    ours = run.dense()
    subtasks = {f"mmlu_{subject}" for subject in standins.subjects()}
    assert set(ours) == {*SUITE, *subtasks, "wikitext_ppl2048"} - {"mmlu"}
    asked = {t: rows["doc_id"].tolist() for t, (_, rows) in ours.items() if "ppl2048" not in t}
    peer = run.peer(model, "float32", asked, SUITE)
    rows = whole.differences(ours, peer)
    assert {row["task"] for row in rows} == set(asked)
    assert all(whole.by_rounding(row, CONTEXT) for row in rows), rows
    (table,) = run.home.glob("sweeps/*/report/data/retention.csv")
    shown = pandas.read_csv(table).set_index("task")
    assert set(shown.index) == {*SUITE, "wikitext_ppl2048"}
    mmlu, group = shown.loc["mmlu"], peer["results"]["mmlu"]
    assert mmlu["value"] == pytest.approx(group["acc,none"], rel=1e-12)
    assert mmlu["stderr"] == pytest.approx(group["acc_stderr,none"], rel=1e-12)
