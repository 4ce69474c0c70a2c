"""Measured numbers beside published ones: per cell and benchmark, and what differs in how."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.data.panel import Panel
from analysis.data.results import Results
from analysis.output.table import Column, Table
from analysis.reproduction.laborde_tables import Config, configs, find

OUTSIDE = 2.0
"""From how many standard errors on a difference is flagged."""

Row = dict[str, Any]


def beside_table(
    measured: Sequence[Panel], published: Sequence[Panel], versions: Mapping[tuple[str, str], str]
) -> Table:
    """One row per cell and benchmark that both have; differences in points and standard errors.

    A model is the same when its name is, whatever the case. The two are independent
    measurements, so z = difference / sqrt(s1^2 + s2^2); |z| above 2 is flagged.

    Args:
        measured: panels by benchmark.
        published: the paper's.
        versions: (model, benchmark) -> the version of the task that was measured.
    """
    rows = [row for ours, theirs in _pairs(measured, published) for row in _rows(ours, theirs)]
    columns = (
        Column(key="model", title="Model"),
        Column(key="label", title="Cell"),
        Column(key="task", title="Benchmark"),
        Column(key="published", title="Published", form="estimate", digits=1),
        Column(key="measured", title="Measured", form="estimate", digits=1),
        Column(key="difference", title="Difference", form="number", digits=1),
        Column(key="z", title="Standard errors", form="number", digits=1),
        Column(key="flag", title="Flag"),
        Column(key="how", title="Measured differently"),
    )
    frame = pd.DataFrame(rows, columns=_KEYS)
    return Table(
        name="both",
        caption="Measured beside published (points of 100)",
        columns=columns,
        rows=frame,
        notes=_notes(measured, published, frame, versions),
    )


_KEYS = [
    "model",
    "cell",
    "label",
    "task",
    "published",
    "published_stderr",
    "measured",
    "measured_stderr",
    "difference",
    "z",
    "flag",
    "how",
]


def _pairs(measured: Sequence[Panel], published: Sequence[Panel]) -> Iterator[tuple[Panel, Panel]]:
    by_name = {panel.model.casefold(): panel for panel in published}
    for panel in measured:
        if panel.model.casefold() in by_name:
            yield panel, by_name[panel.model.casefold()]


def _rows(ours: Panel, theirs: Panel) -> Iterator[Row]:
    for one in configs():
        mine, known = find(ours, one), find(theirs, one)
        if mine is None or known is None:
            continue
        for task in (t for t in theirs.tasks if t in ours.tasks):
            yield _row(ours, theirs, (mine, known), task, one)


def _row(ours: Panel, theirs: Panel, rows: tuple[int, int], task: str, one: Config) -> Row:
    (a, s), (b, t) = (
        (
            100 * float(panel.value[row, panel.tasks.index(task)]),
            100 * float(panel.stderr[row, panel.tasks.index(task)]),
        )
        for panel, row in zip((ours, theirs), rows, strict=True)
    )
    error = math.hypot(s, t)
    z = (a - b) / error if error > 0 else math.nan
    return {
        "model": ours.model,
        "cell": ours.cells["cell"].iat[rows[0]],
        "label": one.label,
        "task": task,
        "published": b,
        "published_stderr": t,
        "measured": a,
        "measured_stderr": s,
        "difference": a - b,
        "z": z,
        "flag": _flag(a, z),
        "how": _how(ours, theirs, rows),
    }


def _flag(measured: float, z: float) -> str:
    if math.isnan(measured):
        return "not measured"
    return "outside 2" if abs(z) > OUTSIDE else ""


def _how(ours: Panel, theirs: Panel, rows: tuple[int, int]) -> str:
    """What is known to differ in how the two cells were made."""
    mine, known = (p.cells.iloc[row] for p, row in zip((ours, theirs), rows, strict=True))
    said = []
    if mine["mask"] != known["mask"]:
        said.append(
            {"keep": "mask kept (the paper quantizes pruned weights too)"}.get(
                str(mine["mask"]), f"mask {mine['mask']}"
            )
        )
    sizes = (mine["group_size"], known["group_size"])
    if all(size == size for size in sizes) and sizes[0] != sizes[1]:
        said.append(f"group size {sizes[0]:g} instead of {sizes[1]:g}")
    if mine["status"] != "done":
        said.append(f"{mine['status']}: {mine['reason']}" if mine["reason"] else mine["status"])
    return "; ".join(said)


def _notes(
    measured: Sequence[Panel],
    published: Sequence[Panel],
    frame: pd.DataFrame,
    versions: Mapping[tuple[str, str], str],
) -> tuple[str, ...]:
    known = {task for panel in published for task in panel.tasks}
    said = [
        f"{task} ({model}): measured with task version {version or '?'}; the paper names none "
        "and is older, so absolute scores may have shifted with the task."
        for (model, task), version in versions.items()
        if task in known
    ]
    compared = frame["z"].notna().sum()
    outside = (frame["flag"] == "outside 2").sum()
    if compared:
        said.insert(
            0,
            f"{outside} of {compared} differences are outside {OUTSIDE:g} standard "
            "errors; about 1 in 20 would be by chance alone.",
        )
    elif frame.empty:
        names = [", ".join(sorted(p.model for p in side)) for side in (measured, published)]
        tasks = [
            ", ".join(sorted({t for p in side for t in p.tasks})) for side in (measured, published)
        ]
        said.append(
            f"Nothing in common: measured {names[0]} on {tasks[0]}; published {names[1]} "
            f"on {tasks[1]}."
        )
    return tuple(said)


def versions(results: Results) -> dict[tuple[str, str], str]:
    """(model, task) -> its version or versions in these results."""
    models = dict(zip(results.cells["cell"], results.cells["model"], strict=True))
    primary = results.scores[results.scores["primary"].astype(bool)]
    keys = [primary["cell"].map(models), primary["task"]]
    found = primary.groupby(keys, sort=False)["version"]
    return {(str(m), str(t)): ", ".join(sorted(set(part))) for (m, t), part in found}
