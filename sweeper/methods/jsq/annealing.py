"""Simulated annealing over vectors of choices, with the Metropolis rule; resumable.

The run is a function of its schedule, its seed and the energies: energies that are known
already, from a killed attempt, are looked up and the run goes on where that one ended.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

Vector = tuple[int, ...]
"""One choice, by index, for each position."""


class Landscape(Protocol):
    """What is minimised."""

    def energy(self, vector: Vector) -> float:
        """What a vector costs."""
        ...

    def accepted(self, vector: Vector) -> None:
        """Later vectors will differ from this one in one position."""
        ...


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long is searched, and how boldly.

    Attributes:
        steps: vectors tried after the first.
        hot: first temperature, in units of the energy.
        cold: last temperature; between them it falls geometrically.
        seed: decides the first vector, the moves and the acceptances.
    """

    steps: int
    hot: float
    cold: float
    seed: int

    def temperature(self, step: int) -> float:
        """Of step 1 to `steps`."""
        done = (step - 1) / max(1, self.steps - 1)
        return float(self.hot * (self.cold / self.hot) ** done)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One vector that was tried.

    Attributes:
        vector: what was tried.
        energy: what it costs.
        best: the least energy so far.
        step: 0 for the first vector.
        temperature: 0 at step 0.
        position: which position was changed; None at step 0.
        accepted: whether the run went on from it.
    """

    vector: Vector
    energy: float
    best: float
    step: int = 0
    temperature: float = 0.0
    position: int | None = None
    accepted: bool = True


def anneal(
    landscape: Landscape, *, positions: int, choices: int, schedule: Schedule
) -> tuple[Vector, list[Step]]:
    """The best vector that was met, and every step.

    The first vector is random; each step gives one random position another random choice. A
    better vector is always taken, a worse one with probability exp(-(E - E_now) / T).

    Args:
        landscape: the energies.
        positions: length of a vector.
        choices: number of choices at each position, at least 2.
        schedule: how long.
    """
    # random() alone is the same in every version of Python
    draw = random.Random(schedule.seed).random
    now = tuple(int(draw() * choices) for _ in range(positions))
    level = landscape.energy(now)
    landscape.accepted(now)
    best, least = now, level
    trace = [Step(vector=now, energy=level, best=least)]
    for step in range(1, schedule.steps + 1):
        position = int(draw() * positions)
        other = (now[position] + 1 + int(draw() * (choices - 1))) % choices
        tried = (*now[:position], other, *now[position + 1 :])
        energy, chance = landscape.energy(tried), draw()
        temperature = schedule.temperature(step)
        taken = chance < acceptance(energy - level, temperature)
        if taken:
            now, level = tried, energy
            landscape.accepted(now)
        if energy < least:
            best, least = tried, energy
        trace.append(
            Step(
                step=step,
                temperature=temperature,
                position=position,
                vector=tried,
                energy=energy,
                accepted=taken,
                best=least,
            )
        )
    return best, trace


def acceptance(rise: float, temperature: float) -> float:
    """The Metropolis rule (Metropolis et al., 1953): min(1, exp(-rise / temperature))."""
    return 1.0 if rise <= 0 else math.exp(-rise / temperature)


class Remembered:
    """A landscape whose energies are computed once, across attempts too.

    Args:
        landscape: computes them.
        path: where they are kept, a line for each.
    """

    def __init__(self, landscape: Landscape, path: Path) -> None:
        self._landscape, self._path = landscape, path
        self._known = _read(path)

    def energy(self, vector: Vector) -> float:
        """See `Landscape`."""
        if vector not in self._known:
            self._known[vector] = self._landscape.energy(vector)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([vector, self._known[vector]]) + "\n")
        return self._known[vector]

    def accepted(self, vector: Vector) -> None:
        """See `Landscape`."""
        self._landscape.accepted(vector)


def _read(path: Path) -> dict[Vector, float]:
    """The energies of whole lines; a killed attempt may have left half a line."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole), encoding="utf-8")
    return {tuple(vector): energy for vector, energy in map(json.loads, whole)}


def as_rows(trace: list[Step]) -> list[dict[str, Any]]:
    """The trace as plain JSON."""
    return [asdict(step) for step in trace]
