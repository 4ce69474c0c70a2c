"""Verdicts about methods side by side for several models, and what the models share.

A verdict of one model says nothing of the next. Two that agree are "both", never more; "holds for
models" needs three. A base that was only rescaled is the model that it was made of, once more: it
is shown, and counts for no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pandas as pd

from analysis.comparison.seed_variance import Contrast, contrasts
from analysis.data.panel import Panel
from analysis.metrics import Definition
from analysis.output.table import Column, Table
from analysis.output.text import NAMES

MODELS = 3
"""Fewest models of which "holds for models" can be said."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two methods at one rate, in every model whose seeds compare them.

    Attributes:
        rate: their TCr.
        first, second: their labels; the first keeps more in the mean of the models.
        found: model -> the contrast there, whichever of the two is its first.
        bases: those of the models that are another base of one that is in ``found`` or elsewhere.
    """

    rate: Fraction
    first: str
    second: str
    found: Mapping[str, Contrast]
    bases: frozenset[str]

    def sign(self, model: str) -> int:
        """1 where the first came out ahead, -1 where the second did."""
        return 1 if self.found[model].first.label == self.first else -1

    def verdict(self, model: str) -> str:
        """The better one, or "undecided"."""
        one = self.found[model]
        return one.first.label if one.decided else "undecided"

    @property
    def shared(self) -> str:
        """What the models have in common."""
        own = [model for model in self.found if model not in self.bases]
        said = {self.verdict(model) for model in own}
        decided = sorted(said - {"undecided"})
        if len(own) < 2:
            return "one model"
        if len(decided) > 1:
            return "contradictory"
        if not decided:
            return "undecided in each"
        if "undecided" in said:
            where = " and ".join(m for m in own if self.verdict(m) != "undecided")
            return f"{decided[0]} in {where} only"
        if len(own) < MODELS:
            return f"{decided[0]} in both"
        return f"{decided[0]}: holds for models ({len(own)})"


def comparisons(panels: Sequence[Panel], by: Definition = "sr2") -> list[Comparison]:
    """Every two methods that the seeds of at least two panels compare at one rate."""
    found: dict[tuple[Fraction, frozenset[str]], dict[str, Contrast]] = {}
    for panel in panels:
        for rate, every in contrasts(panel, by).items():
            for one in every:
                pair = frozenset((one.first.label, one.second.label))
                found.setdefault((rate, pair), {})[panel.model] = one
    bases = frozenset(panel.model for panel in panels if (panel.cells["base"] != "").any())
    return [
        _comparison(rate, own, bases)
        for (rate, _), own in sorted(found.items(), key=lambda item: item[0][0])
        if len(own) > 1
    ]


def _comparison(rate: Fraction, found: Mapping[str, Contrast], bases: frozenset[str]) -> Comparison:
    first = next(iter(found.values())).first.label
    second = next(iter(found.values())).second.label
    lead = sum(
        one.mean.value if one.first.label == first else -one.mean.value for one in found.values()
    )
    if lead < 0:
        first, second = second, first
    return Comparison(rate=rate, first=first, second=second, found=found, bases=bases & set(found))


def across_table(panels: Sequence[Panel], by: Definition = "sr2") -> Table:
    """One row per pair of methods and model; the last column is the same for all models."""
    rows = [
        {
            "tcr": float(pair.rate),
            "first": pair.first,
            "second": pair.second,
            "model": model,
            "seeds": one.mean.seeds,
            "difference": pair.sign(model) * one.mean.value,
            "difference_stderr": one.mean.stderr,
            "low": min(pair.sign(model) * end for end in _ends(one)),
            "high": max(pair.sign(model) * end for end in _ends(one)),
            "p": one.p,
            "verdict": pair.verdict(model),
            "counts": "another base" if model in pair.bases else "",
            "shared": pair.shared,
        }
        for pair in comparisons(panels, by)
        for model, one in pair.found.items()
    ]
    columns = (
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="first", title="Method"),
        Column(key="second", title="against"),
        Column(key="model", title="Model"),
        Column(key="seeds", title="Seeds", form="number", digits=0),
        Column(key="difference", title=f"Difference in {NAMES[by]}", form="estimate"),
        Column(key="low", title="95 % from", form="number"),
        Column(key="high", title="to", form="number"),
        Column(key="p", title="p (Holm)", form="p"),
        Column(key="verdict", title="Better there"),
        Column(key="counts", title="Counts as"),
        Column(key="shared", title="What the models share"),
    )
    notes = (
        "Differences, intervals and p are those of each model's own table of methods, its family "
        "all pairs of methods of one model at one TCr. Methods are matched by name: where a model "
        "sets it, the group size is its own.",
        f'"In both" is said of two models; "holds for models" of {MODELS} or more. Another base of '
        "a model (its channels rescaled at random) counts for none.",
    )
    return Table(
        name=f"across_models_{by}",
        caption=f"Verdicts about methods in several models, by {NAMES[by]}",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=notes,
        definition=by,
    )


def _ends(one: Contrast) -> tuple[float, float]:
    return one.mean.interval.low, one.mean.interval.high
