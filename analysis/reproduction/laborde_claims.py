"""The claims of arXiv:2505.07289, each as a test that runs on any results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from analysis.data.panel import Panel
from analysis.metrics import Array, Definition
from analysis.output.table import Table
from analysis.output.text import NAMES
from analysis.reproduction.claim import (
    MARGIN,
    Claim,
    Found,
    Missing,
    alike,
    around,
    better,
    row_of,
    sr_of,
    top_weighted,
)
from analysis.reproduction.claim_verdicts import Row, alone, answer, averaged, table
from analysis.reproduction.laborde_figures import JOINTS
from analysis.reproduction.laborde_tables import config, configs
from analysis.statistics.delta_method import propagate

GAIN = 0.20
_TASKS = ("MMLU-Pro", "BBH", "MATH")
_LITTLE = f"difference within ±{MARGIN:g}"
_ABOVE = "difference above 0"
_GAIN = f"{GAIN - MARGIN:.2f} to {GAIN + MARGIN:.2f}"


def _drops(panel: Panel, definition: Definition) -> Found:
    """How much more is lost from 4 to 3 bit than from 8 to 4 bit."""
    names = ("8bit", "4bit", "3bit")
    return Found(*sr_of(panel, names, definition, lambda a, b, c: (b - c) - (a - b)))


def _graceful(panel: Panel, definition: Definition) -> Found:
    """Loss per point of sparsity from 33.333 to 50 % minus the same up to 33.333 %."""
    return Found(
        *sr_of(
            panel,
            ("33.333%", "50%"),
            definition,
            lambda a, b: (a - b) / (50 / 3) - (1 - a) / (100 / 3),
        )
    )


def _steady(before: tuple[str, str], after: tuple[str, str]) -> Callable[..., Found]:
    """The gap between two quantizers changes by less than MARGIN when pruned first."""

    def test(panel: Panel, definition: Definition) -> Found:
        found = sr_of(panel, (*before, *after), definition, lambda a, b, c, d: (c - d) - (a - b))
        return Found(*found, -MARGIN, MARGIN)

    return test


def _estimate(low: float, high: float, without: str = "") -> Callable[..., Found]:
    """1 - (SrCr_p SrCr_q) / SrCr_j of 25 % + 4 bit; the weights cancel."""

    def test(panel: Panel, definition: Definition) -> Found:
        if without and without not in panel.tasks:
            raise Missing(f"no task {without}")
        names = ("25% + 4bit", "25%", "4bit")
        found = sr_of(panel, names, definition, lambda j, p, q: 1 - p * q / j, without=without)
        return Found(*found, low, high)

    return test


def _task_gain(task: str) -> Callable[..., Found]:
    """R_t of 25 % + 4 bit minus R_t of 3 bit."""

    def test(panel: Panel, definition: Definition) -> Found:
        if task not in panel.tasks or panel.baseline is None:
            raise Missing(f"no task {task}" if panel.baseline is not None else "no dense baseline")
        at = panel.tasks.index(task)
        rows = [panel.baseline, row_of(panel, "25% + 4bit"), row_of(panel, "3bit")]
        found = propagate(panel, rows, lambda s: float((s[1, at] - s[2, at]) / s[0, at]))
        return Found(*found, GAIN - MARGIN, GAIN + MARGIN)

    return test


def _math_lowest(panel: Panel, definition: Definition) -> Found:
    """In how many compressed cells MATH keeps the least of all tasks."""
    if "MATH" not in panel.tasks:
        raise Missing("no task MATH")
    at, each = panel.tasks.index("MATH"), panel.retentions()
    rows = [
        r
        for r in range(len(panel.cells))
        if r != panel.baseline and np.isfinite(each.value[r]).all()
    ]
    others = [t for t in range(len(panel.tasks)) if t != at]
    return _all_of([_gap(each.value[r], each.stderr[r], at, others) for r in rows], "cells")


def _gap(value: Array, stderr: Array, at: int, others: Sequence[int]) -> tuple[float, float]:
    """The lowest other retention minus that of one task, and its standard error."""
    low = min(others, key=lambda t: value[t])
    return float(value[low] - value[at]), math.hypot(stderr[low], stderr[at])


def _all_of(gaps: Sequence[tuple[float, float]], what: str) -> Found:
    """A claim that every one of n gaps is above 0: as true as the worst of them."""
    if not gaps:
        raise Missing("no compressed cell with all tasks")
    worst = min(gaps, key=lambda gap: gap[0] / gap[1] if gap[1] else math.inf)
    agree = sum(gap >= 0 for gap, _ in gaps)
    return Found(*worst, note=f"in {agree} of {len(gaps)} {what}", cases=len(gaps))


def _claims() -> list[Claim]:
    made = [
        Claim(
            key="graceful",
            where="IV-B1, fig. 1",
            test=_graceful,
            claim="Pruning degrades gracefully up to 33.333 %",
            reading="loss of Sr per point of sparsity, 33.333 to 50 % minus 0 to 33.333 %, above 0",
        ),
        Claim(
            key="eight-bit",
            where="IV-B1, fig. 2",
            test=alike("8bit", "dense"),
            claim="8 bit stays near the baseline",
            reading=f"8bit minus dense, {_LITTLE}",
        ),
        Claim(
            key="three-bit",
            where="IV-B1, fig. 2",
            test=_drops,
            claim="The critical threshold is around 3 bit",
            reading="loss from 4 to 3 bit minus loss from 8 to 4 bit, above 0",
        ),
        Claim(
            key="quant-50",
            where="IV-B1",
            test=better("8bit", "50%"),
            claim="At 50 % TCr quantization beats pruning",
            reading=f"8bit minus 50%, {_ABOVE}",
        ),
        Claim(
            key="quant-75",
            where="IV-B1",
            test=better("4bit", "75%"),
            claim="At 75 % TCr quantization beats pruning",
            reading=f"4bit minus 75%, {_ABOVE}",
        ),
        Claim(
            key="srcr-p",
            where="IV-B1, fig. 3",
            test=top_weighted("p", ("25%", "33.333%"), ("50%", "75%")),
            claim="Sparsities of 25-33.333 % trade best",
            reading="highest SrCr_p among them minus highest of the others, above 0",
        ),
        Claim(
            key="srcr-q",
            where="IV-B1, fig. 3",
            test=top_weighted("q", ("4bit", "3bit"), ("8bit", "2bit")),
            claim="4 and 3 bit trade best",
            reading="highest SrCr_q among them minus highest of the others, above 0",
        ),
        *_quantizers(),
        Claim(
            key="joint-75",
            where="IV-B3, fig. 5",
            test=better("4bit", "50% + 8bit"),
            claim="At 75 % TCr 50 % + 8 bit loses to 4 bit",
            reading=f"4bit minus 50% + 8bit, {_ABOVE}",
        ),
        Claim(
            key="joint-81",
            where="IV-B3, fig. 5",
            test=better("25% + 4bit", "3bit"),
            claim="At 81.25 % TCr 25 % + 4 bit beats 3 bit",
            reading=f"25% + 4bit minus 3bit, {_ABOVE}",
        ),
        Claim(
            key="gain-points",
            where="abstract, IV-B3, V",
            test=around("25% + 4bit", "3bit", GAIN),
            claim="... by around 20 %, read as points",
            reading=f"25% + 4bit minus 3bit, {_GAIN}",
        ),
        Claim(
            key="gain-relative",
            where="abstract, IV-B3, V",
            test=around("25% + 4bit", "3bit", GAIN, relative=True),
            claim="... by around 20 %, read as relative",
            reading=f"25% + 4bit over 3bit, minus 1, {_GAIN}",
        ),
        *(
            Claim(
                key=f"gain-{task}",
                where="IV-B3",
                test=_task_gain(task),
                by_definition=False,
                claim=f"... across all metrics: {task}",
                reading=f"R of 25% + 4bit minus R of 3bit, {_GAIN}",
            )
            for task in _TASKS
        ),
        Claim(
            key="joint-87",
            where="IV-B3, fig. 5",
            test=better("33.333% + 3bit", "2bit"),
            claim="At 87.5 % TCr 33.333 % + 3 bit beats 2 bit",
            reading=f"33.333% + 3bit minus 2bit, {_ABOVE}",
        ),
        Claim(
            key="optimum",
            where="IV-B3, fig. 6",
            test=top_weighted("j", ("25% + 4bit",), [n for n in JOINTS if n != "25% + 4bit"]),
            claim="25 % + 4 bit is the optimum of SrCr_j for both models",
            reading="its SrCr_j minus the highest of the other joint cells of fig. 6, above 0",
        ),
        *_estimates(),
        *_patterns(),
        Claim(
            key="math",
            where="IV-B5",
            test=_math_lowest,
            by_definition=False,
            claim="MATH is more sensitive than the other tasks in all experiments",
            reading="lowest other R minus R of MATH in the worst compressed cell, above 0",
        ),
    ]
    return made


def _quantizers() -> list[Claim]:
    pairs = (
        ("4bit", "NF4"),
        ("25% + 4bit", "25% + NF4"),
        ("8bit", "LLM.int8"),
        ("50% + 8bit", "50% + LLM.int8"),
    )
    alikes = [
        Claim(
            key=f"alike-{one}",
            where="IV-B2, fig. 4",
            test=alike(one, two),
            claim=f"GPTQ differs little from {two.split(' + ')[-1]}",
            reading=f"{one} minus {two}, {_LITTLE}",
        )
        for one, two in pairs
    ]
    steady = [
        Claim(
            key=f"steady-{before[0]}",
            where="IV-B2, fig. 4",
            test=_steady(before, after),
            claim=f"... and pruning first changes that gap little ({before[1]})",
            reading=f"({after[0]} minus {after[1]}) minus ({before[0]} minus {before[1]}), "
            f"within ±{MARGIN:g}",
        )
        for before, after in (pairs[:2], pairs[2:])
    ]
    return alikes + steady


def _estimates() -> list[Claim]:
    what = "1 - SrCr_p × SrCr_q / SrCr_j of 25% + 4bit"
    return [
        Claim(
            key="estimate-close",
            where="IV-B3, fig. 6",
            test=_estimate(-MARGIN, MARGIN),
            claim="Mistral: the estimate matches the joint cell closely",
            reading=f"{what}, within ±{MARGIN:g}",
            model="mistral",
        ),
        Claim(
            key="estimate-low",
            where="IV-B3, fig. 6",
            test=_estimate(0, math.inf),
            claim="LLaMA: the joint cell exceeds its estimate",
            reading=f"{what}, above 0",
            model="llama",
        ),
        Claim(
            key="estimate-math",
            where="IV-B3",
            test=_estimate(-MARGIN, MARGIN, "MATH"),
            claim="LLaMA: that is largely due to MATH under 4 bit",
            reading=f"{what}, without MATH, within ±{MARGIN:g}",
            model="llama",
        ),
    ]


def _patterns() -> list[Claim]:
    return [
        Claim(
            key="two-of-eight",
            where="IV-B4, fig. 7",
            test=better("2:8", "1:4"),
            claim="2:8 is the better pattern at 25 %",
            reading=f"2:8 minus 1:4, {_ABOVE}",
        ),
        Claim(
            key="two-of-eight-4bit",
            where="IV-B4, fig. 8",
            test=better("2:8 + 4bit", "1:4 + 4bit"),
            claim="... also with 4 bit",
            reading=f"2:8 + 4bit minus 1:4 + 4bit, {_ABOVE}",
        ),
        Claim(
            key="competitive",
            where="IV-B6, V",
            test=alike("25% + 4bit", "2:8 + 4bit"),
            claim="2:8 + 4 bit stays competitive with unstructured",
            reading=f"25% + 4bit minus 2:8 + 4bit, {_LITTLE}",
        ),
        *(
            Claim(
                key=f"pattern-{one}",
                where="IV-B4, fig. 8",
                test=better(one, two),
                claim=f"{one} beats {two} at the same TCr",
                reading=f"{one} minus {two}, {_ABOVE}",
            )
            for one, two in (
                ("2:8 + 4bit", "3bit"),
                ("1:4 + 4bit", "3bit"),
                ("2:6 + 3bit", "2bit"),
                ("1:3 + 3bit", "2bit"),
            )
        ),
    ]


def rows(panels: Sequence[Panel]) -> list[Row]:
    """All claims, about each model under Sr2 (the paper's) and Sr1, then those across models."""
    answered = answer(_claims(), panels, ("sr2", "sr1"))
    for key, title in (("gain-points", "points"), ("gain-relative", "relative")):
        claim = Claim(
            key=f"{key}-mean",
            where="abstract",
            test=better("25% + 4bit", "3bit"),
            claim=f"25 % + 4 bit gains 20 % on average over models, read as {title}",
            reading=f"mean over models, {_GAIN}",
        )
        answered += averaged(
            answered, key, claim, lambda v, s: Found(v, s, GAIN - MARGIN, GAIN + MARGIN)
        )
    return answered + _resilience(panels)


def _resilience(panels: Sequence[Panel]) -> list[Row]:
    """Whether Mistral keeps more than LLaMA in every cell that both have."""
    named = {word: p for p in panels for word in ("llama", "mistral") if word in p.model.casefold()}
    if len(named) < 2:
        return []
    claim = Claim(
        key="resilience",
        where="IV-B5",
        test=better("25%", "dense"),
        claim="Mistral is consistently more resilient than LLaMA",
        reading="Sr of Mistral minus Sr of LLaMA in the worst of all compressed cells, above 0",
    )
    made = []
    for definition in ("sr2", "sr1"):
        gaps = _between(named["mistral"], named["llama"], definition)
        if gaps:
            found = _all_of(gaps, "cells")
            made.append(alone(claim, "Mistral and LLaMA", NAMES[definition], found))
    return made


def _between(first: Panel, second: Panel, definition: str) -> list[tuple[float, float]]:
    estimates = [p.sr1() if definition == "sr1" else p.sr2() for p in (first, second)]
    found = []
    for one in configs():
        if one == config("dense"):
            continue
        try:
            pair = [
                (e.value[row_of(p, one.label)], e.stderr[row_of(p, one.label)])
                for p, e in zip((first, second), estimates, strict=True)
            ]
        except Missing:
            continue
        (a, s), (b, t) = pair
        if np.isfinite([a, b, s, t]).all():
            found.append((float(a - b), math.hypot(s, t)))
    return found


def claims_table(panels: Sequence[Panel]) -> Table:
    """The claims as a table for the report."""
    return table(rows(panels), "claims", "What arXiv:2505.07289 claims, recomputed")
