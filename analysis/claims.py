"""Claims about cells as tests: what is claimed, the recomputed value, its error, a verdict.

A claim holds or fails when its test says so at 5 % after Holm's correction over its family
(all claims of one source about one model under one definition of Sr); else it is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.compare import ALPHA, Definition, holm
from analysis.delta import propagate
from analysis.laborde import config, find
from analysis.metrics import Array, weight_j, weight_p, weight_q
from analysis.panel import Panel
from analysis.tables import Column, Table
from analysis.wording import NAMES

Standing = Literal["holds", "fails", "undecided", "not tested"]
MARGIN = 0.05
"""What "differs little" and "around 20 %" are taken to mean: within 0.05 of retention."""


class Found(NamedTuple):
    """A recomputed quantity and the range in which the claim would be true."""

    value: float
    stderr: float
    low: float = 0.0
    high: float = math.inf
    note: str = ""
    cases: int = 1
    """Of how many cases this is the worst one, for a claim about all of them."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a source.

    Attributes:
        key: short and unique.
        where: the section, figure or table that makes it.
        claim: what is claimed, in our words.
        reading: the quantity that is tested and the range in which the claim is true.
        test: panel and definition of Sr -> the quantity; `Missing` when cells lack.
        model: only for models whose name has this word, or that have none of MODELS.
        by_definition: whether it is asked under Sr1 and Sr2 or, without Sr in it, once.
    """

    key: str
    where: str
    claim: str
    reading: str
    test: Callable[[Panel, Definition], Found]
    model: str = ""
    by_definition: bool = True


MODELS = ("llama", "mistral")


class Missing(Exception):
    """A claim needs a cell or a task that the results lack."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim about one model under one definition, answered."""

    key: str
    where: str
    claim: str
    reading: str
    model: str
    definition: str
    value: float
    stderr: float
    p: float
    verdict: Standing
    note: str


def semantic(
    scores: Array, dense: Array, higher: NDArray[np.bool_], definition: Definition
) -> float:
    """Sr of one cell, eq. 11 or 12, over the tasks whose dense score is finite.

    Args:
        scores: (T,) of the cell.
        dense: (T,) of the baseline.
        higher: (T,) whether higher is better.
        definition: "sr1" or "sr2".
    """
    kept = np.isfinite(dense)
    if definition == "sr2":
        kept &= higher
        return float(scores[kept].sum() / dense[kept].sum())
    return float(np.where(higher, scores / dense, dense / scores)[kept].mean())


def sr_of(
    panel: Panel, names: Sequence[str], definition: Definition, function: Callable[..., float],
    *, without: str = "",
) -> tuple[float, float]:  # fmt: skip
    """(value, error) of a function of the Sr of some cells, named by their labels.

    Args:
        panel: the scores.
        names: labels of the paper's cells.
        definition: of Sr.
        function: of as many numbers as there are names.
        without: a task that is left out.

    Raises:
        Missing: a cell or the baseline lacks, or a score of it.
    """
    if panel.baseline is None:
        raise Missing("no dense baseline")
    rows = [panel.baseline, *(row_of(panel, name) for name in names)]
    keep = np.array([task != without for task in panel.tasks])

    def whole(scores: Array) -> float:
        dense = np.where(keep, scores[0], np.nan)
        return function(*(semantic(s, dense, panel.higher, definition) for s in scores[1:]))

    value, stderr = propagate(panel, rows, whole)
    if not np.isfinite(value):
        raise Missing("; ".join(w for row in rows if (w := panel.why_no_sr(row))) or "no score")
    return value, stderr


def row_of(panel: Panel, name: str) -> int:
    """The row of a cell of the paper.

    Raises:
        Missing: there is none.
    """
    row = find(panel, config(name))
    if row is None:
        raise Missing(f"no cell {name}")
    return row


def better(first: str, second: str) -> Callable[[Panel, Definition], Found]:
    """Sr of the first minus Sr of the second is above 0."""

    def test(panel: Panel, definition: Definition) -> Found:
        return Found(*sr_of(panel, (first, second), definition, lambda a, b: a - b))

    return test


def around(
    first: str, second: str, target: float, *, relative: bool = False
) -> Callable[[Panel, Definition], Found]:
    """The difference (or the ratio minus 1) lies within MARGIN of the target."""

    def test(panel: Panel, definition: Definition) -> Found:
        how = (lambda a, b: a / b - 1) if relative else (lambda a, b: a - b)
        found = sr_of(panel, (first, second), definition, how)
        return Found(*found, target - MARGIN, target + MARGIN)

    return test


def alike(first: str, second: str) -> Callable[[Panel, Definition], Found]:
    """Both Sr differ by less than MARGIN."""
    return around(first, second, 0.0)


def top_weighted(
    kind: str, inside: Sequence[str], outside: Sequence[str]
) -> Callable[[Panel, Definition], Found]:
    """The best SrCr of some cells is above the best of the others; `kind` is p, q or j.

    The best of each side is picked by value, so the test is somewhat bold when several
    are close.
    """

    def test(panel: Panel, definition: Definition) -> Found:
        each = {n: sr_of(panel, (n,), definition, lambda a: a)[0] * _weight(kind, n)
                for n in (*inside, *outside)}  # fmt: skip
        one, two = (max(side, key=each.__getitem__) for side in (inside, outside))
        w1, w2 = _weight(kind, one), _weight(kind, two)
        found = sr_of(panel, (one, two), definition, lambda a, b: w1 * a - w2 * b)
        return Found(*found, note=f"{one} {each[one]:.3f}, {two} {each[two]:.3f}")

    return test


def _weight(kind: str, name: str) -> float:
    one = config(name)
    if kind == "p":
        return float(weight_p(one.sparsity))
    return float(weight_q(one.bits) if kind == "q" else weight_j(one.sparsity, one.bits))


def answer(
    claims: Iterable[Claim], panels: Sequence[Panel], definitions: Sequence[Definition]
) -> list[Row]:
    """Every claim about every model, verdicts corrected within each family."""
    claims, rows = list(claims), []
    for panel in panels:
        for definition in definitions:
            asked = [c for c in claims if _concerns(c, panel.model)]
            asked = [c for c in asked if c.by_definition or definition == definitions[0]]
            family = [(claim, _ask(claim, panel, definition)) for claim in asked]
            rows += _judged(family, panel.model, definition)
    return rows


def _concerns(claim: Claim, model: str) -> bool:
    name = model.casefold()
    return not claim.model or claim.model in name or not any(word in name for word in MODELS)


def _ask(claim: Claim, panel: Panel, definition: Definition) -> Found:
    try:
        return claim.test(panel, definition)
    except Missing as lack:
        return Found(math.nan, math.nan, note=str(lack))


def _judged(family: Sequence[tuple[Claim, Found]], model: str, definition: Definition) -> list[Row]:
    raw = np.array([2 * min(_tails(found)) for _, found in family])
    corrected = holm(raw)
    return [_row(claim, model, NAMES[definition] if claim.by_definition else "–", found, float(p))
            for (claim, found), p in zip(family, corrected, strict=True)]  # fmt: skip


def _tails(found: Found) -> tuple[float, float]:
    """One-sided p values: that the claim is false (then it holds), and that it is true."""
    value, stderr, low, high, _, cases = found
    if not (np.isfinite(value) and np.isfinite(stderr)):
        return math.nan, math.nan
    if stderr == 0:
        inside = low < value < high
        return (0.0, 1.0) if inside else (1.0, 0.0)
    # Two one-sided tests (Schuirmann 1987): inside the range only if above low and below high.
    holds = max(_above((low - value) / stderr), _above((value - high) / stderr))
    fails = min(_above((value - low) / stderr), _above((high - value) / stderr))
    # The worst case speaks for all of them; against all it was picked from many (Bonferroni).
    return holds, min(1.0, cases * fails)


def _above(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _row(claim: Claim, model: str, definition: str, found: Found, p: float) -> Row:
    holds, fails = _tails(found)
    verdict: Standing = "undecided"
    if math.isnan(found.value):
        verdict = "not tested"
    elif p <= ALPHA:
        verdict = "holds" if holds < fails else "fails"
    return Row(key=claim.key, where=claim.where, claim=claim.claim, reading=claim.reading,
               model=model, definition=definition, value=found.value, stderr=found.stderr,
               p=min(p, 1.0) if p == p else p, verdict=verdict, note=found.note)  # fmt: skip


def alone(claim: Claim, model: str, definition: str, found: Found) -> Row:
    """A claim that is a family of its own, answered."""
    return _row(claim, model, definition, found, 2 * min(_tails(found)))


def averaged(
    rows: Sequence[Row], key: str, claim: Claim, found: Callable[[float, float], Found]
) -> list[Row]:
    """A claim about the mean over models, from the rows of another one; models are independent."""
    made = []
    for definition in dict.fromkeys(row.definition for row in rows if row.key == key):
        each = [r for r in rows if (r.key, r.definition) == (key, definition)
                and math.isfinite(r.value)]  # fmt: skip
        if len(each) > 1:
            value = float(np.mean([r.value for r in each]))
            stderr = math.sqrt(sum(r.stderr**2 for r in each)) / len(each)
            row = alone(claim, "mean of models", definition, found(value, stderr))
            made.append(replace(row, note=f"{len(each)} models, a family of its own"))
    return made


def table(rows: Sequence[Row], name: str, caption: str) -> Table:
    """The claims as a table: one row per claim and model, by Sr2 and by Sr1 side by side."""
    asked: dict[tuple[str, str], dict[str, object]] = {}
    for row in rows:
        shown = asked.setdefault((row.key, row.model), {
            "key": row.key, "where": row.where, "claim": row.claim, "reading": row.reading,
            "model": row.model, "note": row.note,
        })  # fmt: skip
        by = "sr1" if row.definition == NAMES["sr1"] else "sr2"
        shown |= {f"{by}": row.value, f"{by}_stderr": row.stderr, f"{by}_p": row.p,
                  f"{by}_verdict": row.verdict}  # fmt: skip
        if by == "sr1" and row.note and row.note != shown["note"]:
            shown["note"] = f"Sr2: {shown['note']}; Sr1: {row.note}"
    keys = ["key", "where", "claim", "reading", "model", "note"]
    keys += [f"{by}{part}" for by in ("sr2", "sr1") for part in ("", "_stderr", "_p", "_verdict")]
    columns = [
        Column(key="where", title="Where"), Column(key="claim", title="Claimed"),
        Column(key="reading", title="Tested as"), Column(key="model", title="Model"),
    ]  # fmt: skip
    for by in ("sr2", "sr1"):
        columns += [
            Column(key=by, title=f"By {NAMES[by]}", form="estimate"),
            Column(key=f"{by}_p", title="p (Holm)", form="p"),
            Column(key=f"{by}_verdict", title="Verdict"),
        ]
    columns.append(Column(key="note", title="Remark"))
    notes = (
        "Family: all claims about one model under one definition of Sr; Holm's correction at "
        f'5 %, each test two-sided. "Around" and "little" mean within {MARGIN:g} of retention '
        "(two one-sided tests). Verdicts hold for these checkpoints: errors are over documents. "
        "A claim without Sr in it has one answer.",
    )
    return Table(name=name, caption=caption, columns=tuple(columns), notes=notes,
                 rows=pd.DataFrame(list(asked.values()), columns=keys))  # fmt: skip
