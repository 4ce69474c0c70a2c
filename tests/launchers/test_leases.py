"""Leases between processes: one holder at a time, whoever dies, sleeps or comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from launchers import leases
from launchers.leases import Holder, Lease, take
from launchers.slurm import records
from sweeper.errors import IsorateError


def elsewhere(folder: Path, silent_s: float, number: int = 1) -> Path:
    """A lease that a process of another host has, and when it was last heard of."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / str(number)
    path.write_text(json.dumps(asdict(Holder(host="node7-abcdef", pid=1, user="alice"))))
    then = time.time() - silent_s
    os.utime(path, (then, then))
    return path


HOLD = """
import pathlib, sys, time
from launchers.leases import take
take(pathlib.Path(sys.argv[1]))
print("has it", flush=True)
time.sleep(60)
"""
CONTEND = """
import sys, time
from pathlib import Path
from launchers.leases import Lease, take
folder, ledger = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(5):
    while not isinstance(got := take(folder), Lease):
        time.sleep(0.001)
    (ledger / "in").mkdir()   # fails if another one is in
    time.sleep(0.002)
    (ledger / "in").rmdir()
    got.release()
"""


def test_of_many_that_break_one_stale_lease_one_gets_it(tmp_path: Path) -> None:
    elsewhere(tmp_path / "lease", 3600)
    command = [sys.executable, "-c", CONTEND, str(tmp_path / "lease"), str(tmp_path)]
    racing = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    said = [process.communicate()[1] for process in racing]
    assert said == [""] * 6
    assert [path.name for path in (tmp_path / "lease").iterdir()] == ["31"], "30 times, and one"


def test_a_live_process_of_this_host_keeps_it_however_long(tmp_path: Path) -> None:
    folder = tmp_path / "lease"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    long_ago = time.time() - 3600
    os.utime(folder / "1", (long_ago, long_ago))
    try:
        os.kill(process.pid, signal.SIGSTOP)
        found = take(folder)
        assert isinstance(found, Holder)
        assert found.pid == process.pid
    finally:
        process.kill()
        process.communicate()
    assert isinstance(take(folder), Lease), "it is dead now"


def test_a_holder_elsewhere_is_dead_when_it_is_silent_or_its_job_over(tmp_path: Path) -> None:
    elsewhere(tmp_path / "fresh", 60)
    found = take(tmp_path / "fresh")
    assert isinstance(found, Holder)
    assert str(found) == "process 1 of alice on node7-abcdef"
    assert leases.holder(tmp_path / "fresh") == found
    elsewhere(tmp_path / "silent", leases.EXPIRY_S + 30)
    assert leases.holder(tmp_path / "silent") is None
    assert isinstance(take(tmp_path / "silent"), Lease)
    path = elsewhere(tmp_path / "job", 1)
    path.write_text(json.dumps(asdict(Holder(host="node7-abcdef", job="12_3"))))
    assert isinstance(take(tmp_path / "job", over=lambda holder: holder.job != "12_3"), Holder)
    assert isinstance(take(tmp_path / "job", over=lambda holder: holder.job == "12_3"), Lease)


def test_who_was_taken_for_dead_neither_has_it_nor_deletes_its_successors(tmp_path: Path) -> None:
    folder = tmp_path / "lease"
    mine = take(folder)
    assert isinstance(mine, Lease)
    assert mine.held()
    elsewhere(folder, 0, number=2)
    assert not mine.held()
    mine.release()
    assert leases.holder(folder) == take(folder)
    assert (folder / "2").exists()


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    mine = take(tmp_path / "lease")
    assert isinstance(mine, Lease)
    os.utime(tmp_path / "lease" / "1", (1, 1))
    until = time.monotonic() + 10
    while leases.silence_s(tmp_path / "lease" / "1") > 10 and time.monotonic() < until:
        time.sleep(0.05)
    assert leases.silence_s(tmp_path / "lease" / "1") < 10
    mine.release()
    assert leases.holder(tmp_path / "lease") is None


def test_a_submission_waits_for_the_holder_of_its_claim(tmp_path: Path) -> None:
    said: list[str] = []
    elsewhere(tmp_path / "jobs" / "submitting", 1)
    with (
        pytest.raises(IsorateError, match="process 1 of alice on node7-abcdef has been submitting"),
        records.claim(tmp_path, wait_s=0.6, say=said.append),
    ):
        raise AssertionError("it has a holder")
    assert len(said) == 1
    elsewhere(tmp_path / "jobs" / "submitting", 3600)
    with records.claim(tmp_path, wait_s=0.0, say=said.append) as lease:
        assert lease.held()
