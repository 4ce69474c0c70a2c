"""A busy, strict, shared cluster at the process boundary: nothing cancelled or counted wrongly."""

from __future__ import annotations

import getpass
import json
import logging
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from isorate.overrides import override
from launchers import leases
from launchers.leases import Holder
from launchers.slurm import records
from launchers.slurm.cluster.commands import SlurmError, is_transient
from launchers.slurm.cluster.nodes import parse
from launchers.slurm.resources.environment import with_environment
from launchers.slurm.submission.executor import job_id
from launchers.slurm.submission.submit import largest_array
from sweeper.errors import BadInput
from sweeper.planning import chosen_launcher
from sweeper.results import launcher_record
from tests.launchers.fake_slurm import FakeSlurm
from tests.launchers.slurm_rig import SlurmRig


@pytest.fixture
def rig(tmp_path: Path) -> SlurmRig:
    return SlurmRig(tmp_path)


def work_jobs(slurm: FakeSlurm) -> dict[str, Any]:
    return {job: e for job, e in slurm.jobs.items() if not e["name"].endswith("-round")}


def edit_record(rig: SlurmRig, **values: Any) -> None:
    (path,) = (p for p in (rig.sweep.path / "jobs").glob("*.json") if ".round" not in p.name)
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# --- the job's own number -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("NOTE: your last job 4711 wasted 90 %\nSubmitted batch job 12\n", "12"),
        ("Submitted batch job 12 on cluster two\nsee job 4711\n", "12"),
        ("12\n", "12"),
        ("12;two\n", "12"),
    ],
)
def test_only_sbatchs_own_line_names_the_job(said: str, number: str) -> None:
    assert job_id(said) == number
    assert job_id(said.encode()) == number


def test_a_wrappers_text_is_no_job(slurm: FakeSlurm, rig: SlurmRig) -> None:
    slurm.set(banner="NOTE: your last job 4711 wasted 90 % of its memory\n")
    parent = rig.make("p")
    rig.run([parent, rig.score("t", parent), rig.make("q"), rig.make("r", parents={"m": parent})])
    assert all(job.split("_")[0] in "1234" for job in slurm.jobs)
    recorded = records.elements(rig.sweep.path, launcher_record.submissions(rig.sweep.path))
    assert {element.job for element in recorded} == set(work_jobs(slurm))


def test_cancel_touches_only_jobs_of_this_name(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run([rig.make(f"p{n}") for n in range(2)])
    first, second = work_jobs(slurm)
    slurm.change(first, name="somebody's")
    done = rig.launcher().cancel(rig.sweep.path)
    assert first not in done.jobs
    assert second in done.jobs
    assert slurm.jobs[first]["state"] == "PENDING"
    assert f"job {first} is called somebody's" in done.left[0]


# --- limits on submission -------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
def test_what_fits_is_submitted_and_rounds_submit_the_rest(
    slurm: FakeSlurm, rig: SlurmRig, told: bool
) -> None:
    slurm.set(max_submit=5, told=told)
    parent = rig.make("p")
    stages = [parent, *(rig.make(f"q{n}", parents={"model": parent}) for n in range(9))]
    outcome = rig.run(stages, retry={"rounds": 0}, pack="stage")
    assert {o.state for o in outcome.stages.values()} == {"queued"}
    assert sum(entry["state"] == "PENDING" for entry in slurm.jobs.values()) <= 5
    assert any(entry["name"].endswith("-round") for entry in slurm.jobs.values())
    slurm.work()
    assert rig.done(stages)
    assert len(rig.runs()) == len(stages)
    assert len(rig.table().rounds) >= 3


def test_a_round_that_has_no_place_gets_one(slurm: FakeSlurm, rig: SlurmRig) -> None:
    """The limit is not told, and reached exactly: without a round nothing would follow."""
    slurm.set(max_submit=4, told=False)
    stages = [rig.make(f"p{n}") for n in range(4)]
    rig.run([*stages, *(rig.score(f"t{n}", s) for n, s in enumerate(stages))], pack="stage")
    names = [
        entry["name"] for e in [slurm.jobs] for entry in e.values() if entry["state"] == "PENDING"
    ]
    assert any(name.endswith("-round") for name in names)
    slurm.work()
    assert rig.done(stages)


def test_a_plan_tells_its_waves_and_no_place_is_an_error(slurm: FakeSlurm, rig: SlurmRig) -> None:
    slurm.set(max_submit=4)
    stages = [rig.make(f"p{n}") for n in range(7)]
    shape = rig.launcher().shape(stages, rig.store)
    assert (shape.jobs, shape.waves) == (7, 3)
    assert "Waves:  3 (MaxSubmitJobs of account lab is 4, 0 are queued or running)" in shape.text()
    other = SlurmRig(rig.store.home.parent / "other")
    other.run([other.make(f"x{n}") for n in range(3)])
    with pytest.raises(SlurmError, match=r"MaxSubmitJobs of account lab is 4, and 4 jobs"):
        rig.run(stages)
    assert rig.launcher().shape(stages, rig.store).text().count("no place now") == 1


def test_each_stage_has_rounds_of_its_own(slurm: FakeSlurm, rig: SlurmRig) -> None:
    bad, late = rig.make("bad"), rig.make("late")
    rig.run([bad, late], retry={"rounds": 2})
    slurm.start(rig.state(late).job)
    for _ in range(3):
        slurm.end(rig.state(bad).job, "NODE_FAIL")
        slurm.round()
    assert rig.state(bad).cause == "node failure"
    more = rig.make("more")
    rig.run([bad, late, more], retry={"rounds": 2})
    for _ in range(2):
        slurm.end(rig.state(more).job, "NODE_FAIL")
        slurm.start(rig.state(bad).job)
        slurm.round()
        assert rig.state(more).live


# --- a person's scancel ---------------------------------------------------------------------


@pytest.mark.parametrize("no_accounting", [False, True])
def test_an_element_that_was_cancelled_while_it_waited_is_left_alone(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: Any, no_accounting: bool
) -> None:
    monkeypatch.setattr("launchers.slurm.reliable_status._LAG_S", 0.0)
    stages = [rig.make(f"p{n}") for n in range(3)]
    rig.run(stages)
    victim = rig.state(stages[1])
    slurm.set(no_accounting=no_accounting)
    whole = slurm.jobs
    whole[victim.job] |= {"state": "CANCELLED", "unaccounted": True}
    slurm.set(jobs=whole)
    assert (rig.state(stages[1]).cause, rig.state(stages[1]).again) == ("cancelled", False)
    slurm.work()
    assert not rig.store.is_done(stages[1])
    assert rig.done([stages[0], stages[2]])
    assert list(rig.table().rounds[-1]["given_up"]) == [stages[1]["key"]]
    rig.run(stages)
    slurm.work()
    assert rig.done(stages), "a new run tries it"


def test_a_controller_that_forgot_who_cancelled(slurm: FakeSlurm, rig: SlurmRig) -> None:
    parent = rig.make("p")
    stages = [parent, rig.make("q", parents={"model": parent}), rig.make("r")]
    rig.run(stages, pack="stage")
    slurm.end(rig.state(stages[2]).job, "CANCELLED", node="None assigned")
    assert rig.state(stages[2]).cause == "cancelled", "it waited for nobody"
    slurm.end(rig.state(stages[1]).job, "CANCELLED", node="None assigned")
    assert rig.state(stages[1]).cause == "cancelled", "what it waits for is well"
    slurm.end(rig.state(parent).job, "FAILED", code="1:0")
    assert rig.state(stages[1]).cause == "blocked"


# --- lost too soon --------------------------------------------------------------------------


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time()
    monkeypatch.setattr("launchers.slurm.status.time.time", lambda: now + seconds)


def test_the_queue_knows_better_than_accounting(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = rig.make("p")
    rig.run([stage])
    slurm.change(rig.state(stage).job, unaccounted=True)
    later(monkeypatch, 100_000)
    assert rig.state(stage).state == "queued"
    rig.run([stage])
    assert len(work_jobs(slurm)) == 1


def working_elsewhere(rig: SlurmRig, key: str, **who: Any) -> None:
    folder = leases.of_stage(rig.store.home, key)
    folder.mkdir(parents=True)
    holder = Holder(**{"host": "n7-abcdef", "pid": 1, "user": "alice", "job": "99", **who})
    (folder / "1").write_text(json.dumps(asdict(holder)))


def test_another_users_jobs_are_not_submitted_again(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PrivateData=jobs: neither squeue nor sacct shows them."""
    works, waits = rig.make("works"), rig.make("waits")
    rig.run([works, waits])
    edit_record(rig, user="alice")
    slurm.set(jobs={})
    later(monkeypatch, 100_000)
    working_elsewhere(rig, works["key"])
    assert rig.state(works).state == "running"
    assert "job 99 of alice on n7-abcdef gives signs of life" in rig.state(works).reason
    assert rig.state(waits).state == "queued"
    assert "alice submitted it" in rig.state(waits).reason
    rig.run([works, waits])
    assert slurm.jobs == {}
    left = rig.launcher().cancel(rig.sweep.path).left
    assert any("only alice can cancel them" in why for why in left)
    assert any(why.endswith("works on make of works") for why in left)


def test_what_another_sweep_works_on_is_waited_for(slurm: FakeSlurm, rig: SlurmRig) -> None:
    prune = rig.make("p")
    working_elsewhere(rig, prune["key"])
    outcome = rig.run([prune, rig.make("q", parents={"model": prune})])
    assert outcome.stages[prune["key"]].reason == "job 99 of alice on n7-abcdef works on it"
    (entry,) = work_jobs(slurm).values()
    assert entry["options"]["dependency"] == "afterok:99"


def test_a_heartbeat_that_stopped_is_no_life(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stage = rig.make("p")
    working_elsewhere(rig, stage["key"])
    then = time.time() - leases.EXPIRY_S - 60
    os.utime(leases.of_stage(rig.store.home, stage["key"]) / "1", (then, then))
    rig.run([stage])
    assert len(work_jobs(slurm)) == 1


def test_a_job_that_left_the_queue_is_not_alive_in_slow_accounting(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = rig.make("p")
    rig.run([stage])
    job = rig.state(stage).job
    working_elsewhere(rig, stage["key"], user=getpass.getuser(), job=job)
    slurm.change(job, state="RUNNING", user="alice")  # sacct has it, squeue has not
    assert rig.state(stage).state == "running", "its heartbeat"
    os.utime(leases.of_stage(rig.store.home, stage["key"]) / "1", (1, 1))
    later(monkeypatch, 1000)
    assert (rig.state(stage).state, rig.state(stage).again) == ("ended", True)


# --- the shell's own words ------------------------------------------------------------------


def test_the_shells_account_counts_where_the_configuration_says_none(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "other")
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    monkeypatch.setenv("SBATCH_QOS", "normal")
    monkeypatch.setenv("SBATCH_WCKEY", "paper")
    stage = rig.make("p")
    rig.run([stage], qos="high")
    first = slurm.jobs[rig.state(stage).job]["options"]
    assert {k: first[k] for k in ("account", "partition", "qos", "wckey")} == {
        "account": "other",
        "partition": "gpu",
        "qos": "high",
        "wckey": "paper",
    }
    assert launcher_record.submissions(rig.sweep.path)[0]["launcher"]["account"] == "other"
    for name in ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_WCKEY"):
        monkeypatch.delenv(name)
    slurm.end(rig.state(stage).job, "NODE_FAIL")
    slurm.round()
    again = slurm.jobs[rig.state(stage).job]["options"]
    assert {again["account"], again["wckey"]} == {"other", "paper"}, "rounds pass it on"


def test_inside_a_job_the_environment_is_that_jobs(caplog: pytest.LogCaptureFixture) -> None:
    env = {"SBATCH_ACCOUNT": "x", "SLURM_CLUSTERS": "two", "SBATCH_EXCLUSIVE": "1"}
    assert with_environment({}, {**env, "SLURM_JOB_ID": "1"}) == {}
    with caplog.at_level(logging.WARNING):
        assert with_environment({"account": "mine"}, env) == {"account": "mine", "clusters": "two"}
    assert "SBATCH_EXCLUSIVE of this shell is not passed on" in caplog.text


# --- what a site says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["Unexpected missing socket error", "Connection reset by peer", "Broken pipe"]
)
def test_transient_answers_are_waited_for(said: str) -> None:
    assert is_transient(f"sbatch: error: Batch job submission failed: {said}")


def test_the_queue_says_why_a_job_waits(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stage = rig.make("p")
    rig.run([stage])
    slurm.change(rig.state(stage).job, queue_reason="JobHeldUser")
    assert "is held" in rig.state(stage).reason


def test_max_array_tasks_counts(slurm: FakeSlurm, rig: SlurmRig) -> None:
    slurm.set(max_array="1001\nSchedulerParameters = bf_continue,max_array_tasks=3,x=1")
    assert largest_array(0.0, lambda _: None) == 3


SITE = (
    "gpu*|{up}|1-00:00:00|8|8192|gpu:a10:2|a10|4|{state}\n"
    "big|up|1-00:00:00|8|8192|gpu:a100:2|a100|4|idle"
)


def test_a_site_that_takes_no_jobs_or_has_its_nodes_away(slurm: FakeSlurm, rig: SlurmRig) -> None:
    slurm.set(sinfo=SITE.format(up="inact", state="idle"))
    with pytest.raises(BadInput, match=r"partition=gpu: it takes no jobs just now \(inact\)"):
        rig.run([rig.make("p")])
    slurm.set(sinfo=SITE.format(up="up", state="drained*"))
    assert not parse(SITE.format(up="up", state="down~"))[0].usable
    rig.run([rig.make("p")], gpus_per_node=1, gpu_type="a10")
    assert "all nodes for a10 are down or drained: jobs wait until some are back" in rig.ear.said
    slurm.set(sinfo=SITE.format(up="down", state="idle"))
    rig.run([rig.make("q")])
    assert any("partition gpu is down" in message for message in rig.ear.said)


def test_names_comment_and_mail(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run([rig.make("25% + 4bit"), rig.make("dense")], mail_user="me@lab", mail_type="END")
    last, *_ = reversed(slurm.jobs.values())
    first, *_ = slurm.jobs.values()
    assert first["name"].startswith(("stub:25+4bit+1-", "stub:dense+1-"))
    assert last["name"].startswith("stub-")
    for entry in (first, last):
        assert entry["options"]["comment"] == "isorate stub"
        assert entry["options"]["mail-user"] == "me@lab"
    rig.run([rig.make("other")], name="mine", comment="own")
    *_, job = work_jobs(slurm).values()
    assert job["name"].startswith("mine:other-")
    assert job["options"]["comment"] == "own"


# --- values for Hydra -----------------------------------------------------------------------

TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc"))) | st.text(
    st.sampled_from("\\'\"${}ab ,=%#()[]:")
)


@given(TEXT)
def test_every_value_arrives_at_hydra_as_it_is(value: str) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([override("home", value)])
    assert not parsed.is_sweep_override()
    config = OmegaConf.create({"home": ""})
    OmegaConf.update(config, "home", parsed.value())
    assert config.home == value


def test_a_sweep_remembers_its_launcher(tmp_path: Path) -> None:
    words = ["--config-dir", "/my site", "hydra/launcher=site", "hydra.launcher.qos=high"]
    assert chosen_launcher.remember(tmp_path, words) == ""
    assert chosen_launcher.remember(tmp_path, words) == ""
    said = chosen_launcher.remember(tmp_path, ["hydra/launcher=local"])
    assert "was run with hydra/launcher=site before, now with hydra/launcher=local" in said
    assert "--config-dir '/my site' hydra/launcher=site hydra.launcher.qos=high" in said


# --- equal evaluations ----------------------------------------------------------------------


def test_repeated_evaluations_share_no_job_with_the_dense_one(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    """In one job they would share a node, and the noise floor would say nothing of nodes."""
    model = rig.make("dense")
    again = [rig.score("dense", model, rerun=n) for n in (1, 2)]
    stages = [model, rig.score("dense", model), *again, rig.make("other")]
    rig.run(stages, startup_s=20.0, array_parallelism=1)
    jobs = {stage["key"]: rig.state(stage).job for stage in stages}
    assert len({jobs[stage["key"]] for stage in again}) == 2
    assert len(set(jobs.values())) == 3, "the rest shares one"
    slurm.work()
    assert rig.done(stages)
