"""Prefetch from a loopback hub, stop it, and run the unmodified tasks without any network."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.hub import serving, standins
from tests.hub.conftest import Isorate

LEAVES = "arc_easy,bbh_cot_fewshot_navigate,mmlu_pro_math,minerva_math_algebra,ptb_ppl2048"
WORDS = (
    "name=offline",
    "model=custom",
    "model.id=tiny/llama",
    "model.group_size=32",
    "calibration=c4",
    "calibration.data_files=en/train-00000-of-00001.parquet",
    "calibration.samples=4",
    "calibration.length=32",
    "quant.bits=4",
    "tasks.path=null",
    "tasks.limit=2",
    "tasks.max_gen_toks=8",
    "tracking.enabled=false",
    "hydra.launcher.workers=1",
)


def test_prefetch_then_run_without_the_hub(root: Path, tmp_path: Path, isorate: Isorate) -> None:
    words = (*WORDS, f"tasks.names=[{LEAVES}]")
    with serving.served(root, tmp_path / "log") as hub:
        env = hub.environment(tmp_path / "hf")
        fetched = isorate("prefetch", *words, "output=json", env=env)
    assert re.search(r"to fetch: model tiny/llama, [\d.]+ [kM]B", fetched.stderr)
    assert re.search(r"together about [\d.]+ [kM]B", fetched.stderr)
    assert "[1/1] model tiny/llama" in fetched.stderr
    record = json.loads(fetched.stdout)
    assert list(record["models"]) == ["tiny/llama@main"]
    assert list(record["data"]) == ["allenai/c4@main"]
    assert set(record["tasks"]) == set(LEAVES.split(","))
    assert len(record["tasks"]["ptb_ppl2048"]["ptb-text-only/ptb_text_only"]) == 40
    assert json.loads(Path(record["record"]).read_text())["tasks"] == record["tasks"]
    isorate("run", *words, env=env)  # the hub is gone
    results = [
        json.loads(path.read_text())
        for path in (tmp_path / "home/store/evaluate").glob("*/result.json")
    ]
    assert {result["task"]: result["data_revisions"] for result in results} == record["tasks"]
    assert all(result["version"] is not None and result["task_hash"] for result in results)
    # What the sweep did not prefetch is refused before anything starts.
    more = (*WORDS, "tasks.names=[arc_easy,piqa]")
    refused = isorate("run", *more, env=env, status=2)
    assert "tasks.names=piqa: its data set baber/piqa is not on this machine" in refused.stderr
    assert "isorate prefetch" in refused.stderr


def test_a_data_set_that_moved_stays_pinned(tmp_path: Path, isorate: Isorate) -> None:
    words = (
        "name=moved",
        "quant.bits=16",
        "tasks.path=null",
        "tasks.names=[ptb_ppl2048]",
    )
    first, second = (standins.build(tmp_path / name) for name in ("first", "second"))
    (second / "ptb-text-only/ptb_text_only/NEWS.md").write_text("moved\n")
    records = []
    for root, more in ((first, ()), (second, ()), (second, ("refresh=true",))):
        with serving.served(root, tmp_path / "log") as hub:
            env = hub.environment(tmp_path / "hf")
            done = isorate("prefetch", *words, *more, "output=json", env=env)
        records.append((json.loads(done.stdout)["tasks"], "has moved on the hub" in done.stderr))
    (pinned, told), (kept, told_again), (fresh, told_last) = records
    assert (told, told_again, told_last) == (False, True, False)
    assert kept == pinned
    assert fresh != pinned


def test_what_the_hub_does_not_have_is_said(root: Path, tmp_path: Path, isorate: Isorate) -> None:
    with serving.served(root, tmp_path / "log") as hub:
        env = hub.environment(tmp_path / "hf")
        words = ("quant.bits=16", "tasks=none", "model=custom", "model.id=no/such")
        refused = isorate("prefetch", *words, env=env, status=2)
    assert "model.id=no/such: the hub has nothing of that name" in refused.stderr
    refused = isorate("prefetch", *words, env=env, status=2)
    assert "the hub cannot be reached" in refused.stderr
