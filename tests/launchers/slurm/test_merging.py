"""Which cells share a job: fewer starts where that ends sooner, and never a lost or late stage."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.slurm.resources.resources import Resources
from launchers.slurm.submission.merging import merge, wall_seconds
from launchers.slurm.submission.packing import FULL, Unit


def unit(key: str, seconds: float, *parents: str, **asked: object) -> Unit:
    resources = Resources(**({"timeout_min": 60} | asked))  # type: ignore[arg-type]
    return Unit(
        keys=(key,),
        bulk=frozenset({key}),
        resources=resources,
        parents=frozenset(parents),
        seconds=seconds,
    )


def grid(seconds: float, pruned: int = 3, bits: int = 4) -> list[Unit]:
    """A dense cell, pruned checkpoints, and quantized cells of each."""
    units = [unit("dense", seconds)]
    units += [unit(f"p{n}", seconds) for n in range(pruned)]
    return units + [unit(f"p{n}q{b}", seconds, f"p{n}") for n in range(pruned) for b in range(bits)]


def held(units: Sequence[Unit]) -> list[tuple[str, ...]]:
    return [one.keys for one in units]


def test_short_cells_share_jobs_when_few_run_at_a_time() -> None:
    units = grid(2.0, pruned=1, bits=2)
    found = merge(units, slots=2, startup_s=20.0)
    assert held(found) == [("p0", "p0q0", "p0q1"), ("dense",)]
    assert wall_seconds(found, 2, 20.0) == 26.0
    assert wall_seconds(units, 2, 20.0) == 44.0


def test_one_slot_needs_one_start() -> None:
    (job,) = merge(grid(2.0), slots=1, startup_s=20.0)
    assert len(job.keys) == 16
    assert job.seconds == 32.0
    assert job.bulk == set(job.keys)
    assert not job.parents


@pytest.mark.parametrize(("seconds", "slots"), [(3600.0, 2), (100.0, 64)])
def test_long_cells_and_many_slots_keep_a_job_each(seconds: float, slots: int) -> None:
    units = grid(seconds)
    assert held(merge(units, slots=slots, startup_s=20.0)) == held(units)


def test_without_a_start_to_save_nothing_is_shared() -> None:
    units = grid(0.1)
    assert held(merge(units, slots=1, startup_s=0.0)) == held(units)


def test_what_asks_for_other_places_shares_nothing() -> None:
    units = [unit(f"c{n}", 1.0, partition=f"part{n % 2}") for n in range(4)]
    found = merge(units, slots=1, startup_s=20.0)
    assert sorted(held(found)) == [("c0", "c2"), ("c1", "c3")]


def test_a_shared_job_fits_its_time_limit() -> None:
    units = [unit(f"c{n}", 20.0, timeout_min=1) for n in range(9)]
    for job in merge(units, slots=1, startup_s=20.0):
        assert job.seconds <= FULL * 60


def test_those_who_wait_for_a_job_of_an_earlier_submission_stay_apart() -> None:
    units = [unit("a", 1.0, "earlier"), unit("b", 1.0), unit("c", 1.0, "earlier")]
    found = merge(units, slots=1, startup_s=20.0)
    assert {one.keys: one.parents for one in found} == {
        ("a", "c"): frozenset({"earlier"}),
        ("b",): frozenset(),
    }


@st.composite
def forests(draw: st.DrawFn) -> list[Unit]:
    units: list[Unit] = []
    for n in range(draw(st.integers(1, 14))):
        above = draw(st.lists(st.integers(0, n - 1), max_size=2, unique=True)) if n else []
        place = draw(st.sampled_from(["a", "a", "a", "b"]))
        parents = [f"s{parent}" for parent in above]
        units.append(unit(f"s{n}", draw(st.floats(0.1, 200.0)), *parents, partition=place))
    return units


@settings(max_examples=80, deadline=None)
@given(forests(), st.integers(1, 5), st.floats(0.0, 60.0))
def test_every_stage_once_and_after_its_parents(
    units: list[Unit], slots: int, startup_s: float
) -> None:
    found = merge(units, slots=slots, startup_s=startup_s)
    order = [key for one in found for key in one.keys]
    assert sorted(order) == sorted(key for one in units for key in one.keys)
    wanted = {one.keys[0]: one.parents for one in units}
    seen: set[str] = set()
    for one in found:
        assert one.parents <= seen, "a job is submitted after those it waits for"
        for key in one.keys:
            assert wanted[key] <= seen | set(one.keys[: one.keys.index(key)])
        seen |= set(one.keys)
    assert wall_seconds(found, slots, startup_s) <= wall_seconds(units, slots, startup_s)
