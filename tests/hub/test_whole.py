"""`tests.hub.whole` with a tiny model: a kill in the middle, a report, lm-eval's own numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny
from tests.hub import whole
from tests.hub.conftest import CONTEXT, long_context

NAMES = "arc_easy,piqa,bbh_cot_fewshot_navigate,mmlu_pro_math,minerva_math_algebra,ptb_ppl2048"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_resumed_reported_and_equal_to_lm_eval(tmp_path: Path) -> None:
    model = long_context(tiny.make(tmp_path / "dense"))
    words = (
        "model=custom",
        f"model.id={model}",
        "model.group_size=32",
        "calibration.samples=4",
        "calibration.length=32",
        "tasks=none",
        f"tasks.names=[{NAMES}]",
        "tasks.limit=2",
        "tasks.dtype=float32",
    )
    run = whole.Whole(tmp_path / "whole", words)
    run.prefetch()
    before = run.run_and_kill(after=4)
    assert 4 <= before < 18
    page = run.resume()
    results = [result for _, result in run.results()]
    assert len(results) == 18
    assert all(task in page for task in NAMES.split(","))
    ours = run.dense()
    asked = {t: rows["doc_id"].tolist() for t, (_, rows) in ours.items() if "ppl" not in t}
    rows = whole.differences(ours, run.peer(model, "float32", asked))
    assert {row["task"] for row in rows} == set(asked)
    assert all(whole.by_rounding(row, CONTEXT) for row in rows), rows
