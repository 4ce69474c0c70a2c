"""The launcher against a scripted SLURM: submission, resumption, repair, refusal, silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from launchers import leases
from launchers.slurm import records
from launchers.slurm.cluster.commands import SlurmError, outside_env
from launchers.slurm.submission.submit import Submission
from sweeper.errors import BadInput, IsorateError
from sweeper.results.launcher_record import launcher as recorded_launcher
from sweeper.store import files
from tests.launchers.fake_slurm import FakeSlurm
from tests.launchers.slurm_rig import SlurmRig


@pytest.fixture
def rig(tmp_path: Path) -> SlurmRig:
    return SlurmRig(tmp_path)


def work_jobs(slurm: FakeSlurm) -> dict[str, Any]:
    """All jobs but the rounds."""
    return {job: e for job, e in slurm.jobs.items() if not e["name"].endswith("-round")}


def rounds(slurm: FakeSlurm) -> list[str]:
    return [job for job, e in slurm.jobs.items() if e["name"].endswith("-round")]


# --- submission -----------------------------------------------------------------------


def test_a_plan_is_submitted_and_finishes_by_itself(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = rig.grid()
    outcome = rig.run(stages)
    assert {o.state for o in outcome.stages.values()} == {"queued"}
    assert {s.state for s in rig.table().stages.values()} == {"queued"}
    slurm.work()
    assert rig.done(stages)
    assert len(rig.runs()) == len(set(rig.runs())) == len(stages), "each stage ran once"
    (done,) = rig.table().rounds
    assert done["resubmitted"] == []
    assert done["verbs"] == {"sync": 0, "report": 0}
    assert {s.state for s in rig.table().stages.values()} == {"done"}


def test_every_job_dies_with_its_parents_and_may_be_requeued(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    rig.run(rig.grid(), array_parallelism=3)
    for entry in slurm.jobs.values():
        assert entry["options"]["kill-on-invalid-dep"] == "yes"
        assert entry["options"]["requeue"] is True
    arrays = [e["options"]["array"] for e in slurm.jobs.values() if "array" in e["options"]]
    assert all(int(array.split("%")[1]) <= 3 for array in arrays)


def test_pickles_carry_keys_and_paths_only(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run([rig.make("p", note="x" * 100_000)])
    (pickle,) = (rig.sweep.path / "jobs").glob("*/1_submitted.pkl")
    assert pickle.stat().st_size < 1000


def test_a_second_run_submits_nothing_twice(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = rig.grid()
    rig.run(stages)
    before = set(slurm.jobs)
    outcome = rig.run(stages)
    assert set(slurm.jobs) == before
    assert {o.state for o in outcome.stages.values()} == {"queued"}
    assert rig.ear.said[-1].startswith("nothing to submit")


def test_a_larger_grid_waits_for_jobs_that_are_queued(slurm: FakeSlurm, rig: SlurmRig) -> None:
    prune = rig.make("p")
    first = [prune, rig.score("t", prune), rig.make("q", parents={"model": prune})]
    rig.run(first)
    second = [*first, rig.make("q2", parents={"model": prune})]
    rig.run(second)
    new = slurm.jobs[rig.state(second[-1]).job]
    assert new["options"]["dependency"] == f"afterok:{rig.state(prune).job}"
    slurm.work()
    assert rig.done(second)
    assert len(rig.runs()) == 4


def test_a_finished_stage_is_never_a_dependency(slurm: FakeSlurm, rig: SlurmRig) -> None:
    prune = rig.make("p")
    rig.run([prune])
    slurm.work()
    slurm.set(jobs={})  # the controller has forgotten the job; afterok of it would just run
    rig.run([rig.make("q", parents={"model": prune})])
    (entry,) = work_jobs(slurm).values()
    assert "dependency" not in entry["options"]


def test_arrays_above_the_sites_limit_are_split(slurm: FakeSlurm, rig: SlurmRig) -> None:
    slurm.set(max_array=4)
    stages = [rig.make(f"p{n}") for n in range(10)]
    rig.run(stages)
    assert len({job.split("_")[0] for job in work_jobs(slurm)}) == 3
    slurm.work()
    assert rig.done(stages)


def test_a_dropped_checkpoint_is_built_again_for_a_new_reader(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    prune = rig.make("p")
    rig.run([prune, rig.score("a", prune)])
    slurm.work()
    rig.store.drop_bulk(prune)
    scores = [rig.score("a", prune), rig.score("b", prune)]
    rig.run([prune, *scores, rig.make("q", parents={"model": prune})])
    slurm.work()
    assert rig.runs() == ["a", "b", "p", "p", "q"]


# --- what goes wrong --------------------------------------------------------------------


def test_a_failed_cell_stops_its_own_children_only(slurm: FakeSlurm, rig: SlurmRig) -> None:
    bad = rig.make("bad", do="fail")
    good = rig.make("good")
    stages = [
        bad,
        good,
        *(rig.make(f"q{p['label']}", parents={"model": p}) for p in (bad, good)),
        rig.score("tb", bad),
        rig.score("tg", good),
    ]
    rig.run(stages)
    slurm.work()
    table = rig.table().stages
    assert [table[s["key"]].state for s in stages] == [
        "failed",
        "done",
        "blocked",
        "done",
        "blocked",
        "done",
    ]
    assert "Hessian" in table[bad["key"]].reason
    assert rig.runs().count("bad") == 1, "the cell's own fault is not tried again"
    outcome = rig.run(stages).stages
    assert outcome[bad["key"]].state == "failed"
    assert outcome[stages[2]["key"]].state == "blocked"


def test_a_failed_evaluation_does_not_keep_the_others_from_running(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    model = rig.make("m")
    other = rig.make("other", parents={"model": model}, do="bug")
    stages = [model, other, rig.score("t", model)]
    rig.run(stages, pack="cell")
    slurm.work()
    assert rig.store.is_done(stages[2])
    assert rig.state(other).cause == "python error"
    assert "no such thing" in rig.state(other).reason


@pytest.mark.parametrize("how", ["TIMEOUT", "NODE_FAIL", "PREEMPTED", "COMPLETED", "OUT_OF_MEMORY"])
def test_what_ended_outside_its_cell_is_repaired_with_its_descendants(
    slurm: FakeSlurm, rig: SlurmRig, how: str
) -> None:
    stages = rig.grid()
    rig.run(stages)
    victim = rig.state(stages[0]).job
    slurm.end(victim, how)
    if how == "COMPLETED":  # SLURM believes that all is well: children run, and build it themselves
        slurm.work()
        assert rig.done(stages)
        return
    assert rig.state(stages[0]).state == "ended"
    slurm.work()
    assert rig.done(stages)
    assert len(rig.runs()) == len(stages)
    first, second = rig.table().rounds
    assert len(first["resubmitted"]) == len(stages) // 2
    assert second["resubmitted"] == []


def test_the_retry_budget_ends(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stage = rig.make("p")
    rig.run([stage], retry={"rounds": 2})
    for _ in range(3):
        slurm.end(rig.state(stage).job, "NODE_FAIL")
        slurm.round()
    assert len(rounds(slurm)) == 3
    state = rig.state(stage)
    assert (state.state, state.cause) == ("ended", "node failure")
    assert "node failure" in rig.table().rounds[-1]["given_up"][stage["key"]]


def test_more_memory_for_what_ran_out_of_it(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = [rig.make("p"), rig.make("q")]
    rig.run(stages, mem_gb=1.0, retry={"memory_factor": 2.0})
    slurm.start(rig.state(stages[1]).job)
    for _ in range(2):
        slurm.end(rig.state(stages[0]).job, "OUT_OF_MEMORY")
        slurm.round()
    asked = slurm.jobs[rig.state(stages[0]).job]["options"]["mem"]
    assert asked == "4096M"
    assert slurm.jobs[rig.state(stages[1]).job]["options"]["mem"] == "1024M"


def test_no_more_memory_than_a_node_has(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = [rig.make("p"), rig.make("q")]
    rig.run(stages, mem_gb=6.0)
    slurm.end(rig.state(stages[0]).job, "OUT_OF_MEMORY")
    slurm.end(rig.state(stages[1]).job, "NODE_FAIL")
    slurm.round()
    asked = {slurm.jobs[rig.state(stage).job]["options"]["mem"] for stage in stages}
    assert asked == {"8192M", "6144M"}, "of 9 GB; the other one is repaired all the same"


def test_a_run_raises_memory_where_no_round_could(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stage = rig.make("p")
    rig.run([stage], mem_gb=1.0, retry={"rounds": 0})
    for expected in ("1536M", "2304M"):
        slurm.end(rig.state(stage).job, "OUT_OF_MEMORY")
        slurm.round()
        rig.run([stage], mem_gb=1.0, retry={"rounds": 0})
        assert slurm.jobs[rig.state(stage).job]["options"]["mem"] == expected
    slurm.end(rig.state(stage).job, "OUT_OF_MEMORY")
    rig.run([stage], mem_gb=5.0, retry={"rounds": 0})
    assert slurm.jobs[rig.state(stage).job]["options"]["mem"] == "5120M", "as was asked for now"


def test_memory_is_raised_once_for_each_time_that_it_ran_out(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    options = {"mem_gb": 1.0, "retry": {"rounds": 0}}
    stage = rig.make("p")
    rig.run([stage], **options)
    slurm.end(rig.state(stage).job, "OUT_OF_MEMORY")
    for other in (rig.make("q"), rig.make("r")):
        rig.run([other], **options)
    rig.run([stage], **options)
    assert slurm.jobs[rig.state(stage).job]["options"]["mem"] == "1536M"
    slurm.end(rig.state(stage).job, "OUT_OF_MEMORY")
    rig.run([rig.make("s")], **options)
    rig.run([stage], **options)
    assert slurm.jobs[rig.state(stage).job]["options"]["mem"] == "2304M"


def test_a_bug_is_not_repaired_but_a_new_run_tries_it(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stage = rig.make("p", do="bug", once=str(rig.journal) + ".once")
    rig.run([stage])
    Path(str(rig.journal) + ".once").unlink(missing_ok=True)
    slurm.work()
    assert len(work_jobs(slurm)) == 1
    assert rig.state(stage).cause == "python error"
    rig.run([stage])
    slurm.work()
    assert rig.done([stage])


def test_where_nodes_may_not_submit_the_next_run_repairs(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = rig.grid(1, 1, 1)
    rig.run(stages)
    slurm.end(rig.state(stages[0]).job, "NODE_FAIL")
    slurm.set(refuse="Access/permission denied")
    slurm.work()
    (done,) = rig.table().rounds
    assert "permission denied" in done["error"]
    assert done["verbs"] == {"sync": 0, "report": 0}, "it collects all the same"
    slurm.set(refuse="")
    rig.run(stages)
    slurm.work()
    assert rig.done(stages)


def test_a_requeued_job_goes_on_under_its_id(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = [rig.make("p")]
    rig.run(stages)
    job = rig.state(stages[0]).job
    slurm.requeue(job, "PREEMPTED", elapsed=1800)
    assert rig.state(stages[0]).state == "queued"
    slurm.work()
    state = rig.state(stages[0])
    assert (state.state, state.restarts) == ("done", 1)
    assert rig.table().gpu_hours == pytest.approx(2 * (1800 + 10) / 3600 + 0.0, abs=0.01)
    manifest = rig.store.manifest(stages[0])
    assert manifest is not None
    assert manifest["slurm"]["job"] == job
    assert manifest["slurm"]["restart"] == 1
    assert manifest["slurm"]["gpus"] == 2


def test_earlier_attempts_are_in_the_manifest(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stage = rig.make("p", do="disk", once=str(rig.journal) + ".once")
    rig.run([stage])
    slurm.work()
    manifest = rig.store.manifest(stage)
    assert manifest is not None
    (earlier,) = manifest["slurm"]["earlier_attempts"]
    assert earlier["ending"] == "OSError"
    assert earlier["gpu_hours"] >= 0
    assert earlier["job"] != manifest["slurm"]["job"]


def test_a_job_out_of_time_for_good_takes_its_later_stages_along(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    first = rig.make("p")
    second = rig.score("t", first)
    rig.run([first, second])
    job = rig.state(first).job
    slurm.end(job, "FAILED", code="1:0")
    ending = {"error": "UncompletedJobError", "message": "timed-out too many times", "again": True}
    attempt = {"job": job, "restart": 0, "started": records.now(), "ending": ending}
    files.write_whole(records.attempt_file(rig.sweep.path, first["key"], f"{job}.0"), attempt)
    assert {rig.state(s).cause for s in (first, second)} == {"time limit"}
    slurm.work()
    assert rig.done([first, second])


def test_too_many_restarts_end(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run([rig.make("p")], retry={"restarts": 1, "rounds": 0})
    job = next(iter(work_jobs(slurm)))
    for _ in range(2):
        slurm.requeue(job, "NODE_FAIL")
    slurm.work()
    assert slurm.jobs[job]["state"] == "FAILED"
    assert rig.runs() == []


def test_two_attempts_of_a_stage_at_once_are_harmless(slurm: FakeSlurm, rig: SlurmRig) -> None:
    """slurmd alone died: its orphan still works while the requeued job works too."""
    stage = rig.make("p", meet=2)
    rig.run([stage])
    job = next(iter(work_jobs(slurm)))
    code = "import cloudpickle, sys; cloudpickle.load(open(sys.argv[1], 'rb')).result()"
    pickle = Path(slurm.jobs[job]["folder"]) / f"{job}_submitted.pkl"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(pickle)],
            env={**os.environ, "SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": str(n)},
        )
        for n in range(2)
    ]
    assert [process.wait() for process in both] == [0, 0]
    assert rig.runs() == ["p", "p"]
    assert rig.done([stage])
    assert len(records.attempts(rig.sweep.path, stage["key"])) == 2


# --- SLURM is away ----------------------------------------------------------------------


def test_without_accounting_the_queue_tells(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = rig.grid(1, 1, 1)
    rig.run(stages)
    slurm.set(no_accounting=True)
    table = rig.table()
    assert "accounting storage is disabled" in table.note
    assert {s.state for s in table.stages.values()} == {"queued"}
    slurm.work()
    assert {s.state for s in rig.table().stages.values()} == {"done"}


def test_when_nothing_answers_the_store_tells_and_nothing_is_submitted(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    done, open_ = rig.make("p"), rig.make("q")
    rig.run([done])
    slurm.work()
    rig.run([done, open_])
    slurm.set(no_accounting=True, down=True)
    table = rig.table()
    assert table.stages[done["key"]].state == "done"
    assert table.stages[open_["key"]].cause == "unknown"
    assert "does not answer" in table.note
    before = set(slurm.jobs)
    with pytest.raises(SlurmError, match="Unable to contact"):
        rig.run([done, open_])
    assert set(slurm.jobs) == before


def test_a_job_that_accounting_has_lost(slurm: FakeSlurm, rig: SlurmRig, monkeypatch: Any) -> None:
    stage = rig.make("p")
    rig.run([stage])
    slurm.change(rig.state(stage).job, unaccounted=True)
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: now + 1000)
        assert rig.state(stage).state == "queued", "the queue has it, whatever accounting says"
        slurm.set(jobs={})  # the controller was started without its state
        assert rig.state(stage).cause == "lost"
    assert rig.state(stage).state == "queued", "accounting lags by some seconds"


def test_a_controller_that_comes_back_is_waited_for(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: Any
) -> None:
    slurm.set(down=True)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        if seconds == 2.0:  # subprocess naps too, for milliseconds, while a command ends
            naps.append(seconds)
            slurm.set(down=len(naps) < 3)

    monkeypatch.setattr("launchers.slurm.cluster.commands.time.sleep", nap)
    stages = [rig.make("p")]
    rig.run(stages, patience_s=60.0)
    assert len(naps) == 3
    assert any("waiting up to 60 s" in message for message in rig.ear.said)
    slurm.work()
    assert rig.done(stages)


def test_a_submission_without_an_answer_is_not_doubled(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: Any
) -> None:
    monkeypatch.setattr("launchers.slurm.cluster.commands.time.sleep", lambda s: None)
    slurm.set(swallow=1)
    stages = [rig.make(f"p{n}") for n in range(3)]
    rig.run(stages, patience_s=60.0)
    live = [e for e in work_jobs(slurm).values() if e["state"] == "PENDING"]
    assert len(live) == 3, "the ghosts of the first try are cancelled"
    slurm.work()
    assert len(rig.runs()) == 3


def test_ghosts_of_a_shell_that_died_are_cancelled(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = [rig.make(f"p{n}") for n in range(3)]
    slurm.set(swallow=1)
    with pytest.raises(SlurmError, match="timed out"):
        rig.run(stages)
    assert len(work_jobs(slurm)) == 3
    rig.run(stages)
    live = [e for e in work_jobs(slurm).values() if e["state"] == "PENDING"]
    assert len(live) == 3
    slurm.work()
    assert len(rig.runs()) == 3


def test_no_slurm_here(rig: SlurmRig, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match=r"not installed here \(is this a login node"):
        rig.run([rig.make("p")])


# --- before and after ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"partition": "gpux"}, r"hydra.launcher.partition=gpux: valid: big, cpu, gpu\."),
        ({"timeout_min": 300, "partition": "big"}, r"timeout_min=300: valid: at most 240"),
        ({"gpus_per_node": 4}, r"gpus_per_node=4: no node of partition gpu.*2 a10"),
        ({"gpus_per_node": 1, "gpu_type": "h100"}, r"gpu_type=h100: .*2 a10"),
        ({"gpus_per_node": 1, "partition": "cpu"}, r"partition cpu .*no GPU"),
        ({"mem_gb": 9}, r"mem_gb=9: .*8 GB"),
        ({"cpus_per_task": 9}, r"cpus_per_task=9: .*8 cores"),
        ({"gpus_per_node": 2, "cpus_per_gpu": 5}, r"cpus_per_gpu=5: .*8 cores"),
        ({"gpus_per_node": 2, "mem_per_gpu": "5G"}, r"mem_per_gpu=5G: .*8 GB"),
        ({"gres": "gpu:a10:3"}, r"gres=gpu:a10:3: .*2 a10"),
        ({"constraint": "a100"}, r"constraint=a100: .*a10,ib"),
        ({"account": "nobody"}, r"hydra.launcher.account=nobody: valid: lab, other\."),
        ({"qos": "urgent"}, r"hydra.launcher.qos=urgent: valid: high, normal\."),
    ],
)
def test_preflight_refuses_what_cannot_run(
    slurm: FakeSlurm, rig: SlurmRig, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        rig.run([rig.make("p")], **options)
    assert slurm.jobs == {}


def test_offline_nodes_need_what_is_on_this_machine(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stage = rig.make("p", model={}, sources={"model": "nobody/no-such-model"})
    with pytest.raises(BadInput, match=r"nobody/no-such-model: it is not on this machine"):
        rig.run([stage], offline=True)
    rig.run([rig.make("here")], offline=True)
    script = next((rig.sweep.path / "jobs").glob("*/*.sh")).read_text()
    assert "export HF_HUB_OFFLINE=1" in script


def test_several_types_of_gpu_are_said(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run([rig.make("p")], gpus_per_node=1, partition="gpu,big")
    assert any("several types (a10, a100)" in message for message in rig.ear.said)
    rig.run([rig.make("q")], gpus_per_node=1, partition="gpu,big", gpu_type="a100")
    assert sum("several types" in message for message in rig.ear.said) == 1


def test_not_enough_room_for_the_checkpoints(slurm: FakeSlurm, rig: SlurmRig) -> None:
    with pytest.raises(BadInput, match="GB are needed"):
        rig.run([rig.make("p") | {"bulk_bytes": 1e18}])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pack": "all"}, "valid: cell, stage, pull"),
        ({"device": "tpu"}, "hydra.launcher.device=tpu"),
        ({"retry": {"round": 1}}, "valid: rounds"),
        ({"array_parallelism": 0}, "1 or more"),
        ({"partiton": "x"}, "no such key"),
    ],
)
def test_bad_options(rig: SlurmRig, options: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        rig.launcher(**options)


def test_cancel_reaches_everything_and_run_goes_on(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = rig.grid(1, 1, 1)
    rig.run(stages)
    slurm.start(slurm.ready()[0])
    again = recorded_launcher(rig.sweep.path)
    assert again is not None
    told: list[tuple[list[str], int]] = []
    done = again.cancel(rig.sweep.path, lambda ids: told.append((ids, slurm.calls("scancel"))))
    cancelled = list(done.jobs)
    assert told == [(cancelled, 0)], "said before anything happens"
    assert len(cancelled) == len(slurm.jobs) - 1, "the round too"
    assert slurm.ready() == []
    states = rig.table().stages
    assert {s.cause for s in states.values() if s.state != "done"} == {"cancelled"}
    rig.run(stages)
    slurm.work()
    assert rig.done(stages)


def test_the_recorded_launcher_is_the_one_that_submitted(slurm: FakeSlurm, rig: SlurmRig) -> None:
    assert recorded_launcher(rig.sweep.path) is None
    launcher = rig.launcher(partition="big", sizes=[{"above_billion": 3, "mem_gb": 9}])
    rig.record([rig.make("p")])
    launcher.carry_out([rig.make("p")], rig.store, observer=rig.ear, logs=rig.sweep.logs)
    slurm.work()
    again = recorded_launcher(rig.sweep.path)
    assert again is not None
    assert again.config == launcher.config


def test_status_of_a_sweep_is_one_call_of_sacct(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run(rig.grid(3, 3, 1))
    slurm.work()
    rig.run(rig.grid(4, 3, 1))
    before = slurm.calls("sacct")
    rig.table()
    assert slurm.calls("sacct") == before + 1


def test_shape_counts_jobs_and_hours(slurm: FakeSlurm, rig: SlurmRig) -> None:
    from types import SimpleNamespace as Estimate

    stages = rig.grid(2, 2, 1)
    launcher = rig.launcher(gpus_per_node=2, timeout_min=60)
    rough = launcher.shape(stages, rig.store)
    assert (rough.jobs, rough.arrays, rough.gpu_hours) == (8, 3, 16.0)
    assert rough.sources == {"requested": 8}
    assert "8 in 3 arrays" in rough.text()
    assert "16.0 GPU hours" in rough.text()
    known = {s["key"]: Estimate(seconds=360.0, source="scaled") for s in stages}
    known[stages[0]["key"]] = Estimate(seconds=360.0, source="measured")
    fine = launcher.shape(stages, rig.store, known)
    assert fine.gpu_hours == pytest.approx(2 * 0.1 * len(stages))
    assert fine.sources == {"measured": 1, "scaled": 7}
    assert slurm.jobs == {}
    assert not rig.store.root.exists()


def test_the_eta_is_the_work_left_over_the_jobs_that_run(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = [rig.make(f"p{n}", estimate_s=100.0) for n in range(4)]
    rig.run(stages)
    assert rig.table().eta_s is None
    for stage in stages[:2]:
        job = rig.state(stage).job
        slurm.change(job, state="RUNNING")
        path = records.attempt_file(rig.sweep.path, stage["key"], f"{job}.0")
        files.write_whole(path, {"job": job, "restart": 0, "started": records.now(), "log": ""})
    assert rig.table().eta_s == pytest.approx(200.0)


def test_one_submission_at_a_time(slurm: FakeSlurm, rig: SlurmRig, monkeypatch: Any) -> None:
    monkeypatch.setattr("launchers.slurm.launcher._CLAIM_WAIT_S", 0.0)
    folder = rig.sweep.path / "jobs" / "submitting"
    folder.mkdir(parents=True)
    (folder / "1").write_text(json.dumps({"id": "x", "host": "elsewhere", "pid": 1, "user": "al"}))
    with pytest.raises(IsorateError, match="process 1 of al on elsewhere has been submitting"):
        rig.run([rig.make("p")])
    os.utime(folder / "1", (1, 1))
    rig.run([rig.make("p")])
    assert leases.holder(folder) is None, "a stale claim is taken over and let go"


def test_who_lost_the_claim_submits_no_more(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: Any
) -> None:
    """The login node slept for long: another process has taken its place meanwhile."""
    slurm.set(max_array=2)
    real = Submission._submitit

    def slept(self: Submission, *args: Any) -> list[str]:
        jobs = real(self, *args)
        (rig.sweep.path / "jobs" / "submitting" / "2").write_text('{"host": "n2", "pid": 1}')
        return jobs

    monkeypatch.setattr(Submission, "_submitit", slept)
    with pytest.raises(IsorateError, match="another process has taken over"):
        rig.run([rig.make(f"p{n}") for n in range(6)])
    assert slurm.calls("sbatch") == 1
    assert (rig.sweep.path / "jobs" / "submitting" / "2").exists()


def test_a_job_does_not_inherit_the_job_that_submits_it(monkeypatch: Any) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    monkeypatch.setenv("SBATCH_PARTITION", "x")
    monkeypatch.setenv("SLURM_CONF", "/etc/here")
    env = outside_env()
    assert "SLURM_MEM_PER_NODE" not in env
    assert "SBATCH_PARTITION" not in env
    assert env["SLURM_CONF"] == "/etc/here"


def test_threads_are_set_before_python_starts(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run([rig.make("p")], threads=3)
    script = next((rig.sweep.path / "jobs").glob("*/*.sh")).read_text()
    assert script.index("export OMP_NUM_THREADS=3") < script.index("launchers.slurm.job.entrypoint")
