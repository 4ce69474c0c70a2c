"""Workers that pull stages from a sweep: their order, their deaths, what is left, as SLURM jobs."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from launchers import leases, pull
from launchers.slurm import records
from launchers.slurm.job import pull_job
from launchers.slurm.job.attempt import Journal, Place
from launchers.slurm.resources.resources import Resources
from launchers.slurm.submission import pulling
from sweeper.results import launcher_record
from sweeper.store.store import Spec
from tests.launchers.fake_slurm import FakeSlurm
from tests.launchers.slurm_rig import SlurmRig

ROOT = Path(__file__).parents[3]
WORK = """
import sys
from pathlib import Path
from launchers.slurm.job import pull_job
from launchers.slurm.job.attempt import Place
from sweeper.planning.sweep import Sweep
sweep = Sweep(Path(sys.argv[1]), "stub")
stages = sweep.load()["stages"]
pull_job.make(sweep, dict.fromkeys(stages, 1.0), Place.anywhere(), "s", device="cpu",
              stages="tests.stubs.stages", tries=3, workers=2).run()
"""


@pytest.fixture
def rig(tmp_path: Path) -> SlurmRig:
    return SlurmRig(tmp_path)


def worker(rig: SlurmRig) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORK, str(rig.store.home)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def here(rig: SlurmRig, stages: list[Any], **options: Any) -> Any:
    given = {"device": "cpu", "stages": "tests.stubs.stages", "tries": 3, **options}
    keys = {stage["key"]: 1.0 for stage in stages}
    found = pull_job.make(rig.sweep, keys, Place.anywhere(), "s", **given)
    found.run()
    return found


# --- workers ----------------------------------------------------------------------------------


def test_workers_share_a_sweep_and_do_nothing_twice(rig: SlurmRig) -> None:
    stages = rig.grid(sleep=0.1)
    rig.record(stages)
    processes = [worker(rig) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert rig.done(stages)
    assert rig.runs() == sorted(stage["label"] for stage in stages)
    hosts = {a["job"] for s in stages for a in records.attempts(rig.sweep.path, s["key"])}
    assert len(hosts) == 2, "both took part"


def test_a_killed_workers_stage_is_taken_up_by_the_next(rig: SlurmRig) -> None:
    first = rig.make("p", sleep=1.5)
    stages = [first, *(rig.make(f"q{n}", parents={"model": first}) for n in range(2))]
    rig.record(stages)
    victim, other = worker(rig), worker(rig)
    until = time.monotonic() + 30
    while not rig.runs():
        assert time.monotonic() < until
        time.sleep(0.01)
    holder = leases.holder(leases.of_stage(rig.store.home, first["key"]))
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    left = other if holder.pid == victim.pid else victim
    assert left.wait(60) == 0
    (victim if left is other else other).wait()
    assert rig.done(stages)
    assert rig.runs() == ["p", "p", "q0", "q1"]


def test_children_of_what_was_just_made_come_first(rig: SlurmRig) -> None:
    stages = rig.grid(pruned=3, quantized=1, tasks=1)
    rig.record(stages)
    done = here(rig, stages).done
    by_key = {stage["key"]: stage["label"] for stage in stages}
    trees = [by_key[key][:2] for key in done]
    changes = sum(one != two for one, two in itertools.pairwise(trees))
    assert changes == 2, "a tree of checkpoints is finished before the next one is begun"


def test_a_failed_cell_and_a_bug_stop_what_rests_on_them_only(rig: SlurmRig) -> None:
    bad, bug, good = rig.make("bad", do="fail"), rig.make("bug", do="bug"), rig.make("good")
    stages = [bad, bug, good, *(rig.score(f"t{s['label']}", s) for s in (bad, bug, good))]
    rig.record(stages)
    found = here(rig, stages)
    assert rig.store.is_done(stages[-1])
    assert len(found.ended) == 4
    assert rig.runs() == ["bad", "bug", "good", "tgood"]
    assert here(rig, stages).done == [], "another worker does not repeat the bug"
    assert rig.runs() == ["bad", "bug", "good", "tgood"]


def test_a_passing_trouble_is_tried_again_but_not_for_ever(rig: SlurmRig) -> None:
    stages = [
        rig.make("once", do="disk", once=str(rig.journal) + ".once"),
        rig.make("x", do="disk"),
    ]
    rig.record(stages)
    found = here(rig, stages)
    assert rig.runs() == ["once", "once", "x", "x", "x"]
    assert found.ended[stages[1]["key"]] == "it was begun 3 times"


def test_a_worker_takes_only_its_own_and_leaves_when_its_time_is_over(rig: SlurmRig) -> None:
    mine, other = rig.make("mine"), rig.make("other")
    rig.record([mine, other])
    assert here(rig, [mine]).done == [mine["key"]]
    assert here(rig, [other], until=time.monotonic()).done == []
    assert not rig.store.is_done(other)


# --- as SLURM jobs ----------------------------------------------------------------------------


def test_one_array_without_dependencies_and_a_round(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = rig.grid(pruned=4, quantized=4, tasks=2)
    outcome = rig.run(stages, pack="pull", array_parallelism=3)
    assert {o.state for o in outcome.stages.values()} == {"queued"}
    assert slurm.calls("sbatch") == 2
    array = [e["options"] for e in slurm.jobs.values() if "array" in e["options"]]
    assert {options["array"] for options in array} == {"0-2%3"}
    assert not any("dependency" in options for options in array)
    assert {s.state for s in rig.table().stages.values()} == {"queued"}
    assert rig.run(stages, pack="pull").stages.keys() == outcome.stages.keys()
    assert slurm.calls("sbatch") == 2, "nothing is submitted twice"
    slurm.work()
    assert rig.done(stages)
    assert len(rig.runs()) == len(stages)
    assert rig.table().rounds[-1]["resubmitted"] == []
    manifest = rig.store.manifest(stages[0])
    assert manifest is not None
    assert manifest["slurm"]["job"] in slurm.jobs


def test_two_thousand_cells_in_one_call(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = [rig.make(f"c{n}", estimate_s=60.0) for n in range(2000)]
    rig.run(stages, pack="pull", array_parallelism=16, timeout_min=1440)
    assert slurm.calls("sbatch") == 2
    assert len(slurm.jobs) == 17


def test_workers_that_left_in_time_are_followed_by_others(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [rig.make(f"p{n}") for n in range(4)]
    real = pull_job.make

    def short(*args: Any, **options: Any) -> Any:
        made = real(*args, **options)
        carry_out = made.attempt

        def then_leave(spec: Spec, bulk: bool) -> Any:
            made.until = 0.0
            return carry_out(spec, bulk)

        made.attempt = then_leave
        return made

    monkeypatch.setattr(pull_job, "make", short)
    rig.run(stages, pack="pull", array_parallelism=1, retry={"rounds": 1})
    slurm.work()
    assert rig.done(stages)
    assert len(rig.table().rounds) == 4, "what nobody had begun uses up no tries"


def test_killed_workers_and_those_that_cannot_start(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = [rig.make("a"), rig.make("b")]
    rig.run(stages, pack="pull", array_parallelism=1, retry={"rounds": 1})
    job = next(iter(slurm.jobs))
    slurm.end(job, "FAILED", code="1:0")
    assert {rig.state(stage).cause for stage in stages} == {"python error"}
    slurm.work()
    assert len(rig.table().rounds) == 1, "what cannot start is not started again by itself"
    rig.run(stages, pack="pull", array_parallelism=1)
    slurm.end(rig.state(stages[0]).job, "NODE_FAIL")
    slurm.work()
    assert rig.done(stages)


def asked(slurm: FakeSlurm) -> list[str]:
    """The memory that each array asks for, in their order."""
    firsts = [e for j, e in slurm.jobs.items() if not e["name"].endswith("-round")]
    return list(dict.fromkeys(str(entry["options"]["mem"]) for entry in firsts))


def submission(rig: SlurmRig) -> str:
    """The name of the last one."""
    return str(launcher_record.submissions(rig.sweep.path)[-1]["submission"])


def test_what_ran_out_of_memory_waits_for_a_round_that_asks_for_more(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    once = str(rig.journal) + ".once"
    stages = [rig.make("big", do="memory", once=once), rig.make("a"), rig.make("b")]
    rig.run(stages, pack="pull", array_parallelism=2, mem_gb=1)
    slurm.work()
    assert rig.done(stages)
    assert rig.runs() == ["a", "b", "big", "big"], "not by an equal job"
    assert asked(slurm) == ["1024M", "1536M"]
    assert rig.table().rounds[0]["resubmitted"] == [stages[0]["key"]]


def test_a_worker_that_memory_killed_kills_no_other(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = [rig.make("big"), rig.make("a")]
    rig.run(stages, pack="pull", array_parallelism=2, mem_gb=1, retry={"rounds": 1})
    first, second, _ = slurm.jobs
    place = Place(job=first, restart=0, node="n1", partition="gpu", gpus=0)
    Journal(stages[0], rig.sweep, place, submission(rig))  # it began, and says no more
    slurm.end(first, "OUT_OF_MEMORY", code="0:125")
    assert "the next round asks for more" in rig.state(stages[0]).reason
    slurm.start(second)
    assert rig.runs() == ["a"]
    assert not rig.store.is_done(stages[0])
    slurm.work()
    assert rig.done(stages)
    assert asked(slurm) == ["1024M", "1536M"]


def test_a_killed_worker_that_had_memory_is_followed_at_once(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    stages = [rig.make("x"), rig.make("a")]
    rig.run(stages, pack="pull", array_parallelism=2, mem_gb=1)
    first, second, _ = slurm.jobs
    place = Place(job=first, restart=0, node="n1", partition="gpu", gpus=0)
    Journal(stages[0], rig.sweep, place, submission(rig))
    slurm.end(first, "FAILED", code="0:9")
    slurm.start(second)
    assert rig.done(stages)


# --- evaluations that are repeated ------------------------------------------------------------


def evaluations(rig: SlurmRig, again: int) -> list[Any]:
    """A model that is evaluated, and evaluated again so many times, as planning makes them."""
    dense = rig.make("dense")
    marks = [{}, *({"rerun": n} for n in range(1, again + 1))]
    scores = [rig.score("t", dense, **mark) for mark in marks]
    return [dense, *({**one, "kind": "evaluate"} for one in scores)]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_repeated_evaluation_is_left_to_other_nodes_for_a_while(
    rig: SlurmRig, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    dense, first, again = evaluations(rig, 1)
    others = rig.make("others", estimate_s=99.0)
    order: list[str] = []

    def carry_out(spec: Spec, bulk: bool) -> None:
        order.append(spec["key"])

    worker = pull.Worker(
        specs={s["key"]: s for s in (dense, again, first, others)},
        mine={dense["key"], first["key"], again["key"]},
        store=rig.store,
        workers=2,
        attempt=carry_out,
        hopeless=lambda key: "",
        until=time.monotonic() + 0.5,
    )
    holder = leases.Holder(**({"host": "node2"} if elsewhere else {}))
    monkeypatch.setattr(leases, "holder", lambda *_: holder)
    monkeypatch.setattr(pull, "_LOOK_S", 0.01)
    monkeypatch.setattr(pull, "_SPREAD_S", 1.0)
    here = socket.gethostname()
    monkeypatch.setattr(worker, "_host", lambda spec: here if spec["key"] in order else "")
    monkeypatch.setattr(worker, "_is_there", lambda task: task.key in order)
    worker.run()
    both = {first["key"], again["key"]}
    assert order[0] == dense["key"]
    assert len(both & set(order)) == (1 if elsewhere else 2)
    worker.until = time.monotonic() + 5.0
    worker.run()
    assert both < set(order), "nobody came for it"


def test_other_work_comes_before_the_repetition(rig: SlurmRig, monkeypatch: Any) -> None:
    dense, first, again = evaluations(rig, 1)
    rest = [rig.score(f"s{n}", dense, estimate_s=0.1) for n in range(3)]
    stages = [dense, first, {**again, "estimate_s": 50.0}, *rest]
    specs = {stage["key"]: stage for stage in stages}
    worker = pull.Worker(
        specs=specs,
        mine=specs.keys(),
        store=rig.store,
        workers=1,
        attempt=lambda spec, bulk: None,
        hopeless=lambda key: "",
    )
    monkeypatch.setattr(worker, "_host", lambda spec: socket.gethostname())
    schedule = worker._schedule()
    schedule.start(dense["key"])
    schedule.finish(dense["key"])
    ranked = [task.key for task, _ in worker._spread(schedule.ranked("", 1))]
    assert set(ranked[-2:]) == {first["key"], again["key"]}


def test_a_persons_scancel_is_not_undone(slurm: FakeSlurm, rig: SlurmRig, monkeypatch: Any) -> None:
    monkeypatch.setattr("launchers.slurm.reliable_status._LAG_S", 0.0)
    stages = [rig.make("a"), rig.make("b")]
    rig.run(stages, pack="pull", array_parallelism=2)
    done = rig.launcher().cancel(rig.sweep.path)
    assert len(done.jobs) == 3
    assert {rig.state(stage).cause for stage in stages} == {"cancelled"}
    rig.run(stages, pack="pull")
    slurm.work()
    assert rig.done(stages)


def test_elements_are_as_many_as_end_the_work_sooner(rig: SlurmRig) -> None:
    def planned(stages: list[Any], slots: int, minutes: int = 60, **own: Resources) -> Any:
        specs = {stage["key"]: stage for stage in stages}
        small = Resources(timeout_min=minutes)
        return pulling.arrays(
            specs,
            dict.fromkeys(specs, False),
            lambda s: own.get(s["label"], small),
            slots=slots,
            startup_s=0.0,
        )

    chain = [rig.make("a", estimate_s=100.0)]
    chain.append(rig.score("b", chain[0], estimate_s=100.0))
    (one,) = planned(chain, 256)
    assert (len(one.units), one.width) == (1, 1)
    wide = [rig.make(f"w{n}", estimate_s=600.0) for n in range(20)]
    (array,) = planned(wide, 4)
    assert (len(array.units), array.width) == (5, 4), "0.8 of an hour each, four at a time"
    gpu = Resources(timeout_min=60, gpus_per_node=1)
    four = Resources(timeout_min=60, gpus_per_node=4)
    found = planned(wide, 4, w0=gpu, w1=four)
    assert [array.resources.gpus for array in found] == [4, 1]
    assert sum(len(array.pulls) for array in found) == 20
