"""The answer to each claim: the recomputed value, its error and a verdict.

A claim holds or fails when its test says so at 5 % after Holm's correction over its family
(all claims of one source about one model under one definition of Sr); else it is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.comparison.verdicts import ALPHA
from analysis.data.devices import across
from analysis.data.panel import Panel
from analysis.metrics import Definition
from analysis.output.table import Column, Table
from analysis.output.text import NAMES
from analysis.reproduction.claim import MARGIN, MODELS, Claim, Found, Missing
from analysis.statistics.holm import holm

Standing = Literal["holds", "fails", "undecided", "not tested"]


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
            met = across(panel.cells, range(len(panel.cells)))
            rows += [_across(row, met) for row in _judged(family, panel.model, definition)]
    return rows


def _across(row: Row, types: str) -> Row:
    """An answered claim with what its cells met, if that is several types of machine."""
    said = f"across machines ({types})" if types and row.verdict != "not tested" else ""
    return replace(row, note="; ".join(filter(None, (row.note, said))))


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
    return [
        _row(claim, model, NAMES[definition] if claim.by_definition else "–", found, float(p))
        for (claim, found), p in zip(family, corrected, strict=True)
    ]


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
    return Row(
        key=claim.key,
        where=claim.where,
        claim=claim.claim,
        reading=claim.reading,
        model=model,
        definition=definition,
        value=found.value,
        stderr=found.stderr,
        p=min(p, 1.0) if p == p else p,
        verdict=verdict,
        note=found.note,
    )


def alone(claim: Claim, model: str, definition: str, found: Found) -> Row:
    """A claim that is a family of its own, answered."""
    return _row(claim, model, definition, found, 2 * min(_tails(found)))


def averaged(
    rows: Sequence[Row], key: str, claim: Claim, found: Callable[[float, float], Found]
) -> list[Row]:
    """A claim about the mean over models, from the rows of another one; models are independent."""
    made = []
    for definition in dict.fromkeys(row.definition for row in rows if row.key == key):
        each = [
            r for r in rows if (r.key, r.definition) == (key, definition) and math.isfinite(r.value)
        ]
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
        shown = asked.setdefault(
            (row.key, row.model),
            {
                "key": row.key,
                "where": row.where,
                "claim": row.claim,
                "reading": row.reading,
                "model": row.model,
                "note": row.note,
            },
        )
        by = "sr1" if row.definition == NAMES["sr1"] else "sr2"
        shown |= {
            by: row.value,
            f"{by}_stderr": row.stderr,
            f"{by}_p": row.p,
            f"{by}_verdict": row.verdict,
        }
        if by == "sr1" and row.note and row.note != shown["note"]:
            shown["note"] = f"Sr2: {shown['note']}; Sr1: {row.note}"
    keys = ["key", "where", "claim", "reading", "model", "note"]
    keys += [f"{by}{part}" for by in ("sr2", "sr1") for part in ("", "_stderr", "_p", "_verdict")]
    columns = [
        Column(key="where", title="Where"),
        Column(key="claim", title="Claimed"),
        Column(key="reading", title="Tested as"),
        Column(key="model", title="Model"),
    ]
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
    return Table(
        name=name,
        caption=caption,
        columns=tuple(columns),
        notes=notes,
        rows=pd.DataFrame(list(asked.values()), columns=keys),
    )
