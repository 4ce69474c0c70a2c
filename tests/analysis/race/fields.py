"""Made-up races whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from analysis.race.field import Answers, CellAnswers, Contest, Field, Group
from analysis.race.schedule import Leaf

DENSE = "dense"


def leaves(sizes: Mapping[str, Sequence[int]]) -> tuple[Leaf, ...]:
    """Task -> sizes of its parts; a task of one part is its own leaf."""
    return tuple(
        Leaf(name=task if len(parts) == 1 else f"{task}_{i}", task=task, size=size)
        for task, parts in sizes.items()
        for i, size in enumerate(parts)
    )


def race(
    sizes: Mapping[str, Sequence[int]],
    levels: Mapping[str, float],
    *,
    seed: int = 0,
    alike: float = 0.5,
    dense: float = 0.7,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Field, dict[str, CellAnswers]]:
    """A race of cells with these shares of right answers, the same in all leaves.

    Args:
        sizes: task -> documents of its leaves.
        levels: cell -> share of right answers.
        seed: of the answers.
        alike: share of skill that a document decides.
        dense: the dense cell's share.
        groups: who races whom; None: all.
    """
    rng, parts = np.random.default_rng(seed), leaves(sizes)
    answers: dict[str, dict[str, Answers]] = {cell: {} for cell in (DENSE, *levels)}
    shares = {DENSE: dense, **levels}
    for leaf in parts:
        common = rng.normal(size=leaf.size)
        for cell, share in shares.items():
            own = np.sqrt(alike) * common + np.sqrt(1 - alike) * rng.normal(size=leaf.size)
            right = (own < stats.norm.ppf(share)).astype(float)
            answers[cell][leaf.name] = Answers(numerator=right, weight=np.ones(leaf.size))
    scores = {
        task: sum(answers[DENSE][leaf.name].numerator.sum() for leaf in parts if leaf.task == task)
        / sum(own)
        for task, own in sizes.items()
    }
    contest = Contest(
        model="m",
        dense=DENSE,
        leaves=parts,
        links=dict.fromkeys(sizes, "mean"),
        higher=dict.fromkeys(sizes, True),
        scores=scores,
    )
    named = groups if groups is not None else {"all": list(levels)}
    made = tuple(Group(name=name, model="m", cells=tuple(own)) for name, own in named.items())
    inside = {cell for group in made for cell in group.cells}
    alone = {cell: "m" for cell in levels if cell not in inside}
    return Field(contests={"m": contest}, groups=made, alone=alone), answers
