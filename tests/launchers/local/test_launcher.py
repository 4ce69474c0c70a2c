"""The local launcher on stub stages: every stage once, and nothing that ends it goes unsaid."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from launchers.local import devices, pool
from launchers.local.launcher import LocalLauncher
from sweeper.errors import BadInput
from sweeper.store.store import Store
from tests.launchers.conftest import Diary
from tests.stubs.stages import spec


def tree(journal: Path, **extra: Any) -> list[dict[str, Any]]:
    """Two pruned checkpoints, two quantizations of each, two scores of each of these."""
    j = str(journal)
    prunes = [spec(name=f"p{n}", journal=j, estimate_s=4, **extra) for n in range(2)]
    quants = [
        spec(name=f"{p['params']['name']}q{n}", journal=j, parents={"model": p}, estimate_s=2)
        for p in prunes
        for n in range(2)
    ]
    scores = [
        spec("score", name=f"{q['params']['name']}s{n}", journal=j, parents={"model": q})
        for q in quants
        for n in range(2)
    ]
    return [*scores, *quants, *prunes]


def names(stages: list[dict[str, Any]]) -> list[str]:
    return sorted(s["params"]["name"] for s in stages)


def test_every_stage_runs_once_and_a_second_run_has_nothing_to_do(rig: Any) -> None:
    stages = tree(rig.journal)
    outcome = rig.run(stages)
    assert outcome.ok
    assert set(outcome.stages) == {s["key"] for s in stages}
    assert rig.runs() == names(stages)
    assert all(rig.store.present(s, bulk=True, full=True) for s in stages)
    assert rig.diary.closed == 1
    assert not rig.leftovers()
    assert rig.run(stages).ok
    assert rig.runs() == names(stages)
    assert rig.diary.starts == []


def test_workers_live_on_from_stage_to_stage(rig: Any) -> None:
    stages = tree(rig.journal)
    rig.run(stages)
    pids = {r["pid"] for s in stages if (r := rig.store.result(s)) and "pid" in r}
    assert len(pids) <= 2


def test_only_what_is_missing_runs(rig: Any) -> None:
    stages = tree(rig.journal)
    rig.run(stages[:3] + stages[8:])
    first = rig.runs()
    rig.run(stages)
    assert len(rig.runs()) == len(stages)
    assert len(rig.diary.starts) == len(stages) - len(first)


def test_a_failed_stage_takes_only_its_descendants_with_it(rig: Any) -> None:
    good, bad = spec(name="good"), spec(name="bad", do="fail")
    child = spec(name="child", parents={"model": bad})
    grandchild = spec("score", name="grandchild", parents={"model": child})
    other = spec("score", name="other", parents={"model": good})
    stages = [grandchild, child, bad, other, good]
    for _ in range(2):
        outcome = rig.run(stages)
        states = {s["params"]["name"]: outcome.stages[s["key"]].state for s in stages}
        assert states == {
            "good": "done",
            "other": "done",
            "bad": "failed",
            "child": "blocked",
            "grandchild": "blocked",
        }
        assert "raise dampening" in outcome.stages[bad["key"]].reason
        assert "raise dampening" in outcome.stages[grandchild["key"]].reason
    assert rig.diary.starts == []
    assert not outcome.ok


def test_a_killed_worker_is_said_and_its_stage_tried_again(rig: Any, tmp_path: Path) -> None:
    killed = spec(name="killed", do="kill", once=str(tmp_path / "once"))
    score = spec("score", name="score", parents={"model": killed})
    outcome = rig.run([score, killed, spec(name="bystander")])
    assert outcome.ok
    assert any("killed by signal 9 (SIGKILL)" in m for m in rig.diary.said)
    assert rig.diary.starts.count(killed["key"]) == 2
    assert not rig.leftovers()


def test_attempts_have_an_end(rig: Any) -> None:
    killed = spec(name="killed", do="kill")
    outcome = rig.run([killed, spec(name="bystander")], retries=1)
    assert outcome.stages[killed["key"]].state == "ended"
    assert "signal 9" in outcome.stages[killed["key"]].reason
    assert rig.diary.starts.count(killed["key"]) == 2
    assert rig.store.failure(killed) is None


def test_what_a_second_attempt_cannot_mend_is_not_tried_again(rig: Any) -> None:
    stages = {do: spec(name=do, do=do) for do in ("bug", "full", "disk", "memory")}
    outcome = rig.run(list(stages.values()), retries=1)
    reasons = {do: outcome.stages[s["key"]].reason for do, s in stages.items()}
    tries = {do: rig.diary.starts.count(s["key"]) for do, s in stages.items()}
    assert tries == {"bug": 1, "full": 1, "disk": 2, "memory": 2}
    assert all(o.state == "ended" for o in outcome.stages.values())
    assert reasons["full"].startswith("no space left on the disk")
    assert reasons["memory"].startswith("out of memory")
    assert "KeyError" in reasons["bug"]
    assert any("memory is short: going on with 1 worker" in m for m in rig.diary.said)
    assert not any(rig.store.failure(s) for s in stages.values())


def test_what_a_library_prints_is_in_the_log_of_the_stage(rig: Any) -> None:
    stage = spec(name="loud", do="print")
    assert rig.run([stage]).ok
    log = rig.logs / f"make-{stage['key']}.log"
    assert "library noise on stdout" in log.read_text()
    assert rig.diary.notes == ["half"]


def test_dropped_checkpoints_come_back_once_for_all_their_readers(rig: Any) -> None:
    stages = tree(rig.journal)
    rig.run(stages)
    prunes = stages[-2:]
    for prune in prunes:
        rig.store.drop_bulk(prune)
    late = [
        spec(name=f"late{n}", journal=str(rig.journal), parents={"model": prunes[0]})
        for n in range(4)
    ]
    assert rig.run([*stages, *late]).ok
    assert rig.runs().count("p0") == 2
    assert rig.runs().count("p1") == 1
    assert rig.store.present(prunes[0], bulk=True, full=True)


def test_damage_is_found_at_the_start_and_mended(rig: Any) -> None:
    stages = tree(rig.journal)
    rig.run(stages)
    victim = stages[-1]
    (rig.store.path(victim) / "records.txt").unlink()
    assert rig.run(stages).ok
    assert len(rig.runs()) == len(stages) + 1
    assert rig.store.present(victim, bulk=True, full=True)


def test_damage_that_a_reader_meets_is_mended_and_said(rig: Any) -> None:
    stages = tree(rig.journal)
    rig.run(stages)
    victim, reader = stages[-1], spec("score", name="late", parents={"model": stages[-1]})
    weights = rig.store.path(victim) / "checkpoint" / "weights.bin"
    sound = weights.read_bytes()
    weights.write_bytes(b"X" + sound[1:])
    assert rig.run([*stages, reader]).ok
    assert weights.read_bytes() == sound
    assert any("weights.bin has changed" in message for message in rig.diary.said)


def test_on_done_is_called_for_each_stage_when_it_is_committed(rig: Any) -> None:
    seen = []

    def on_done(stage: Any) -> None:
        assert rig.store.is_done(stage)
        seen.append(stage["key"])

    stages = tree(rig.journal)
    rig.run(stages, on_done=on_done)
    assert sorted(seen) == sorted(s["key"] for s in stages)


def test_one_worker_keeps_to_a_checkpoint_until_it_is_worked_off(rig: Any) -> None:
    stages = tree(rig.journal)
    rig.run(stages, workers=1)
    parent = {s["key"]: s["parents"]["model"]["key"] for s in stages if s["kind"] == "score"}
    order = [parent[key] for key in rig.diary.starts if key in parent]
    assert sum(a != b for a, b in itertools.pairwise(order)) == 3


def test_plain_hydra_use_and_senseless_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="hydra/sweeper=isorate"):
        LocalLauncher().launch([["a=1"]], 0)
    for options in ({"workers": 0}, {"threads": 0}, {"retries": -1}, {"memory_gib": 0}):
        with pytest.raises(BadInput, match="valid: "):
            LocalLauncher(**options)


def test_a_home_that_cannot_be_written_starts_nothing(rig: Any) -> None:
    rig.store = Store(Path("/proc/isorate"))
    with pytest.raises(BadInput, match="home="):
        rig.run([spec(name="a")])
    assert rig.diary.starts == []
    assert not rig.logs.exists()


def test_workers_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.setattr(devices, "gpus", list)
    assert devices.cpu_workers(threads=2, memory_gib=1e-6) == 4
    assert devices.cpu_workers(threads=2, memory_gib=1e6) == 1
    assert LocalLauncher(threads=4, memory_gib=1e-6).seats(100) == [None, None]
    assert LocalLauncher(threads=1, memory_gib=1e-6).seats(3) == [None] * 3
    monkeypatch.setattr(devices, "gpus", lambda: ["0", "3"])
    assert LocalLauncher().seats(100) == ["0", "3"]
    assert LocalLauncher(workers=1).seats(100) == ["0"]


# --- what comes from outside -----------------------------------------------------------

FRONT_END = """
import pickle, signal, sys
from pathlib import Path
from launchers.local.launcher import LocalLauncher
from launchers.local.progress import Lines
from sweeper.store.store import Store
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
home, logs, plan = map(Path, sys.argv[1:])
launcher = LocalLauncher(workers=2, stages="tests.stubs.stages")
stages = pickle.loads(plan.read_bytes())
launcher.carry_out(stages, Store(home), observer=Lines(), logs=logs)
"""


def front_end(rig: Any, stages: list[dict[str, Any]]) -> subprocess.Popen[bytes]:
    import pickle

    plan = rig.logs.parent / "plan.pickle"
    plan.write_bytes(pickle.dumps(stages))
    command = [sys.executable, "-c", FRONT_END, str(rig.store.home), str(rig.logs), str(plan)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_front_end_that_dies_takes_its_workers_along_and_loses_nothing(
    rig: Any, how: signal.Signals
) -> None:
    stages = tree(rig.journal, sleep=0.3)
    process = front_end(rig, stages)
    wait_for(lambda: len(rig.runs()) >= 3)
    workers = psutil.Process(process.pid).children()
    assert workers
    done_before = {s["key"] for s in stages if rig.store.is_done(s)}
    os.kill(process.pid, how)
    process.wait(20)
    wait_for(lambda: not any(w.is_running() and w.status() != "zombie" for w in workers))
    interrupted = len(rig.runs())
    assert rig.run(stages).ok
    assert not set(rig.diary.starts) & done_before
    assert len(rig.runs()) <= len(stages) + 2, "at most the stages under way ran twice"
    assert interrupted < len(rig.runs())
    assert not rig.leftovers()
    for stage in stages:
        rig.store.verify(stage, full=True)


def test_ctrl_c_stops_the_workers_cleanly(rig: Any) -> None:
    stages = [spec(name=f"slow{n}", sleep=30.0, journal=str(rig.journal)) for n in range(3)]

    def interrupt() -> None:
        wait_for(lambda: len(rig.runs()) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            rig.run(stages)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 15
    assert rig.diary.closed == 1
    assert not rig.leftovers()
    assert not psutil.Process().children()


def test_a_worker_that_will_not_stop_is_killed(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_GRACE_S", 0.5)
    deaf = rig.store.home.parent / "deaf"
    stage = spec(name="stubborn", do="stubborn", once=str(deaf))

    class Interrupting(Diary):
        def progress(self, spec: Any, fraction: float, note: str) -> None:
            wait_for(deaf.exists)
            time.sleep(0.1)
            raise KeyboardInterrupt

    rig.diary_type = Interrupting
    with pytest.raises(KeyboardInterrupt):
        rig.run([stage])
    assert any("does not stop: killing it" in message for message in rig.diary.said)
    assert not psutil.Process().children()
    assert not rig.leftovers()
