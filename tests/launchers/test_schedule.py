"""The schedule on random plans: each stage once, parents first, the longest chain not late."""

from __future__ import annotations

import heapq
import random
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.schedule import Schedule, Task, closure, estimate, missing
from tests.stubs.stages import spec

Spec = dict[str, Any]


@st.composite
def plans(draw: st.DrawFn) -> list[Spec]:
    """Random DAGs of up to 14 stages, in random order."""
    stages: list[Spec] = []
    for n in range(draw(st.integers(1, 14))):
        parents = draw(st.lists(st.sampled_from(stages), max_size=2)) if stages else []
        named = {f"r{i}": p for i, p in enumerate({p["key"]: p for p in parents}.values())}
        if "r0" in named:
            named["model"] = named.pop("r0")
        seconds = draw(st.sampled_from([1.0, 2.0, 5.0, 30.0]))
        stages.append(spec(name=n, parents=named, estimate_s=seconds))
    return draw(st.permutations(stages))


def schedule_of(stages: list[Spec], present: Any = lambda spec, bulk: False) -> Schedule:
    return Schedule(closure(stages), missing(stages, present))


class Run(NamedTuple):
    """One task in a simulation."""

    start: float
    stop: float
    task: Task
    seat: int


def simulate(schedule: Schedule, workers: int) -> tuple[float, list[Run]]:
    """Carry a schedule out with exact estimates: its length, and each task with its times."""
    now, busy, log = 0.0, [], []
    idle = [(n, "") for n in range(workers)]
    holding: dict[int, str] = {}
    while schedule.open:
        waiting = []
        for seat, held in idle:
            others = frozenset(makes for s, makes in holding.items() if s != seat)
            if task := schedule.take(held, workers, others):
                holding[seat] = task.makes
                heapq.heappush(busy, (now + task.estimate_s, seat, task.key))
                log.append(Run(now, now + task.estimate_s, task, seat))
            else:
                waiting.append((seat, held))
        now, seat, key = heapq.heappop(busy)
        schedule.finish(key)
        idle = sorted([*waiting, (seat, schedule.tasks[key].makes)])
    return now, log


def bounds(stages: list[Spec], workers: int) -> tuple[float, float]:
    """The longest chain, and the work that each worker gets at best."""
    schedule = schedule_of(stages)
    chain = max(task.chain_s for task in schedule.tasks.values())
    return chain, sum(map(estimate, stages)) / workers


@given(plans(), st.integers(1, 4))
def test_each_stage_once_and_parents_before_children(stages: list[Spec], workers: int) -> None:
    _, log = simulate(schedule_of(stages), workers)
    assert sorted(r.task.key for r in log) == sorted(s["key"] for s in stages)
    end = {r.task.key: r.stop for r in log}
    for r in log:
        assert all(end[key] <= r.start for key in _parents(r.task))


@given(plans(), st.integers(1, 4))
def test_no_worker_is_idle_while_a_stage_is_ready(stages: list[Spec], workers: int) -> None:
    length, _ = simulate(schedule_of(stages), workers)
    chain, share = bounds(stages, workers)
    # Graham (1969), theorem 1: any schedule without idling is at most this long.
    assert length <= share + chain * (1 - 1 / workers) + 1e-6


@given(plans(), st.integers(1, 4), st.text("ab", max_size=1))
def test_the_longest_chain_comes_first_unless_it_can_wait(
    stages: list[Spec], workers: int, held: str
) -> None:
    schedule = schedule_of(stages)
    unstarted = sum(map(estimate, stages))
    while ready := schedule.ready:
        longest = max(task.chain_s for task in ready)
        task = schedule.take(held, workers)
        assert task is not None
        if task.chain_s < longest:
            assert task.estimate_s + longest <= unstarted / workers
        unstarted -= task.estimate_s
        schedule.finish(task.key)


@given(plans(), st.data())
def test_giving_up_blocks_exactly_the_descendants(stages: list[Spec], data: Any) -> None:
    schedule = schedule_of(stages)
    lost = data.draw(st.sampled_from(stages))
    blocked = [s["key"] for s in schedule.give_up(lost["key"])]
    below = {s["key"] for s in stages if lost["key"] in closure([s])} - {lost["key"]}
    assert sorted(blocked) == sorted(below)
    _, log = simulate(schedule, 2)
    assert {r.task.key for r in log} == {s["key"] for s in stages} - below - {lost["key"]}


@given(plans(), st.data())
def test_only_what_is_missing_and_what_it_reads_runs(stages: list[Spec], data: Any) -> None:
    keys = [s["key"] for s in stages]
    done = data.draw(st.sets(st.sampled_from(keys)))
    dropped = data.draw(st.sets(st.sampled_from(keys)))
    gone = set(keys) - done
    needed = missing(stages, lambda s, bulk: s["key"] not in gone | (dropped if bulk else set()))
    read = {p["key"] for s in stages if s["key"] in needed for p in s["parents"].values()}
    assert set(needed) == gone | (read & dropped)


def grid(rng: random.Random, prunes: int = 8, bits: int = 4, tasks: int = 4) -> list[Spec]:
    """A plan like the real ones: conversion, prunings, quantizations of each, scores of all."""
    root = spec(name="convert", estimate_s=10)
    pruned = [
        spec(name=f"p{n}", parents={"model": root}, estimate_s=rng.uniform(50, 90))
        for n in range(prunes)
    ]
    quantized = [
        spec(name=f"{p['key']}{b}", parents={"model": p}, estimate_s=rng.uniform(60, 110))
        for p in [root, *pruned]
        for b in range(bits)
    ]
    scores = [
        spec("score", name=f"{c['key']}{t}", parents={"model": c}, estimate_s=rng.uniform(5, 20))
        for c in [root, *pruned, *quantized]
        for t in range(tasks)
    ]
    return [root, *pruned, *quantized, *scores]


def at_once(log: list[Run]) -> int:
    """The most checkpoints that lie on the disk at a time if each goes after its last reader."""
    last: dict[str, float] = {}
    for r in log:
        for key in _parents(r.task):
            last[key] = max(last.get(key, 0.0), r.stop)
    spans = [(r.start, last[r.task.key]) for r in log if r.task.key in last]
    return max(sum(a <= moment < b for a, b in spans) for moment, _ in spans)


def _parents(task: Task) -> list[str]:
    return [p["key"] for p in task.spec["parents"].values()]


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 4]))
def test_a_grid_is_near_the_shortest_time_with_few_checkpoints_and_loads(
    seed: int, workers: int
) -> None:
    stages = grid(random.Random(seed))
    length, log = simulate(schedule_of(stages), workers)
    assert length <= 1.05 * max(bounds(stages, workers))
    assert at_once(log) <= 3 + 4 * workers, "of 45"
    assert loads(log) <= 45 + 8 * workers, "of 180 scores of 45 checkpoints"


def loads(log: list[Run]) -> int:
    """How often a worker scores another checkpoint than the last one it scored."""
    scored = [(r.seat, r.task.loads) for r in log if r.task.spec["kind"] == "score"]
    changes, last = 0, {}
    for seat, checkpoint in scored:
        changes += last.get(seat) != checkpoint
        last[seat] = checkpoint
    return changes


def test_a_large_plan_is_scheduled_in_reasonable_time() -> None:
    import time

    stages = grid(random.Random(0), prunes=100, bits=4, tasks=5)
    start = time.process_time()
    schedule = schedule_of(stages)
    for _ in range(200):
        task = schedule.take("", 8)
        assert task is not None
        schedule.finish(task.key)
    assert time.process_time() - start < 5


def test_short_stages_are_kept_for_the_end() -> None:
    """They fill what the last long ones leave; before, a checkpoint that is held is finished."""
    models = [spec(name=f"m{n}", estimate_s=10.0) for n in range(40)]
    short = spec("score", name="t", parents={"model": models[0]}, estimate_s=1.0)
    for left, first in ((40, short["key"]), (3, models[1]["key"])):
        some = [*models[:left], short]
        specs = closure(some)
        schedule = Schedule(specs, dict.fromkeys(specs, False))
        schedule.start(models[0]["key"])
        schedule.finish(models[0]["key"])
        ranked = [task.key for task in schedule.ranked(models[0]["key"], 2)]
        assert (ranked[0] == short["key"]) == (first == short["key"])
