"""The launcher on a real cluster: whatever happens to jobs and daemons, a sweep ends well."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from launchers.slurm import records
from sweeper.errors import BadInput
from sweeper.results import launcher_record
from tests.slurm.conftest import Cluster, Rig


@pytest.fixture(scope="session")
def timed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, list[Any]]:
    """A job of stages that need more than its two minutes; begun first, looked at last.

    SLURM may send the warning signal a whole minute early.
    """
    rig = Rig(tmp_path_factory.mktemp("timed"))
    first = rig.make("first", sleep=40.0)
    stages = [first, *(rig.score(f"t{n}", first, sleep=40.0) for n in range(2))]
    rig.run(stages, timeout_min=2, signal_delay_s=10)
    return rig, stages


@pytest.mark.usefixtures("timed")
def test_a_grid_in_arrays_above_the_sites_limit(rig: Rig) -> None:
    stages = rig.grid(pruned=5, quantized=1, tasks=1, sleep=3.0)
    before = sum(os.times()[:4])
    rig.run(stages)
    assert sum(os.times()[:4]) - before < 10, "CPU seconds: other work may slow the clock's"
    record = launcher_record.submissions(rig.sweep.path)[0]
    assert [len(array["jobs"]) for array in record["arrays"][:2]] == [4, 1]
    assert {a["dependency"].split(":")[0] for a in record["arrays"]} == {"", "aftercorr", "afterok"}
    rig.wait(stages)
    assert rig.runs() == sorted(s["label"] for s in stages), "each stage ran once"
    rig.until(lambda: len(rig.table().rounds) == 1)
    (done,) = rig.table().rounds
    assert done["resubmitted"] == []
    assert {job["state"] for job in done["accounting"]} == {"COMPLETED"}
    # SLURM samples memory once a second here: what ends before it looks is not known to it.
    sampled = {s["key"] for s in stages if s["params"].get("sleep")}
    memory = [job["max_rss_bytes"] for job in done["accounting"] if sampled & {*job["stages"]}]
    assert len(memory) == 10
    assert all(memory)


def test_gpus_are_asked_for_pinned_and_accounted(rig: Rig) -> None:
    pinned = {kind: rig.make(kind, sleep=2.0) for kind in ("a10", "a100")}
    for kind, stage in pinned.items():
        rig.run([stage], gpus_per_node=1, gpu_type=kind, device="cuda")
    assert not any("several types" in message for message in rig.ear.said)
    free = rig.make("free", env=["CUDA_VISIBLE_DEVICES"])
    rig.run([free], gpus_per_node=2)
    assert any("several types (a10, a100)" in message for message in rig.ear.said)
    rig.wait([*pinned.values(), free])
    rig.until(lambda: rig.table().gpu_hours > 2.0 / 3600)
    used = {name: _used(rig, stage) for name, stage in {**pinned, "free": free}.items()}
    assert {kind: used[kind]["gpu_type"] for kind in pinned} == {"a10": "a10", "a100": "a100"}
    assert used["a100"]["node"] == "n4"
    assert used["free"]["gpu_type"] in pinned
    assert used["free"]["gpus"] == 2
    assert rig.store.result(free)["env"] == {"CUDA_VISIBLE_DEVICES": "0,1"}
    for slurm in used.values():
        assert slurm["gpu_hours"] == pytest.approx(
            slurm["gpus"] * slurm["seconds"] / 3600, abs=1e-5
        )


def _used(rig: Rig, stage: Any) -> Any:
    manifest = rig.store.manifest(stage)
    assert manifest is not None
    return manifest["slurm"]


def test_nodes_without_network(rig: Rig) -> None:
    stage = rig.make("p", env=["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
    absent = rig.make("q", model={}, sources={"model": "nobody/no-such-model"})
    with pytest.raises(BadInput, match="nobody/no-such-model"):
        rig.run([stage, absent], offline=True)
    assert not launcher_record.submissions(rig.sweep.path)
    rig.run([stage], offline=True)
    rig.wait([stage])
    assert set(rig.store.result(stage)["env"].values()) == {"1"}


def test_a_second_run_while_the_first_is_running(rig: Rig, cluster: Cluster) -> None:
    prune = rig.make("p", sleep=5.0)
    stages = [prune, rig.score("t", prune), rig.make("q", parents={"model": prune})]
    rig.run(stages)
    before = rig.table().stages
    rig.run(stages)
    assert rig.ear.said[-1].startswith("nothing to submit")
    more = rig.make("r", parents={"model": prune})
    rig.run([*stages, more])
    assert rig.state(prune).job == before[prune["key"]].job
    rig.wait([*stages, more])
    assert rig.runs() == ["p", "q", "r", "t"]


def test_kill_9_of_a_job_is_repaired(rig: Rig, tmp_path: Path) -> None:
    bad = rig.make("bad", do="kill", once=str(tmp_path / "once"))
    good = rig.make("good")
    stages = [bad, rig.make("child", parents={"model": bad}), rig.score("t", bad), good]
    rig.run(stages)
    rig.wait(stages)
    assert rig.runs() == ["bad", "bad", "child", "good", "t"]
    first = rig.table().rounds[0]
    assert set(first["resubmitted"]) == {s["key"] for s in stages[:3]}


def test_a_killed_job_says_so_within_one_poll(rig: Rig) -> None:
    stage = rig.make("bad", do="kill")
    rig.run([stage], retry={"rounds": 0})
    rig.until(lambda: rig.state(stage).state == "ended")
    state = rig.state(stage)
    assert (state.cause, state.again) == ("killed", True)
    assert state.node


def test_a_bug_shows_its_message_and_stops_its_children(rig: Rig, cluster: Cluster) -> None:
    bad = rig.make("bad", do="bug")
    others = [rig.make(f"child{n}", parents={"model": bad}) for n in range(2)]
    rig.run([bad, *others], pack="stage")
    rig.until(lambda: bool(rig.table().rounds))
    assert rig.state(bad).cause == "python error"
    assert "no such thing" in rig.state(bad).reason
    rig.until(lambda: [rig.state(s).state for s in others] == ["blocked", "blocked"])
    assert rig.runs() == ["bad"]


def test_a_failed_cell_is_kept_until_retry(rig: Rig, tmp_path: Path) -> None:
    stage = rig.make("p", do="fail", once=str(tmp_path / "once"))
    rig.run([stage])
    rig.until(lambda: rig.state(stage).state == "failed")
    assert rig.run([stage]).stages[stage["key"]].state == "failed"
    assert "Hessian" in rig.state(stage).reason
    assert rig.store.clear_failure(stage)
    rig.run([stage])
    rig.wait([stage])


def test_memory_runs_out_and_is_raised(rig: Rig) -> None:
    stage = rig.make("hog", hog_mb=300)
    rig.run([stage], mem_gb=0.2, retry={"memory_factor": 3.0})
    rig.wait([stage])
    submitted = launcher_record.submissions(rig.sweep.path)
    assert submitted[-1]["memory"] == {stage["key"]: 3.0}


def test_cancel_stops_everything_and_run_goes_on(rig: Rig, cluster: Cluster) -> None:
    from sweeper.results.launcher_record import launcher

    first = rig.make("first", sleep=1.0)
    long = rig.make("long", sleep=30.0, parents={"model": first})
    stages = [first, rig.score("t", first), long]
    rig.run(stages)
    rig.until(lambda: rig.running(long))
    recorded = launcher(rig.sweep.path)
    assert recorded is not None
    recorded.cancel(rig.sweep.path)
    rig.until(lambda: rig.state(long).cause == "cancelled")
    rig.until(lambda: not _queued(cluster, rig))
    outcome = rig.run(stages)
    assert outcome.stages[first["key"]].state == "done"
    assert outcome.stages[long["key"]].state == "queued"
    recorded.cancel(rig.sweep.path)


def _queued(cluster: Cluster, rig: Rig) -> list[str]:
    names = cluster.run("squeue", "-h", "-o", "%j").split()
    mine = [record["submission"] for record in launcher_record.submissions(rig.sweep.path)]
    return [name for name in names if any(one in name for one in mine)]


@pytest.mark.parametrize("warned", [True, False])
def test_preemption(rig: Rig, cluster: Cluster, warned: bool) -> None:
    cluster("up", SLURM_LAB_PREEMPT="preempt_send_user_signal" if warned else "")
    cluster.run("scontrol", "reconfigure")
    first = rig.make("first")
    # the second one works until it is begun once more
    stages = [first, rig.make("second", parents={"model": first}, meet=3, patience=300)]
    rig.run(stages, partition="preempt", nodelist="n1", cpus_per_task=8)
    rig.until(lambda: rig.store.is_done(first) and rig.running(stages[1]))
    urgent = ("-w", "n1", "-c", "8", "--mem=100", "-o", "/dev/null", "--wrap", "sleep 3")
    cluster.run("sbatch", *urgent)
    rig.wait(stages)
    rig.until(lambda: rig.state(first).restarts >= 1)
    assert rig.runs().count("first") == 1, "what was finished stays"
    logs = "".join(path.read_text() for path in rig.sweep.logs.glob("*"))
    assert ("Caught signal SIGUSR2" in logs) == warned


def test_a_node_dies_with_its_jobs(rig: Rig, cluster: Cluster) -> None:
    stage = rig.make("p", meet=2, patience=300)  # works until it is begun once more
    rig.run([stage])
    rig.until(lambda: rig.running(stage))
    node = rig.state(stage).node
    cluster("node", node, "kill")
    try:
        rig.wait([stage])
        assert rig.state(stage).restarts == 1
        assert len(rig.runs()) == 2
    finally:
        cluster("node", node, "start")


def test_slurmd_alone_dies_and_its_orphan_works_on(rig: Rig, cluster: Cluster) -> None:
    stage = rig.make("p", meet=2, patience=300)  # the orphan works until the other one has begun
    rig.run([stage])
    rig.until(lambda: rig.running(stage))
    node = rig.state(stage).node
    pid = int((cluster.state / "run" / f"{node}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    try:
        rig.until(lambda: len(rig.runs()) == 2)
        rig.wait([stage])
        rig.until(
            lambda: (
                not [a for a in records.attempts(rig.sweep.path, stage["key"]) if "ended" not in a]
            ),
            60,
        )
        assert rig.done([stage])
        assert not list(rig.store.tmp.glob(f"{stage['key']}*")), "nothing half-done is left"
    finally:
        cluster("node", node, "start")


def test_the_controller_is_away_for_30_s_during_submission_and_run(
    rig: Rig, cluster: Cluster
) -> None:
    running = rig.make("running", sleep=15.0)
    rig.run([running])
    rig.until(lambda: rig.running(running))
    cluster("ctld", "stop")
    back = threading.Timer(30.0, lambda: cluster("ctld", "start"))
    back.start()
    stages = [running, rig.make("p"), rig.make("q")]
    began = time.monotonic()
    try:
        rig.run(stages)
    finally:
        back.join()
    assert time.monotonic() - began > 20
    assert any("waiting up to 60 s" in message for message in rig.ear.said)
    rig.wait(stages)
    assert sorted(set(rig.runs())) == ["p", "q", "running"]


def test_accounting_is_down(rig: Rig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = rig.make("p", meet=2, patience=300)
    rig.run([stage])
    tools = rig.journal.parent / "bin"
    tools.mkdir()
    (tools / "sacct").write_text("#!/bin/sh\necho 'sacct: error: slurmdbd is away' >&2; exit 1\n")
    (tools / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    table = rig.table()
    assert "slurmdbd is away" in table.note
    assert table.stages[stage["key"]].live
    rig.journal.mkdir(exist_ok=True)
    (rig.journal / "go").touch()
    rig.wait([stage])


def test_the_time_limit_ends_a_job_and_it_goes_on(timed: tuple[Rig, list[Any]]) -> None:
    rig, stages = timed
    rig.wait(stages)
    assert {rig.state(s).job for s in stages} == {rig.state(stages[0]).job}
    assert rig.state(stages[0]).restarts >= 1
    assert len(launcher_record.submissions(rig.sweep.path)) == 1, "no repair was needed"
