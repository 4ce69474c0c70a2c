"""The tables of a report, as data: which columns, which rows, which notes.

A `Table` carries numbers at full precision; `analysis.output.render` rounds and writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.summary import retention_table, summarise, values
from analysis.comparison.verdicts import Verdict, verdicts
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Definition, exact, tcr
from analysis.output.table import ACROSS, AT_CHANCE, OWN_SEED, STOPPED, Column, Table
from analysis.output.text import NAMES, listed, percent


def tcr_table(cells: pd.DataFrame) -> Table:
    """TCr by bits (rows) and sparsity (columns), like Table I of the paper."""
    sparsities = sorted({exact(p) for p in cells["sparsity"]})
    bits = sorted({float(q) for q in cells["bits"]}, reverse=True)
    have = {(exact(p), float(q)) for p, q in zip(cells["sparsity"], cells["bits"], strict=True)}
    rows = []
    for q in bits:
        row: dict[str, object] = {"bits": f"{q:g} bit"}
        for p in sparsities:
            row[str(p)] = float(tcr(float(p), q))
            row[f"{p}_mark"] = "" if (p, q) in have else "°"
        rows.append(row)
    columns = [Column(key="bits", title="Quantization")]
    columns += [Column(key=str(p), title=percent(p), form="percent") for p in sparsities]
    notes = ("° no cell of this sweep",) if len(have) < len(bits) * len(sparsities) else ()
    return Table(
        name="tcr",
        caption="Theoretical compression rate (TCr) by bits and sparsity",
        columns=tuple(columns),
        rows=pd.DataFrame(rows),
        notes=notes,
    )


def cells_table(panels: Sequence[Panel]) -> Table:
    """One row per cell: rates, sizes, retention per task, Sr1, Sr2 and the three SrCr."""
    rows = summarise(panels)
    if not rows.empty:
        rows["label"] = _labels(panels)
        rows["flags"] = [_flags(row) for row in rows.to_dict("records")]
        rows = pd.concat([rows, _by_task(panels, "retention")], axis=1)
    tasks = _tasks(panels)
    columns = [
        Column(key="model", title="Model"),
        Column(key="label", title="Cell"),
        Column(key="sr1", title="Sr1", form="estimate", definition="sr1"),
        Column(key="sr2", title="Sr2", form="estimate", definition="sr2"),
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="achieved_tcr", title="Achieved TCr", form="percent"),
        Column(key="whole_tcr", title="Whole-model TCr", form="percent", digits=2),
        Column(key="bits_per_weight", title="Bits/weight", form="number", digits=2),
        Column(key="bytes", title="Size, MB", form="megabytes", digits=1),
        Column(key="size", title="Size, % of dense", form="percent", digits=1),
        Column(key="containment", title="Mask kept", form="percent", digits=2),
        *(Column(key=f"task:{t}", title=f"R {t}", form="estimate") for t in tasks),
        Column(key="srcr_p", title="SrCr_p", form="estimate"),
        Column(key="srcr_q", title="SrCr_q", form="estimate"),
        Column(key="srcr_j", title="SrCr_j", form="estimate"),
        Column(key="srcr_estimate", title="SrCr_p × SrCr_q", form="estimate"),
        Column(key="gpu_hours", title="GPU hours", form="number", digits=2),
        Column(key="flags", title="Remarks"),
        Column(key="cell", title="Key"),
    ]
    notes = (
        "R is the retention of a task, value ± standard error; Sr2 is the paper's Sr. SrCr_p, "
        "SrCr_q and SrCr_j (each with Sr2) have different scales: compare within a column only. "
        "The key is that of the cell in the plan and in MLflow (tag isorate.cell).",
        *chance_notes(panels),
        *stopped_notes(panels),
    )
    return Table(
        name="cells", caption="Every cell", columns=_filled(columns, rows), rows=rows, notes=notes
    )


def scores_table(panels: Sequence[Panel]) -> Table:
    """One row per cell: the primary score of each task, as it was measured."""
    rows = (
        pd.concat([p.cells[["model", "cell", "label"]] for p in panels], ignore_index=True)
        if panels
        else pd.DataFrame()
    )
    if not rows.empty:
        rows["label"] = _labels(panels)
        rows = pd.concat([rows, _by_task(panels, "value")], axis=1)
    heads = {t: m for p in reversed(panels) for t, m in zip(p.tasks, p.metrics, strict=True)}
    columns = [Column(key="model", title="Model"), Column(key="label", title="Cell")]
    columns += [
        Column(key=f"task:{t}", title=f"{t} ({heads[t]})", form="estimate") for t in _tasks(panels)
    ]
    return Table(
        name="scores",
        caption="Scores as measured",
        columns=_filled(columns, rows),
        rows=rows,
        notes=(*weighing_notes(panels), *chance_notes(panels), *stopped_notes(panels)),
    )


def equal_tcr_table(panels: Sequence[Panel], by: Definition) -> Table:
    """The cells that share a TCr, ranked, with the test of each against the best."""
    rows = [
        row
        for panel in panels
        for verdict in verdicts(panel, by)
        for row in _group_rows(panel, verdict)
    ]
    frame = pd.DataFrame(rows)
    columns = [
        Column(key="model", title="Model"),
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="label", title="Cell"),
        Column(key="achieved_tcr", title="Achieved TCr", form="percent"),
        Column(key="sr", title=NAMES[by], form="estimate"),
        Column(key="difference", title="Below the best (95 % CI)", form="difference"),
        Column(key="p", title="p (Holm)", form="p"),
        Column(key="look", title="Told at look", form="number", digits=0),
        Column(key="verdict", title="Verdict"),
        ACROSS,
    ]
    notes = (
        "Family: all pairs of cells of one model at one TCr, but those that differ in their "
        "calibration seed alone; two-sided z tests, Holm's correction "
        "at 5 %; an interval is of its pair alone. The verdicts hold for these checkpoints; "
        "standard errors are over documents and say nothing of other calibration samples.",
        *grown_notes(panels),
        *chance_notes(panels),
    )
    return Table(
        name=f"equal_tcr_{by}",
        caption=f"Cells at equal TCr, by {NAMES[by]}",
        columns=_filled(columns, frame),
        rows=frame,
        notes=notes,
        definition=by,
    )


def chance_notes(panels: Sequence[Panel]) -> tuple[str, ...]:
    """One note per model for the tasks whose baseline says nothing, one for those without any."""
    notes = []
    for panel in panels:
        tasks = list(zip(panel.tasks, panel.chance, panel.counted, strict=True))
        weak = [f"{task} ({why})" for task, why, _ in tasks if why]
        unscored = [task for task, why, counted in tasks if not (why or counted)]
        if weak:
            notes.append(
                f"{AT_CHANCE} A retention means little, also inside Sr, where the "
                f"baseline says little. {panel.model}: {listed(weak)}."
            )
        if panel.baseline is None:
            notes.append(f"{panel.model}: no dense baseline is done, so nothing is retained yet.")
        elif unscored:
            notes.append(
                "The baseline has no usable score of these, so they count nowhere. "
                f"{panel.model}: {listed(unscored)}."
            )
    return tuple(notes)


def stopped_notes(panels: Sequence[Panel]) -> tuple[str, ...]:
    """What `STOPPED` means, if any cell bears it."""
    if not any(panel.stopped.any() for panel in panels):
        return ()
    return (
        f"{STOPPED} collapsed and asked no further: the score is the one so far, over fewer "
        "documents than the others, and is compared with nothing.",
    )


def grown_notes(panels: Sequence[Panel]) -> tuple[str, ...]:
    """How sweeps that grew are tested, if any did."""
    said = []
    for panel in panels:
        looks = zip(panel.tasks, panel.looks, strict=True)
        seen = {task: ", ".join(map(str, limits)) for task, limits in looks if limits}
        if seen:
            told = listed([f"{task} (at {limits} documents)" for task, limits in seen.items()])
            said.append(
                f"{panel.model}: documents were added after earlier looks at {told}. So p values "
                "and intervals are those that hold at all looks together (normal mixture), and a "
                "verdict stays at the look at which it fell."
            )
    return tuple(said)


def weighing_notes(panels: Sequence[Panel]) -> tuple[str, ...]:
    """What the score of a group of tasks is a mean over."""
    by = {t: how for p in panels for t, how in zip(p.tasks, p.weighed, strict=True) if how}
    whole, asked = ([t for t, how in by.items() if how == one] for one in ("size", "asked"))
    notes = []
    if whole:
        notes.append(
            f"{listed(whole)}: each subtask weighs by all its documents, however many were asked."
        )
    if asked:
        notes.append(
            f"{listed(asked)}: subtasks weigh by the documents asked, for how many they have in "
            "all was not recorded; under another limit it may be another mean."
        )
    return tuple(notes)


def _group_rows(panel: Panel, verdict: Verdict) -> list[dict[str, object]]:
    names, estimate = labels(panel), values(panel, verdict.by)
    achieved = panel.cells["achieved_tcr"].to_numpy(float)
    pairs = {pair.second: pair for pair in verdict.pairs}
    out = dict(verdict.left_out)
    rows: list[dict[str, object]] = []
    for row in [*verdict.ranked, *out]:
        pair = pairs.get(row)
        rows.append(
            {
                "model": panel.model,
                "cell": panel.cells["cell"].iat[row],
                "label": names[row],
                "tcr": float(verdict.tcr or 0),
                "achieved_tcr": achieved[row],
                "sr": estimate.value[row],
                "sr_stderr": estimate.stderr[row],
                "difference": pair.difference if pair else np.nan,
                "difference_low": pair.interval.low if pair else np.nan,
                "difference_high": pair.interval.high if pair else np.nan,
                "z": pair.z if pair else np.nan,
                "p": pair.p if pair else np.nan,
                **({"look": pair.look or np.nan} if pair and verdict.looks > 1 else {}),
                "verdict": _standing(verdict, row, out),
                "across": pair.across if pair else "",
            }
        )
    return rows


def _standing(verdict: Verdict, row: int, out: dict[int, str]) -> str:
    if row in out:
        return f"left out: {out[row]}"
    if row in verdict.own:
        return OWN_SEED
    if not verdict.pairs:
        return "nothing to compare"
    if row not in verdict.best:
        return "worse"
    if verdict.decided:
        return "best"
    return "highest, undecided" if row == verdict.ranked[0] else "undecided"


def _flags(row: Mapping[Hashable, object]) -> str:
    flags = []
    if row["status"] == "done":
        flags += ["collapsed"] if row["collapsed"] is True else []
        flags += ["mask ignored"] if row["mask"] == "ignore" else []
        flags += [f"label not proved: {row['unproved']}"] if row["unproved"] else []
        flags += ["label as stated, nothing was measured"] if _unmeasured(row) else []
        flags += ["N:M pattern violated"] if row["nm_valid"] is False else []
    flags += [str(row[key]) for key in ("why", "remark", "origin") if row[key]]
    return "; ".join(flags)


def _unmeasured(row: Mapping[Hashable, object]) -> bool:
    """Whether a compressed cell came as scores alone, so that its label is somebody's word."""
    imported = str(row["origin"]).startswith("imported from")
    return imported and row["kind"] != "dense" and row["bytes"] != row["bytes"]


def _labels(panels: Sequence[Panel]) -> list[str]:
    return [name for panel in panels for name in labels(panel)]


def _tasks(panels: Sequence[Panel]) -> list[str]:
    return sorted({t for p in panels for t in p.tasks}, key=lambda t: (t.casefold(), t))


def _by_task(panels: Sequence[Panel], value: str) -> pd.DataFrame:
    """Columns `task:<name>`, `..._stderr` and `..._mark`, one row per cell of all panels."""
    long = retention_table(panels)
    chance = np.where(long["at_chance"] != "", AT_CHANCE, "").astype(object)
    long["mark"] = chance + np.where(long["stopped"], STOPPED, "").astype(object)
    stderr = "stderr" if value == "value" else f"{value}_stderr"
    order = [cell for panel in panels for cell in panel.cells["cell"]]
    columns: dict[str, pd.Series] = {}
    pick: Callable[[str], pd.DataFrame] = lambda name: long.pivot(  # noqa: E731
        index="cell", columns="task", values=name
    ).reindex(order)
    for suffix, source in (("", value), ("_stderr", stderr), ("_mark", "mark")):
        for task, column in pick(source).items():
            columns[f"task:{task}{suffix}"] = column.reset_index(drop=True)
    return pd.DataFrame(columns)


def _filled(columns: Sequence[Column], rows: pd.DataFrame) -> tuple[Column, ...]:
    """The columns that say something: not all absent, and the model only if there are several."""
    if rows.empty:
        return tuple(columns)

    def says(column: Column) -> bool:
        if column.key not in rows:
            return False
        data = rows[column.key]
        if column.key == "model":
            return bool(data.nunique() > 1)
        return column.key.startswith("task:") or bool((data.notna() & (data != "")).any())

    return tuple(column for column in columns if says(column))
