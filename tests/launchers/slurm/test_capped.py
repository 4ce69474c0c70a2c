"""One cap over all arrays of a sweep: their throttles add up to it, whatever jobs wait for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.slurm.cluster import queue
from launchers.slurm.cluster.commands import SlurmError
from launchers.slurm.resources.resources import Resources
from launchers.slurm.submission import capped
from launchers.slurm.submission.packing import Unit
from sweeper.errors import BadInput
from sweeper.results import launcher_record
from tests.launchers.fake_slurm import FakeSlurm
from tests.launchers.slurm_rig import SlurmRig


@pytest.fixture
def rig(tmp_path: Any) -> SlurmRig:
    return SlurmRig(tmp_path)


@st.composite
def plans(draw: Any) -> list[Unit]:
    """Up to 30 jobs, each waiting for some earlier ones, with up to three requests."""
    units: list[Unit] = []
    for n in range(draw(st.integers(1, 30))):
        parents = draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set()
        units.append(
            Unit(
                keys=(f"k{n}",),
                bulk=frozenset(),
                resources=Resources(timeout_min=draw(st.sampled_from([5, 10, 20]))),
                parents=frozenset(f"k{p}" for p in parents),
                seconds=draw(st.floats(0.1, 1000.0)),
            )
        )
    return units


@given(units=plans(), slots=st.integers(1, 12), largest=st.integers(3, 40))
@settings(max_examples=200, deadline=None)
def test_widths_are_the_cap_and_every_job_waits_for_its_parents(
    units: list[Unit], slots: int, largest: int
) -> None:
    try:
        made = capped.arrays(units, {}, slots=slots, largest=largest)
    except BadInput:
        assert len({unit.resources for unit in units}) > slots or len(units) > largest
        return
    widths = [array.width for array in made]
    assert sum(w for w in widths if w) == max(slots, len(made))
    assert all(len(array.units) <= largest for array in made)
    assert all(len({unit.resources for unit in array.units}) == 1 for array in made)
    found = {unit.keys: unit for array in made for unit in array.units}
    assert found.keys() == {unit.keys for unit in units}
    for number, array in enumerate(made):
        for element, (unit, edges) in enumerate(zip(array.units, array.waits, strict=True)):
            above = {made[e.array].units[e.element].keys[0] for e in edges}  # type: ignore[index]
            assert above == unit.parents
            assert all(e.array != number or (e.element or 0) < element for e in edges)


def test_what_earlier_jobs_hold_is_taken_off_or_their_end_is_waited_for() -> None:
    small = Resources(timeout_min=5)
    root = Unit(keys=("r",), bulk=frozenset(), resources=small, parents=frozenset(), seconds=1.0)
    child = Unit(
        keys=("c",), bulk=frozenset(), resources=small, parents=frozenset({"r"}), seconds=1.0
    )
    (array,) = capped.arrays([root, child], {}, slots=5, largest=9, running=["7_0", "7_1"])
    assert array.width == 3
    assert array.waits[0] == ()
    (array,) = capped.arrays([root, child], {}, slots=2, largest=9, running=["7_0", "7_1"])
    assert array.width == 2
    assert [(edge.job, edge.any) for edge in array.waits[0]] == [("7_0", True), ("7_1", True)]
    assert [(edge.job, edge.array) for edge in array.waits[1]] == [("", 0)]


def test_a_grid_under_a_cap_is_one_array_and_runs_in_order(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = rig.grid(pruned=3, quantized=3, tasks=1)
    rig.run(stages, array_parallelism=2, pack="stage")
    arrays = {job.split("_")[0] for job in slurm.jobs if "_" in job}
    assert len(arrays) == 1
    throttled = {e["options"]["array"] for j, e in slurm.jobs.items() if "_" in j}
    assert throttled == {f"0-{len(stages) - 1}%2"}
    parents = [e["options"].get("dependency", "") for j, e in slurm.jobs.items() if "_" in j]
    assert sum(not p for p in parents) == 3, "the pruned models wait for nothing"
    assert not any("hold" in e["options"] for e in slurm.jobs.values())
    slurm.work()
    assert rig.done(stages)
    assert len(rig.runs()) == len(stages)


def test_what_rests_on_a_killed_job_is_blocked_and_repaired(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    stages = rig.grid(pruned=2, quantized=2, tasks=1)
    rig.run(stages, array_parallelism=2, pack="stage")
    first = rig.state(stages[0]).job
    slurm.end(first, "NODE_FAIL")
    slurm.ready()
    state = rig.state(stages[1])
    assert (state.state, state.cause) == ("blocked", "blocked")
    slurm.work()
    assert rig.done(stages)
    assert first not in {rig.state(stage).job for stage in stages}


def test_more_requests_than_places_are_refused() -> None:
    units = [
        Unit(
            keys=(str(n),),
            bulk=frozenset(),
            resources=Resources(timeout_min=5 + n),
            parents=frozenset(),
            seconds=1.0,
        )
        for n in range(3)
    ]
    with pytest.raises(BadInput, match=r"array_parallelism=2: jobs ask for 3 .*pack=pull"):
        capped.arrays(units, {}, slots=2, largest=9)


def test_an_order_that_slurm_does_not_take_leaves_nothing(slurm: FakeSlurm, rig: SlurmRig) -> None:
    stages = rig.grid(pruned=1, quantized=1, tasks=1)
    slurm.set(deaf=["1_3"])
    with pytest.raises(SlurmError, match=r"1 jobs were not given what they wait for \(1_3\)"):
        rig.run(stages, array_parallelism=2, pack="stage")
    live = [j for j, e in slurm.jobs.items() if e["state"] == "PENDING" and "_" in j]
    assert live == []
    slurm.set(deaf=[])
    rig.run(stages, array_parallelism=2, pack="stage")
    slurm.work()
    assert rig.done(stages)


def test_a_submission_that_died_before_it_let_go_is_cleared_away(
    slurm: FakeSlurm, rig: SlurmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launchers.slurm.submission import ties

    stages = rig.grid(pruned=1, quantized=1, tasks=1)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ties, "tie", dies)
        with pytest.raises(KeyboardInterrupt):
            rig.run(stages, array_parallelism=2, pack="stage")
    left = queue.unanswered(launcher_record.submissions(rig.sweep.path))
    assert len(left) == 1
    monkeypatch.setattr("launchers.slurm.reliable_status._LAG_S", 0.0)
    rig.run(stages, array_parallelism=2, pack="stage")
    slurm.work()
    assert rig.done(stages)
    assert len(rig.runs()) == len(stages)


def test_under_a_limit_on_submission_what_waits_for_the_rest_comes_later(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    stages = rig.grid(pruned=2, quantized=3, tasks=2)
    slurm.set(max_submit=8, told=False)
    rig.run(stages, array_parallelism=2, pack="stage")
    assert sum(e["state"] == "PENDING" for e in slurm.jobs.values()) <= 8
    slurm.work()
    assert rig.done(stages)
    assert len(rig.runs()) == len(stages)
