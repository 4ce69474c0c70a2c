"""Estimates of a race: what they are of, and how sure."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.race.estimator import estimates
from analysis.race.field import Answers, Contest, at_look
from analysis.race.schedule import Leaf, looks
from tests.analysis.race.fields import DENSE, race

SIZES = {"pro": [900, 150], "math": [400]}


def test_with_all_documents_sr_is_that_of_the_plain_sums() -> None:
    field, answers = race(SIZES, {"a": 0.6, "b": 0.5})
    contest = field.contests["m"]

    def score(cell: str, task: str) -> float:
        mine = [answers[cell][leaf.name].numerator for leaf in contest.leaves if leaf.task == task]
        return float(np.concatenate(mine).mean())

    two = estimates(contest, {"a": answers["a"], "b": answers["b"]}, "sr2")
    one = estimates(contest, {"a": answers["a"], "b": answers["b"]}, "sr1")
    for i, cell in enumerate("ab"):
        sums = sum(score(cell, t) for t in SIZES) / sum(score(DENSE, t) for t in SIZES)
        mean = np.mean([score(cell, t) / score(DENSE, t) for t in SIZES])
        assert two.value[i] == pytest.approx(sums)
        assert one.value[i] == pytest.approx(mean)


def test_a_leaf_weighs_by_its_size_however_many_were_asked() -> None:
    """The small leaf is easier; asking it more than its share must not raise the score."""
    parts = (Leaf(name="easy", task="t", size=100), Leaf(name="hard", task="t", size=900))
    contest = Contest(
        model="m",
        dense=DENSE,
        leaves=parts,
        links={"t": "mean"},
        higher={"t": True},
        scores={"t": 1.0},
    )

    def asked(easy: int, hard: int) -> float:
        own = {
            "easy": Answers(numerator=np.ones(easy), weight=np.ones(easy)),
            "hard": Answers(numerator=np.zeros(hard), weight=np.ones(hard)),
        }
        return float(estimates(contest, {"a": own}, "sr2").value[0])

    assert asked(100, 900) == asked(50, 50) == asked(2, 8) == pytest.approx(0.1)


def test_the_variance_is_that_of_repeated_samples() -> None:
    """Differences on the first look vary over samples of documents as their variance says."""
    found, told = [], []
    for seed in range(300):
        field, answers = race(SIZES, {"a": 0.6, "b": 0.5}, seed=seed)
        contest = field.contests["m"]
        look = looks(contest.leaves, 128)[0]
        here = {cell: at_look(answers[cell], look) for cell in "ab"}
        difference, variance = estimates(contest, here, "sr2").difference("a", "b")
        total = sum(contest.scores.values())  # what each sample divides by
        found.append(difference * total)
        told.append(variance * total**2)
    assert np.var(found) == pytest.approx(np.mean(told), rel=0.2)
    assert np.mean(found) == pytest.approx(0.2, abs=0.01)


def test_documents_that_share_something_count_as_one() -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.integers(0, 2, size=(2, 60)).astype(float), 5, axis=1)
    cluster = np.repeat(np.arange(60), 5)
    leaf = (Leaf(name="t", task="t", size=300),)
    contest = Contest(
        model="m",
        dense=DENSE,
        leaves=leaf,
        links={"t": "mean"},
        higher={"t": True},
        scores={"t": 1.0},
    )

    def variance(groups: np.ndarray | None) -> float:
        own = {
            cell: {"t": Answers(numerator=row, weight=np.ones(300), cluster=groups)}
            for cell, row in zip("ab", values, strict=True)
        }
        return estimates(contest, own, "sr2").difference("a", "b")[1]

    assert variance(cluster) == pytest.approx(5 * variance(None), rel=0.05)


def test_perplexities_are_compared_by_paired_log_likelihood() -> None:
    rng = np.random.default_rng(2)
    words = rng.integers(20, 200, size=200).astype(float)
    common = rng.normal(0, 0.3, size=200)
    made = {
        cell: Answers(numerator=-(loss + common + rng.normal(0, 0.02, 200)) * words, weight=words)
        for cell, loss in {"a": 3.0, "b": 3.05}.items()
    }
    contest = Contest(
        model="m",
        dense=DENSE,
        leaves=(Leaf(name="w", task="w", size=200),),
        links={"w": "perplexity"},
        higher={"w": False},
        scores={"w": -2.9},
    )
    found = estimates(contest, {cell: {"w": one} for cell, one in made.items()}, "log_likelihood")
    difference, variance = found.difference("a", "b")
    assert difference == pytest.approx(0.05, abs=0.005)
    assert np.sqrt(variance) < 0.004  # the text's own ups and downs, 0.3 / sqrt(200), cancel
    assert contest.counted("sr2") == ()
    kept = estimates(contest, {cell: {"w": one} for cell, one in made.items()}, "sr1")
    assert kept.value == pytest.approx(np.exp(found.value + 2.9))
