"""Verdicts about methods, not about checkpoints: calibration as a second source of variance.

Another calibration sample gives another checkpoint of the same method. Over k seeds the mean
difference d of two methods has the variance s^2 / k + v: s^2 is what the seeds show, the
noise of documents that differs from seed to seed included, and v is the covariance over
documents of two different seeds, which no number of seeds can average away.

A method is what a cell is but for its seed (`Results.cells`' column `method`), never its label:
labels name the seed where it is an axis, and are alike where group sizes or samples differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.comparison.verdicts import ALPHA, verdicts
from analysis.data.devices import across
from analysis.data.panel import Panel
from analysis.data.results import METHOD
from analysis.metrics import Array, Definition
from analysis.output.table import ACROSS, Column, Table, if_any
from analysis.output.text import NAMES, listed, percent, plus_minus
from analysis.statistics.holm import holm
from analysis.statistics.intervals import MARGIN, Interval, normal, sr_covariance, tost
from analysis.statistics.pooled_variance import (
    SeedVariance,
    detectable,
    p_value,
    pooled,
    standard_error,
)

FEWEST_SEEDS = 3
_SEED = re.compile(r"(?<=\[)seed=[^,\]]*(, )?|, seed=[^,\]]*")


@dataclass(frozen=True, kw_only=True)
class Method:
    """The cells that differ in their calibration seed alone.

    Attributes:
        label: what the method is called, without a seed; no two of a model alike.
        rows: seed -> row of the panel; the seed is nan for a method that needs none.
        repeated: rows whose seed another row has already; they do not count.
    """

    label: str
    rows: dict[float, int]
    repeated: tuple[int, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether its cells depend on a seed at all."""
        return not any(seed != seed for seed in self.rows)

    def row(self, seed: float) -> int | None:
        """The cell of a seed; of a method without calibration its only cell."""
        free = [row for own, row in self.rows.items() if own != own]
        return free[0] if free else self.rows.get(seed)


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over calibration seeds with both variances.

    Attributes:
        value: the mean.
        stderr: from documents and calibration together.
        df: degrees of freedom, those of the seeds' variance: few seeds make them few.
        calibration: standard deviation from seed to seed.
        seeds: how many.
    """

    value: float
    stderr: float
    df: float
    calibration: float
    seeds: int

    @property
    def interval(self) -> Interval:
        """At 95 %."""
        return normal(self.value, self.stderr, df=self.df)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One method against another over the seeds that both have.

    Attributes:
        first, second: the one that keeps more, and the other.
        mean: of the difference.
        p: two-sided, corrected over the pairs of one model and rate.
        detectable: the difference that so many seeds tell with 80 % power in this family.
        across: the types of machine that their cells met, if they met several.
    """

    first: Method
    second: Method
    mean: Mean
    p: float
    detectable: float
    across: str = ""

    @property
    def decided(self) -> bool:
        """Whether the difference holds for the methods, at the family's 5 %."""
        return self.p <= ALPHA


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the seeds say of the methods of one model at one rate.

    Attributes:
        first: the method that comes out best against most others.
        ahead: its contrasts that are decided in its favour, the nearest rival first.
        tied: methods that it cannot be told from.
        unseen: methods of the group without enough seeds in common with it.
    """

    first: Method
    ahead: tuple[Contrast, ...]
    tied: tuple[Contrast, ...]
    unseen: tuple[str, ...]

    @property
    def decided(self) -> bool:
        """Whether it is better than every other method of the group."""
        return bool(self.ahead) and not self.tied and not self.unseen


def methods(panel: Panel, rows: Sequence[int]) -> list[Method]:
    """The methods among some rows of a panel, in the order of their first cell."""
    seeds = panel.cells["calibration_seed"].to_numpy(dtype=float)
    what, names = panel.cells["method"].to_numpy(dtype=object), method_names(panel)
    found: dict[str, dict[float, int]] = {}
    repeated: dict[str, list[int]] = {}
    for row in rows:
        own = found.setdefault(what[row], {})
        seed = float(seeds[row])
        same = next(
            (known for known in own if known == seed or (known != known and seed != seed)), None
        )
        if same is None:
            own[seed] = row
        else:
            repeated.setdefault(what[row], []).append(row)
    return [
        Method(label=names[key], rows=cells, repeated=tuple(repeated.get(key, ())))
        for key, cells in found.items()
    ]


@lru_cache(maxsize=8)  # tables and sentences ask; a panel never changes
def method_names(panel: Panel) -> dict[str, str]:
    """Method -> its label without the seed; namesakes bear what tells them apart."""
    first = panel.cells.drop_duplicates("method")
    plain = {
        row["method"]: _SEED.sub("", str(row["label"])).replace(" []", "")
        for row in first.to_dict("records")
    }
    names = {}
    for method, name in plain.items():
        alike = first[first["method"].map(plain) == name]
        apart = [c for c in METHOD if len(alike) > 1 and alike[c].nunique(dropna=False) > 1]
        own = alike[alike["method"] == method].iloc[0]
        told = ", ".join(
            f"{c}={own[c]:g}" if isinstance(own[c], float) else f"{c}={own[c]}" for c in apart
        )
        names[method] = f"{name} [{told or method[:8]}]" if len(alike) > 1 else name
    return names


def mean(
    panel: Panel,
    by: Definition,
    plus: Sequence[int],
    minus: Sequence[int] = (),
    company: SeedVariance | None = None,
) -> Mean:
    """The mean over seeds of Sr of `plus`, or of its difference to `minus`, seed by seed.

    Args:
        panel: the scores.
        by: the definition of Sr.
        plus: one row per seed, at least two.
        minus: one row per seed in the same order, the same row for a method without
            calibration; empty for the mean of `plus` itself.
        company: the seeds' variance of all methods that both are compared with; None: what
            these rows show alone.
    """
    rows, k = [*plus, *minus], len(plus)
    value = (panel.sr1() if by == "sr1" else panel.sr2()).value[np.asarray(rows)]
    signs = np.hstack([np.eye(k)] + ([-np.eye(k)] if len(minus) else []))
    each = signs @ value
    over = signs @ sr_covariance(panel, rows, by) @ signs.T
    own = float(each.var(ddof=1))
    variance = SeedVariance(value=own, df=k - 1) if company is None else company.or_more(own)
    return Mean(
        value=float(each.mean()),
        df=variance.df,
        seeds=k,
        stderr=standard_error(variance, k, _shared(panel, rows, over)),
        calibration=float(np.sqrt(own)),
    )


def _shared(panel: Panel, rows: Sequence[int], over: Array) -> float:
    """Covariance over documents of two different seeds.

    Without documents it is unknown, but at most the variance of a single seed: that is taken.
    """
    k = len(over)
    if all(panel.paired(rows[0], row) for row in rows[1:]):
        return max(float((over.sum() - np.trace(over)) / (k * (k - 1))), 0.0)
    return float(np.trace(over) / k)


@lru_cache(maxsize=8)  # the verdicts and the table ask; a panel never changes
def contrasts(panel: Panel, by: Definition = "sr2") -> dict[Fraction, list[Contrast]]:
    """Per TCr every pair of methods with three seeds in common, Holm-corrected per TCr."""
    found: dict[Fraction, list[Contrast]] = {}
    if panel.cells["calibration_seed"].nunique() < FEWEST_SEEDS:
        return found
    for verdict in verdicts(panel, by):
        pairs = _pairs(panel, methods(panel, sorted(verdict.ranked)), by)
        p = holm(np.array([p_value(m.value, m.stderr, m.df) for _, _, m in pairs]))
        made = [
            Contrast(
                first=a,
                second=b,
                mean=m,
                p=float(p[i]),
                detectable=detectable(m.stderr, m.df, len(pairs)),
                across=across(panel.cells, [*a.rows.values(), *b.rows.values()]),
            )
            for i, (a, b, m) in enumerate(pairs)
        ]
        if made and verdict.tcr is not None:
            found[verdict.tcr] = sorted(made, key=lambda one: -one.mean.value)
    return found


def standings(panel: Panel, by: Definition = "sr2") -> dict[Fraction, Standing]:
    """Per TCr with contrasts what they say together."""
    groups = {v.tcr: methods(panel, sorted(v.ranked)) for v in verdicts(panel, by)}
    return {rate: _standing(found, groups[rate]) for rate, found in contrasts(panel, by).items()}


def _standing(found: Sequence[Contrast], group: Sequence[Method]) -> Standing:
    wins = {m.label: sum(c.first.label == m.label for c in found) for m in group}
    first = max(group, key=lambda m: wins[m.label])
    own = [c for c in found if first.label in (c.first.label, c.second.label)]
    ahead = [c for c in own if c.first.label == first.label and c.decided]
    met = {label for c in own for label in (c.first.label, c.second.label)}
    return Standing(
        first=first,
        ahead=tuple(sorted(ahead, key=lambda c: c.mean.value)),
        tied=tuple(c for c in own if c not in ahead),
        unseen=tuple(m.label for m in group if m.label not in met),
    )


def _pairs(
    panel: Panel, every: Sequence[Method], by: Definition
) -> list[tuple[Method, Method, Mean]]:
    """Pairs with the better method first."""
    pairs = []
    for i, one in enumerate(every):
        for two in every[i + 1 :]:
            seeds = _common(one, two)
            if len(seeds) < FEWEST_SEEDS:
                continue
            plus, minus = (_rows(m, seeds) for m in (one, two))
            both = one.calibrated and two.calibrated
            company = _company(panel, every, seeds, by) if both else None
            found = mean(panel, by, plus, minus, company)
            pairs.append(
                (one, two, found)
                if found.value >= 0
                else (two, one, replace(found, value=-found.value))
            )
    return pairs


def _company(
    panel: Panel, every: Sequence[Method], seeds: Sequence[float], by: Definition
) -> SeedVariance:
    """The seeds' variance of all calibrated methods that have these seeds."""
    value = (panel.sr1() if by == "sr1" else panel.sr2()).value
    having = [m for m in every if m.calibrated and set(seeds) <= set(m.rows)]
    return pooled(value[np.array([_rows(m, seeds) for m in having], dtype=int)])


def _rows(method: Method, seeds: Sequence[float]) -> list[int]:
    return [row for seed in seeds if (row := method.row(seed)) is not None]


def _common(one: Method, two: Method) -> list[float]:
    seeds = sorted(seed for method in (one, two) for seed in method.rows if seed == seed)
    return sorted({s for s in seeds if one.row(s) is not None and two.row(s) is not None})


def conclusion(rate: Fraction, standing: Standing) -> str:
    """One sentence about the methods of one rate: which to choose, or that it is undecided."""
    contrasts_of = (*standing.ahead, *standing.tied)
    if len(contrasts_of) == 1 and not standing.unseen:
        return sentence(rate, contrasts_of[0])
    seeds = min(c.mean.seeds for c in contrasts_of)
    at = f"At {percent(rate)} TCr, over {seeds} calibration seeds"
    unseen = (
        f" ({listed(list(standing.unseen))} lack{'s'[: len(standing.unseen) == 1]} seeds)"
        if standing.unseen
        else ""
    )
    if not standing.tied:
        nearest = standing.ahead[0]
        return (
            f"{at}, choose {standing.first.label}: the method, not only these checkpoints, is "
            f"better than each of the {len(standing.ahead)} others with seeds, by "
            f"{nearest.mean.value:.3f} or more{unseen}."
        )
    others = [_other(c, standing.first) for c in standing.tied]
    least = min(c.detectable for c in standing.tied)
    return (
        f"{at}, {standing.first.label} is not significantly different from {listed(others)}: "
        f"undecided for the methods; so many seeds detect differences of {least:.3f} or more"
        f"{unseen}."
    )


def _other(contrast: Contrast, method: Method) -> str:
    one, two = contrast.first.label, contrast.second.label
    return two if one == method.label else one


def sentence(rate: Fraction, contrast: Contrast) -> str:
    """A verdict about two methods, with what it rests on."""
    found, ends = contrast.mean, contrast.mean.interval
    at = f"At {percent(rate)} TCr, over {found.seeds} calibration seeds"
    said = (
        f"{at}, {contrast.first.label} keeps {plus_minus(found.value, found.stderr)} more than "
        f"{contrast.second.label} (95 % {ends.low:.3f} to {ends.high:.3f}, documents and "
        f"calibration together; {found.calibration:.3f} from seed to seed; so many seeds "
        f"detect {contrast.detectable:.3f})"
    )
    if contrast.across:
        said += f" across machines ({contrast.across})"
    if contrast.decided:
        return f"{said}: the method is better, not only these checkpoints."
    if tost(found.value, found.stderr, df=found.df) <= ALPHA:
        return f"{said}: the methods differ by less than {MARGIN:g}."
    return f"{said}: undecided for the methods."


def repeated(panel: Panel) -> list[str]:
    """Cells of the same method and seed as another one, which counts in their place."""
    rows = [r for r in range(len(panel.cells)) if panel.cells["status"].iat[r] == "done"]
    return [
        f"{m.label} (seed {panel.cells['calibration_seed'].iat[row]:g}, key "
        f"{panel.cells['cell'].iat[row]})"
        if m.calibrated
        else f"{m.label} (key {panel.cells['cell'].iat[row]})"
        for m in methods(panel, rows)
        for row in m.repeated
    ]


def methods_table(panels: Sequence[Panel], by: Definition = "sr2") -> Table:
    """Every pair of methods with enough seeds, at equal TCr."""
    rows = [
        {
            "model": panel.model,
            "tcr": float(rate),
            "first": c.first.label,
            "second": c.second.label,
            "seeds": c.mean.seeds,
            "difference": c.mean.value,
            "difference_stderr": c.mean.stderr,
            "calibration": c.mean.calibration,
            "detectable": c.detectable,
            "across": c.across,
            "low": c.mean.interval.low,
            "high": c.mean.interval.high,
            "df": c.mean.df,
            "p": c.p,
            "verdict": "better" if c.decided else "undecided",
        }
        for panel in panels
        for rate, found in contrasts(panel, by).items()
        for c in found
    ]
    frame = pd.DataFrame(rows)
    columns = (
        Column(key="model", title="Model"),
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="first", title="Method"),
        Column(key="second", title="against"),
        Column(key="seeds", title="Seeds", form="number", digits=0),
        Column(key="difference", title=f"Difference in {NAMES[by]}", form="estimate"),
        Column(key="low", title="95 % from", form="number"),
        Column(key="high", title="to", form="number"),
        Column(key="calibration", title="Seed to seed", form="number"),
        Column(key="detectable", title="Detectable", form="number"),
        Column(key="p", title="p (Holm)", form="p"),
        Column(key="verdict", title="Verdict"),
        *if_any(frame, ACROSS),
    )
    notes: tuple[str, ...] = (
        "Standard errors are over documents and calibration samples together: variance over "
        "seeds / seeds + covariance over documents of different seeds. The seeds' variance is "
        "the larger of the pair's own and that of all methods of the rate, t with the "
        "degrees of freedom of that. Family: all pairs of methods of one model at one TCr. "
        "Detectable: the difference that so many seeds tell with 80 % power.",
    )
    if any(any(panel.looks) for panel in panels):
        notes = (
            *notes,
            "Documents were added after earlier looks; these tests hold for one look, so what they "
            "tell on the edge of 5 % is to be told again on seeds that were not looked at.",
        )
    return Table(
        name=f"methods_{by}",
        caption=f"Methods at equal TCr, by {NAMES[by]}",
        columns=columns,
        rows=frame,
        notes=notes,
        definition=by,
    )
