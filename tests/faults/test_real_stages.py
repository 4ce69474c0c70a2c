"""Real stages on a tiny model, killed at random moments: the outputs are those of a calm run.

The workers are forked from a process that has imported everything, so that a kill costs the
work and not ten seconds of imports.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas
import pytest

from sweeper.planning import builder
from sweeper.planning.sweep import nested, plan_json
from sweeper.results.outcomes import DOCUMENTS
from sweeper.store.store import Spec, Store
from sweeper.worker.runner import Bench, find_stage, run_stage
from tests import tiny
from tests.composing import composed
from tests.faults import tally
from tests.faults.whole import finished

KILLS = int(os.environ.get("ISORATE_FAULT_KILLS", "12"))
GRID = {"prune.sparsity": "0,50", "quant.bits": "16,4"}
TIMES = ("seconds", "_s", "rss", "memory", "started", "date")

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Spec]:
    """Four cells and one task: pruned by SparseGPT, quantized by GPTQ, measured, scored."""
    root = tmp_path_factory.mktemp("real")
    model, text = tiny.make(root / "model"), tiny.text(root / "text.txt")
    words = {
        "model": "custom",
        "model.id": str(model),
        "model.name": "tiny",
        "model.group_size": 32,
        "calibration.path": str(text),
        "calibration.samples": 4,
        "calibration.length": 64,
        "tasks.names": "[demo_agreement]",
        "tasks.limit": 24,
        "tasks.block": 8,
        **GRID,
    }
    with composed([]) as (config, loader):
        plan = builder.plan(config, loader, [f"{key}={value}" for key, value in words.items()])
    for kind in {stage.kind for stage in plan.stages.values()}:
        find_stage(kind)
    return list(nested(plan_json(plan)["stages"]).values())


def begin(stages: Sequence[Spec], home: Path) -> BaseProcess:
    """A worker that carries out what is missing, and ends with 0."""
    process = multiprocessing.get_context("fork").Process(target=_work, args=(stages, home))
    process.start()
    return process


def _work(stages: Sequence[Spec], home: Path) -> None:
    with open(os.devnull, "w") as quiet:
        os.dup2(quiet.fileno(), 1)
        os.dup2(quiet.fileno(), 2)
    for stage in stages:
        run_stage(stage, Store(home), Bench())


def outputs(stages: Sequence[Spec], home: Path) -> dict[str, Any]:
    """Hash of every file of every stage, and what its result says but for times."""
    store, found = Store(home), {}
    for stage in stages:
        store.verify(stage, full=True)
        manifest, result = store.manifest(stage), store.result(stage)
        assert manifest is not None
        timed = ("result.json", DOCUMENTS)
        hashes = {k: v["sha256"] for k, v in manifest["files"].items() if k not in timed}
        found[stage["key"]] = hashes, json.dumps(_timeless(result), sort_keys=True)
        if DOCUMENTS in manifest["files"]:
            table = pandas.read_parquet(store.path(stage) / DOCUMENTS)
            found[stage["key"]] += (table.drop(columns="seconds").to_json(double_precision=15),)
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not any(word in k for word in TIMES)}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def test_real_stages_killed_at_random_moments(stages: list[Spec], tmp_path: Path) -> None:
    began = time.monotonic()
    calm = begin(stages, tmp_path / "calm")
    calm.join()
    assert calm.exitcode == 0
    lasts = time.monotonic() - began
    wanted = outputs(stages, tmp_path / "calm")
    rng, kills, rounds = random.Random(2505), 0, 0
    while kills < KILLS:
        home = tmp_path / f"home{rounds}"
        there = finished(home)
        rounds += 1
        while (worker := begin(stages, home)).exitcode is None:
            worker.join(rng.uniform(0.02, 0.4) * lasts if kills < KILLS else None)
            if worker.exitcode is None:
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
                kills += 1
                before, there = there, finished(home)
                assert before.items() <= there.items(), "finished work was lost or done again"
            else:
                break
        assert worker.exitcode == 0
        assert there.items() <= finished(home).items()
        assert outputs(stages, home) == wanted
        Store(home).gc(older_than_s=-1.0)
        assert not list(Store(home).tmp.iterdir())
        assert not list((home / "store" / "scratch").iterdir())
        assert not list((home / "store").rglob("*damaged*"))
    tally.survived("kill -9 of real stages (a tiny model)", kills)
