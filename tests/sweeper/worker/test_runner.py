"""One stage at a time: inputs are made sure of, and only a cell's own fault is kept."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import BadInput, IsorateError, StageFailure
from sweeper.store.store import Store
from sweeper.worker.runner import Bench, find_stage, run_stage
from tests.stubs.stages import spec

BENCH = Bench(find=partial(find_stage, package="tests.stubs.stages"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "journal")


def runs(journal: str) -> list[str]:
    return sorted(p.name.split(".")[0] for p in Path(journal).iterdir())


def chain(journal: str, **prune: Any) -> tuple[dict[str, Any], ...]:
    prune_ = spec(name="prune", journal=journal, **prune)
    quantize = spec(name="quantize", journal=journal, parents={"model": prune_})
    score = spec("score", name="score", journal=journal, parents={"model": quantize})
    return prune_, quantize, score


def test_a_stage_brings_its_parents_and_runs_once(store: Store, journal: str) -> None:
    *_, score = stages = chain(journal)
    for _ in range(2):
        run_stage(score, store, BENCH)
    assert runs(journal) == ["prune", "quantize", "score"]
    assert all(store.present(s, bulk=True, full=True) for s in stages)
    manifest = store.manifest(score)
    assert manifest is not None
    assert manifest["peak_rss_bytes"] > 1e6
    assert manifest["versions"]["python"]
    assert manifest["parents"] == {"model": stages[1]["key"]}
    assert not os.listdir(store.tmp)
    assert not os.listdir(store.root / "scratch")


def test_a_dropped_parent_is_built_again_for_a_later_reader(store: Store, journal: str) -> None:
    prune, quantize, score = chain(journal)
    run_stage(score, store, BENCH)
    store.drop_bulk(prune)
    store.drop_bulk(quantize)
    run_stage(score, store, BENCH)
    assert len(runs(journal)) == 3, "the score is there: nobody needs the checkpoint"
    run_stage(spec("score", name="other", parents={"model": quantize}), store, BENCH)
    assert runs(journal) == ["prune", "prune", "quantize", "quantize", "score"]
    assert store.present(quantize, bulk=True, full=True)
    assert not list(store.root.rglob("rebuild-*"))


def test_a_rebuild_with_other_bytes_is_flagged(store: Store, journal: str) -> None:
    prune, quantize, _ = chain(journal, unsteady=True)
    run_stage(quantize, store, BENCH)
    store.drop_bulk(prune)
    run_stage(prune, store, BENCH, bulk=True)
    assert len(list(store.path(prune).glob("rebuild-*"))) == 1


def test_a_damaged_parent_is_noticed_by_its_reader_and_rebuilt(
    store: Store, journal: str, caplog: pytest.LogCaptureFixture
) -> None:
    prune, quantize, _ = chain(journal)
    run_stage(prune, store, BENCH)
    weights = store.path(prune) / "checkpoint" / "weights.bin"
    sound = weights.read_bytes()
    weights.write_bytes(b"X" + sound[1:])
    run_stage(quantize, Store(store.home), BENCH)
    assert weights.read_bytes() == sound
    assert "damaged output" in caplog.text
    assert "weights.bin has changed" in caplog.text
    assert runs(journal) == ["prune", "prune", "quantize"]


def test_the_cells_own_fault_is_kept_and_not_tried_again(store: Store, journal: str) -> None:
    prune, quantize, score = chain(journal, do="fail")
    for _ in range(2):
        with pytest.raises(StageFailure, match="raise dampening"):
            run_stage(prune, store, BENCH)
    failure = store.failure(prune)
    assert failure is not None
    assert failure["error"] == "StageFailure"
    assert "make.py" in failure["traceback"]
    assert runs(journal) == ["prune"]
    with pytest.raises(IsorateError, match="its make stage failed"):
        run_stage(score, store, BENCH)
    assert store.failure(score) is None
    assert store.failure(quantize) is None
    store.clear_failure(prune)
    with pytest.raises(StageFailure):
        run_stage(prune, store, BENCH)
    assert runs(journal) == ["prune", "prune"]


@pytest.mark.parametrize(("do", "error"), [("full", OSError), ("memory", MemoryError)])
def test_what_is_no_fault_of_the_cell_ends_the_attempt_only(
    store: Store, tmp_path: Path, do: str, error: type[Exception]
) -> None:
    stage = spec(name="a", do=do, once=str(tmp_path / "once"))
    with pytest.raises(error):
        run_stage(stage, store, BENCH)
    assert store.failure(stage) is None
    assert not store.is_done(stage)
    assert not os.listdir(store.tmp)
    run_stage(stage, store, BENCH)
    assert store.is_done(stage)


def test_scratch_outlives_an_attempt_but_not_the_commit(store: Store) -> None:
    stage = spec(name="a", do="scratch")
    block = store.scratch(stage) / "block.json"
    block.write_text("[]")
    run_stage(stage, store, BENCH)
    assert not block.exists()


def test_sources(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.txt"
    text.touch()
    seen: dict[str, Any] = {}

    def look(job: Any) -> dict[str, Any]:
        seen.update(job.sources)
        return {}

    def download(model: str, *, revision: str | None, ignore_patterns: list[str]) -> str:
        seen["asked"] = (model, revision)
        return str(tmp_path)

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    bench = Bench(find=lambda _: look)
    model = {"id": "org/model", "revision": "abc"}
    where = {"model": "org/model", "calibration": str(text)}
    run_stage(spec(name="a", model=model, sources=where), store, bench)
    assert seen == {"asked": ("org/model", "abc"), "model": tmp_path, "calibration": text}
    with pytest.raises(BadInput, match="no such file"):
        run_stage(spec(name="b", sources={"calibration": "/gone"}), store, bench)
