"""The worker process itself: its protocol, its threads, and how it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import tests
from sweeper.errors import BadInput, DamagedOutput, StageFailure
from sweeper.store.store import Store
from sweeper.worker import process
from sweeper.worker.failure import explain
from sweeper.worker.metering import Meter
from sweeper.worker.runner import Bench
from tests.stubs.stages import spec

ROOT = str(Path(tests.__file__).parent.parent)


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "sweeper.worker.process",
        "--home",
        str(tmp_path / "home"),
        "--logs",
        str(tmp_path / "logs"),
        "--stages",
        "tests.stubs.stages",
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
    )


def ask(worker: subprocess.Popen[bytes], stage: dict[str, Any]) -> None:
    assert worker.stdin
    worker.stdin.write(json.dumps({"spec": stage, "bulk": False}).encode() + b"\n")


def hear(worker: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert worker.stdout
    event: dict[str, Any] = json.loads(worker.stdout.readline())
    return event


def test_stages_in_events_out(tmp_path: Path) -> None:
    good, loud, bad = spec(name="a"), spec(name="l", do="print"), spec(name="b", do="fail")
    worker = start(tmp_path)
    for stage in (good, loud, bad):
        ask(worker, stage)
    assert worker.stdin
    events = [hear(worker) for _ in range(9)]
    worker.stdin.close()
    assert worker.wait(10) == 0
    assert [e["event"] for e in events] == [
        "started",
        "progress",
        "done",
        "started",
        "progress",
        "done",
        "started",
        "progress",
        "failed",
    ]
    assert events[1]["fraction"] == 0.5
    assert events[2]["peak_rss_bytes"] > 1e6
    assert events[8]["error"] == "StageFailure"
    assert "make.py" in events[8]["traceback"]
    log = tmp_path / "logs" / f"make-{loud['key']}.log"
    assert "library noise" in log.read_text()
    assert Store(tmp_path / "home").is_done(good)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "stdin"])
def test_told_to_stop_it_deletes_what_is_unfinished(tmp_path: Path, how: Any) -> None:
    store = Store(tmp_path / "home")
    worker = start(tmp_path)
    ask(worker, spec(name="slow", sleep=60.0))
    assert hear(worker)["event"] == "started"
    assert hear(worker)["event"] == "progress"
    assert len(os.listdir(store.tmp)) == 1
    if how == "stdin":
        assert worker.stdin
        worker.stdin.close()
    else:
        worker.send_signal(how)
    assert worker.wait(10) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert not os.listdir(store.tmp)


def test_a_stage_that_reads_stdin_gets_nothing(tmp_path: Path) -> None:
    worker = start(tmp_path)
    for stage in (spec(name="a", do="stdin"), spec(name="b")):
        ask(worker, stage)
    events = [hear(worker)["event"] for _ in range(6)]
    assert events == ["started", "progress", "done"] * 2
    worker.kill()
    worker.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_it_dies_with_its_parent_though_stdin_stays_open(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    code = (
        "import subprocess, sys, time;"
        "words = [sys.executable, '-P', '-m', 'sweeper.worker.process', *sys.argv[1:]];"
        "p = subprocess.Popen(words);"
        "print(p.pid, file=sys.stderr, flush=True); time.sleep(60)"
    )
    options = ["--home", str(store.home), "--logs", str(tmp_path), "--stages", "tests.stubs.stages"]
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *options],
        bufsize=0,
        env={**os.environ, "PYTHONPATH": ROOT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert parent.stderr
    worker = psutil.Process(int(parent.stderr.readline()))
    ask(parent, spec(name="slow", sleep=60.0))
    assert [hear(parent)["event"] for _ in range(2)] == ["started", "progress"]
    parent.kill()
    parent.wait()
    psutil.wait_procs([worker], timeout=10)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert not os.listdir(store.tmp)


@pytest.mark.skipif(sys.platform != "linux", reason="peaks can be reset on Linux only")
def test_the_peak_memory_of_a_stage_is_its_own() -> None:
    meter = Meter("cpu")
    block = bytearray(300_000_000)
    high = meter.facts()["peak_rss_bytes"]
    del block
    assert Meter("cpu").facts()["peak_rss_bytes"] < high - 200_000_000


def test_it_refuses_to_outlive_its_parent(tmp_path: Path) -> None:
    worker = start(tmp_path, "--parent", "1")
    assert worker.wait(10) != 0


def test_a_worker_counts_its_threads_before_torch_does(tmp_path: Path) -> None:
    code = (
        "import os, sys; from sweeper.worker.process import limit_threads; limit_threads(3);"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules;"
        "print(os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])"
    )
    environment = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "7"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert run.stdout == b"3 3\n", run.stderr


def test_endings() -> None:
    home = Path("/home/of/store")
    cases = [
        (StageFailure("x"), "failed", False, True),
        (BadInput("k", 1, "valid: 2"), "attempt_ended", False, True),
        (DamagedOutput("x"), "attempt_ended", True, False),
        (MemoryError(), "attempt_ended", True, False),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "attempt_ended", True, False),
        (RuntimeError("CUDA error: unspecified launch failure"), "attempt_ended", False, False),
        (OSError(28, "No space left on device"), "attempt_ended", False, False),
        (ConnectionResetError(), "attempt_ended", True, False),
        (TypeError("a defect"), "attempt_ended", False, True),
    ]
    for error, event, again, lasting in cases:
        ending = explain(error, home)
        assert (ending.event, ending.again, ending.lasting) == (event, again, lasting), error
    assert "/home/of/store" in explain(OSError(28, "No space"), home).message


def test_a_thousand_progress_calls_are_a_few_lines() -> None:
    from sweeper.worker.process import _throttled

    lines: list[Any] = []
    progress = _throttled(lines.append, "k")
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        progress(0.1, "note")
    assert 1 <= len(lines) <= 3


class Waiting:
    """Requests of which ``come`` says when the first is there."""

    def __init__(self, come: int) -> None:
        self.come, self.asked = come, 0

    def has_come(self) -> bool:
        self.asked += 1
        return self.asked > self.come


@pytest.mark.parametrize(("come", "imported"), [(9, ["make", "score"]), (1, ["make"]), (0, [])])
def test_an_idle_worker_imports_ahead_until_a_stage_comes(come: int, imported: list[str]) -> None:
    found: list[str] = []
    bench = Bench(find=lambda kind: found.append(kind), device="cpu")  # type: ignore[arg-type]
    process.warm(["make", "score"], bench, Waiting(come))  # type: ignore[arg-type]
    assert found == imported
