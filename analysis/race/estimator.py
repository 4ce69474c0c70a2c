"""Differences of Sr between cells on a common prefix of every leaf, with their variances.

The score of a task is post-stratified: each leaf weighs by all its documents, however many were
asked, so the quantity that is estimated is the same at every look. The dense cell answered all
documents, so its scores are constants: Sr2 = sum P_c / sum P_dense, Sr1 = mean of P_c / P_dense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.metrics import Array
from analysis.race.field import Answers, CellAnswers, Contest


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimates:
    """Sr (or log-likelihood) of k cells that answered the same documents.

    Attributes:
        cells: k keys.
        value: (k,) the quantity.
        covariance: (k, k) of it over documents.
        discordant: (k, k) documents with different scores.
        documents: answered by each, of the tasks that are counted.
    """

    cells: tuple[str, ...]
    value: Array
    covariance: Array
    discordant: Array
    documents: int

    def difference(self, first: str, second: str) -> tuple[float, float]:
        """How much more the first has than the second, and the variance of that."""
        a, b = self.cells.index(first), self.cells.index(second)
        spread = self.covariance
        return (
            float(self.value[a] - self.value[b]),
            max(float(spread[a, a] + spread[b, b] - 2 * spread[a, b]), 0.0),
        )

    def differing(self, first: str, second: str) -> int:
        """How many documents two cells answered with different scores."""
        return int(self.discordant[self.cells.index(first), self.cells.index(second)])


def estimates(contest: Contest, answers: Mapping[str, CellAnswers], by: str) -> Estimates:
    """The quantity of each cell on the documents that they all answered.

    Args:
        contest: the tasks, and the dense cell's scores.
        answers: k cells' answers, each to the same documents of each leaf, in one order.
        by: "sr2", "sr1" or "log_likelihood".

    Raises:
        ValueError: the cells answered different numbers of documents.
    """
    cells, kept = tuple(answers), contest.counted(by)
    value = np.zeros(len(cells))
    spread, discordant = np.zeros((len(cells),) * 2), np.zeros((len(cells),) * 2)
    documents = 0
    for task in kept:
        leaves = [leaf for leaf in contest.leaves if leaf.task == task]
        given = [[answers[cell][leaf.name] for cell in cells] for leaf in leaves]
        if any(len({len(one) for one in each}) > 1 for each in given):
            raise ValueError(f"cells answered different numbers of documents of {task}")
        shares = [leaf.size / contest.sizes[task] for leaf in leaves]
        rate, own = _task(given, shares, contest.links[task])
        level, slope = _scaled(contest, task, by, len(kept), rate)
        value += level
        spread += np.outer(slope, slope) * own
        for each in given:
            scores = np.array([one.numerator for one in each])
            discordant += [(row != scores).sum(axis=1) for row in scores]
            documents += scores.shape[1]
    if by == "sr2":
        total = sum(contest.scores[task] for task in kept)
        value, spread = value / total, spread / total**2
    return Estimates(
        cells=cells, value=value, covariance=spread, discordant=discordant, documents=documents
    )


def _scaled(contest: Contest, task: str, by: str, count: int, rate: Array) -> tuple[Array, Array]:
    """What a task adds to the quantity of k cells, and the derivative of that by its score."""
    if by == "sr2":
        return rate, np.ones_like(rate)
    if by == "log_likelihood":
        return rate / count, np.full_like(rate, 1 / count)
    dense = contest.scores[task]
    if contest.links[task] == "perplexity":  # P_dense / P_c = exp(-dense) / exp(-rate)
        kept = np.exp(rate - dense)
        return kept / count, kept / count
    if contest.links[task] == "mean" and contest.higher[task]:
        return rate / dense / count, np.full_like(rate, 1 / dense / count)
    with np.errstate(divide="ignore", invalid="ignore"):
        return dense / rate / count, -dense / rate**2 / count


def _task(
    given: Sequence[Sequence[Answers]], shares: Sequence[float], link: str
) -> tuple[Array, Array]:
    """(k,) post-stratified scores of a task's leaves, and their (k, k) covariance.

    A leaf's documents are a simple random sample of it, centred there; one that was asked a single
    document keeps all of its deviation, for nothing is known of its spread. Right-or-wrong scores
    get half a document more on the diagonal, one more discordant pair in a difference (Agresti and
    Min 2005), as everywhere in `analysis`.
    """
    tops = [np.array([one.numerator for one in each]) for each in given]
    bottoms = [np.array([one.weight for one in each]) for each in given]
    unit = np.sum([s * b.mean(axis=1) for s, b in zip(shares, bottoms, strict=True)], axis=0)
    rate = np.sum([s * t.mean(axis=1) for s, t in zip(shares, tops, strict=True)], axis=0) / unit
    size = len(rate)
    spread, total = np.zeros((size, size)), sum(t.shape[1] for t in tops)
    for share, top, bottom, each in zip(shares, tops, bottoms, given, strict=True):
        count = top.shape[1]
        influence = (top - rate[:, None] * bottom) / unit[:, None] * (share / count)
        spread += _gram(influence, each[0].cluster)
        if link == "mean" and np.isin(top, (0.0, 1.0)).all():
            spread[np.diag_indices(size)] += 0.5 * (share / count) ** 2 * count / total
    return rate, spread


def _gram(influence: Array, cluster: NDArray[np.int_] | None) -> Array:
    """(k, k) sums of products of (k, n) influences, centred, over clusters of documents."""
    count = influence.shape[1]
    if count < 2:
        return np.asarray(influence @ influence.T)
    centred = influence - influence.mean(axis=1, keepdims=True)
    if cluster is not None:
        _, place = np.unique(cluster, return_inverse=True)
        count = int(place.max()) + 1
        if count < 2:
            return np.asarray(influence @ influence.T)
        summed = np.zeros((len(influence), count))
        np.add.at(summed.T, place, centred.T)
        centred = summed
    return np.asarray(centred @ centred.T * (count / (count - 1)))
