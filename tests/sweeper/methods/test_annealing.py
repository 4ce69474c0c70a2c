"""Simulated annealing: the rule, a planted optimum, and going on after a kill."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from sweeper.methods.jsq.annealing import Remembered, Schedule, Step, Vector, acceptance, anneal


class Planted:
    """The energy is the number of positions that differ from the planted vector."""

    def __init__(self, planted: Vector) -> None:
        self.planted = planted
        self.asked: list[Vector] = []
        self.taken: list[Vector] = []

    def energy(self, vector: Vector) -> float:
        self.asked.append(vector)
        return float(sum(a != b for a, b in zip(vector, self.planted, strict=True)))

    def accepted(self, vector: Vector) -> None:
        self.taken.append(vector)


def run(landscape: Planted, **schedule: float) -> tuple[Vector, list[Step]]:
    values = {"steps": 400, "hot": 2.0, "cold": 0.05, "seed": 0} | schedule
    how = Schedule(
        steps=int(values["steps"]),
        hot=values["hot"],
        cold=values["cold"],
        seed=int(values["seed"]),
    )
    return anneal(landscape, positions=8, choices=5, schedule=how)


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_a_planted_optimum(seed: int) -> None:
    planted = (0, 1, 2, 3, 4, 3, 2, 1)
    best, trace = run(Planted(planted), seed=seed)
    assert best == planted
    assert trace[-1].best == 0
    assert len(trace) == 401


def test_the_rule_is_metropolis() -> None:
    assert acceptance(-1.0, 0.1) == acceptance(0.0, 0.1) == 1.0
    assert acceptance(2.0, 4.0) == math.exp(-0.5)


def test_worse_vectors_are_taken_as_often_as_the_rule_says() -> None:
    # at one temperature a rise of 1 is the only one there is
    _, trace = run(Planted((2,) * 8), steps=8000, hot=0.8, cold=0.8)
    level, tried, taken = trace[0].energy, 0, 0
    for step in trace[1:]:
        if step.energy > level:
            tried, taken = tried + 1, taken + step.accepted
        else:
            assert step.accepted, "what is not worse is always taken"
        level = step.energy if step.accepted else level
    expected = math.exp(-1 / 0.8)
    spread = math.sqrt(expected * (1 - expected) / tried)
    assert tried > 1000
    assert abs(taken / tried - expected) < 4 * spread


def test_every_step_changes_one_position_to_another_choice() -> None:
    _, trace = run(Planted((0,) * 8))
    now, moves = trace[0].vector, Counter[int]()
    for step in trace[1:]:
        changed = [i for i, (a, b) in enumerate(zip(now, step.vector, strict=True)) if a != b]
        assert changed == [step.position]
        moves[changed[0]] += 1
        now = step.vector if step.accepted else now
    assert len(moves) == 8


def test_the_temperature_falls_geometrically_from_hot_to_cold() -> None:
    how = Schedule(steps=5, hot=300, cold=10, seed=0)
    found = [how.temperature(step) for step in range(1, 6)]
    assert found[0] == 300
    assert found[-1] == pytest.approx(10)
    assert found[1] / found[0] == pytest.approx(found[4] / found[3])


class Killed(Planted):
    """Ends after some energies, as a killed attempt does."""

    def energy(self, vector: Vector) -> float:
        if len(self.asked) == 12:
            raise KeyboardInterrupt
        return super().energy(vector)


def test_a_killed_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    planted = (0, 1, 2, 3, 4, 3, 2, 1)
    path = tmp_path / "energies.jsonl"
    how = Schedule(steps=30, hot=2.0, cold=0.05, seed=0)
    expected = anneal(Planted(planted), positions=8, choices=5, schedule=how)
    killed, resumed = Killed(planted), Planted(planted)
    with pytest.raises(KeyboardInterrupt):
        anneal(Remembered(killed, path), positions=8, choices=5, schedule=how)
    with path.open("a") as file:
        file.write("[[0, 1, 2")  # the line that was being written
    found = anneal(Remembered(resumed, path), positions=8, choices=5, schedule=how)
    assert found == expected
    assert not set(resumed.asked) & set(killed.asked)
    assert [step.vector for step in found[1] if step.accepted] == resumed.taken


def test_a_vector_that_is_met_again_costs_nothing(tmp_path: Path) -> None:
    planted = Planted((0,) * 2)
    how = Schedule(steps=100, hot=2.0, cold=2.0, seed=0)
    anneal(Remembered(planted, tmp_path / "e.jsonl"), positions=2, choices=2, schedule=how)
    assert len(planted.asked) == 4
