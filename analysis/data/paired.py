"""What cells that answered the same documents say about each other, task by task.

Every score is a smooth function of sums over documents, so its error is, to first order,
a sum of one influence per document (Hampel 1974); covariances of scores are sums of
products of influences, centred within each subtask, because a repetition of the
evaluation would draw as many documents from each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.data.documents import Documents, Scored, scored
from analysis.metrics import Array, Rows

SAME = 1e-6
"""Relative difference up to which documents add up to the recorded score."""

Link = Literal["mean", "perplexity", "bits"]

# How a score follows from r = sum(numerator) / sum(weight), with its derivative.
_LINKS: Mapping[Link, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "mean": (lambda r: r, np.ones_like),
    "perplexity": (lambda r: np.exp(-r), lambda r: -np.exp(-r)),
    "bits": (lambda r: -r / np.log(2), lambda r: np.full_like(r, -1 / np.log(2))),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """The documents of one task under the cells that share them; C cells, n documents.

    Attributes:
        shared: (C,) which cells have these documents; the rows of the others are 0.
        numerator: (C, n) scores, or log-likelihoods.
        weight: (C, n) ones, or words or bytes.
        strata: (n,) the subtask of each document, as a number.
        share: (n,) how much each document counts, see `Scored`.
        position: (n,) its place in the order of its subtask, see `Scored`.
        link: how the score follows from the sums: "mean", "perplexity" or "bits".
        cluster: (n,) what documents share, see `Scored`.
    """

    shared: NDArray[np.bool_]
    numerator: Array
    weight: Array
    strata: NDArray[np.int_]
    share: Array
    position: Array
    link: Link
    cluster: NDArray[np.int_] | None = None

    @property
    def binary(self) -> bool:
        """Whether a document is either right or wrong."""
        return self.link == "mean" and bool(np.isin(self.numerator, (0.0, 1.0)).all())

    @cached_property
    def influence(self) -> Array:
        """(C, n) what each document adds to the error of the score, centred in its stratum.

        Of documents that share a cluster (C, G), what each of G clusters adds.
        """
        top, bottom = self.share * self.numerator, self.share * self.weight
        total = np.where(self.shared, bottom.sum(axis=1), 1.0)[:, None]
        rate = top.sum(axis=1, keepdims=True) / total
        raw = (top - rate * bottom) / total * _LINKS[self.link][1](rate)
        parts = []
        for stratum in np.unique(self.strata):
            here = self.strata == stratum
            own = raw[:, here]
            if here.sum() > 1:
                own = own - own.mean(axis=1, keepdims=True)
            summed = own if self.cluster is None else _summed(own, self.cluster[here])
            count = summed.shape[1]
            # One says nothing of the spread in its stratum: its documents keep all they have.
            summed = summed * np.sqrt(count / (count - 1)) if count > 1 else raw[:, here]
            if self.cluster is None:
                raw[:, here] = summed
            else:
                parts.append(summed)
        return np.asarray(raw if self.cluster is None else np.hstack(parts))

    @cached_property
    def scores(self) -> Array:
        """(C,) what the documents add up to; nan for cells that do not share them."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            top, bottom = self.share * self.numerator, self.share * self.weight
            found = _LINKS[self.link][0](top.sum(axis=1) / bottom.sum(axis=1))
        return np.where(self.shared, found, np.nan)

    def first(self, limit: float) -> Sample | None:
        """The same cells on the first documents of every subtask, which weigh as before.

        None where it is not known which these are, or a subtask would have none.
        """
        kept = self.position < limit
        parts = range(int(self.strata.max()) + 1)
        left = np.bincount(self.strata[kept], minlength=len(parts))
        if not np.isfinite(self.position).all() or not left.all():
            return None
        thinned = (np.bincount(self.strata) / len(self.strata)) / (left / left.sum())
        return replace(
            self,
            numerator=self.numerator[:, kept],
            weight=self.weight[:, kept],
            strata=self.strata[kept],
            share=(self.share * thinned[self.strata])[kept],
            position=self.position[kept],
            cluster=None if self.cluster is None else self.cluster[kept],
        )

    def covariance(self, rows: Rows, unpaired: Array) -> Array:
        """(k, k) covariance of the scores of k cells.

        Right-or-wrong scores get half a document more on the diagonal, which is one more
        discordant pair per difference (Agresti and Min 2005): without it, five pairs that
        all point one way would pass for certain.

        Args:
            rows: k cells.
            unpaired: (k,) their variances, used for a cell without these documents and for
                one whose documents all score the same.
        """
        picked = np.asarray(rows, dtype=int)
        each = self.influence[picked]
        matrix = np.asarray(each @ each.T)
        more = 0.5 * float((self.share**2).mean()) / self.numerator.shape[1] ** 2
        own = np.diag(matrix) + (more if self.binary else 0.0)
        known = self.shared[picked] & (np.diag(matrix) > 0)
        matrix[np.diag_indices_from(matrix)] = np.where(known, own, unpaired)
        return matrix

    def discordant(self, first: int, second: int) -> tuple[int, int]:
        """How many documents only the first, and only the second, of two cells got right."""
        one, two = self.numerator[first], self.numerator[second]
        return int((one > two).sum()), int((two > one).sum())


def _summed(each: Array, cluster: NDArray[np.int_]) -> Array:
    """(C, G) sums of (C, n) over G clusters."""
    place = np.unique(cluster, return_inverse=True)[1]
    found = np.zeros((len(each), int(place.max()) + 1))
    np.add.at(found.T, place, each.T)
    return found


def sample(
    documents: Documents,
    cells: Sequence[str],
    task: str,
    metric: str,
    value: Array,
    *,
    first: int | None = None,
) -> Sample | None:
    """The documents of a task that the cells share; None if there are no two such cells.

    A cell takes part if it answered exactly the documents of the baseline (without one, of
    the first cell that has any), and if they add up to its recorded score.

    Args:
        documents: where they are.
        cells: C keys.
        task: the task.
        metric: its primary metric.
        value: (C,) the recorded scores.
        first: the row whose documents the others are held against.
    """
    found = [documents.scored(cell, task, metric) for cell in cells]
    linked = [None if one is None else _linked(one, value[i]) for i, one in enumerate(found)]
    order = range(len(cells)) if first is None else (first, *range(len(cells)))
    anchor = next((i for i in order if linked[i]), None)
    if anchor is None or (model := found[anchor]) is None or (link := linked[anchor]) is None:
        return None
    shared = np.array(
        [
            one is not None
            and linked[i] == link
            and (one.identity, one.subtask) == (model.identity, model.subtask)
            for i, one in enumerate(found)
        ]
    )
    if shared.sum() < 2:
        return None
    empty = np.zeros(len(model.numerator))
    rows = [one if fits else None for one, fits in zip(found, shared, strict=True)]
    return Sample(
        shared=shared,
        numerator=np.array([empty if one is None else one.numerator for one in rows]),
        weight=np.array([empty if one is None else one.weight for one in rows]),
        strata=np.unique(model.subtask, return_inverse=True)[1],
        share=model.share,
        position=model.position,
        cluster=model.cluster,
        link=link,
    )


def rescored(
    whole: pd.DataFrame, left: pd.DataFrame, metric: str, value: float
) -> tuple[float, float] | None:
    """(score, standard error) on some of a cell's documents; None if the score has no such sum.

    Args:
        whole: all documents of the cell, which add up to `value`.
        left: those that count.
        metric: what was scored.
        value: the recorded score.
    """
    every, some = scored(whole, metric), scored(left, metric)
    link = None if every is None else _linked(every, value)
    if some is None or link is None:
        return None
    one = Sample(
        shared=np.array([True]),
        numerator=some.numerator[None],
        weight=some.weight[None],
        strata=np.unique(some.subtask, return_inverse=True)[1],
        share=some.share,
        position=some.position,
        cluster=some.cluster,
        link=link,
    )
    rate = np.array((some.share * some.numerator).sum() / (some.share * some.weight).sum())
    with np.errstate(over="ignore"):
        found = float(_LINKS[link][0](rate))
    return found, float(np.sqrt((one.influence**2).sum()))


def _linked(one: Scored, value: float) -> Link | None:
    return link_of(one.share * one.numerator, one.share * one.weight, value)


def link_of(numerator: Array, weight: Array, value: float) -> Link | None:
    """How (n,) documents give the recorded score; None if in no way that is known."""
    rate = np.array(numerator.sum() / weight.sum())
    for name, (score, _) in _LINKS.items():
        with np.errstate(over="ignore"):
            told = float(score(rate))
        if np.isfinite(told) and abs(told - value) <= SAME * max(abs(value), SAME):
            return name
    return None


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test: the p value of a fair coin over the discordant documents.

    McNemar (1947), *Psychometrika* 12; documents that both cells got right, or both wrong,
    say nothing. Without a discordant document p is 1.
    """
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)
