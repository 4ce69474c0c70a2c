"""Across the models of a family: is a compressed larger model better than a smaller one?

Raw scores against bytes, since retentions of different models have different baselines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.size import TOLERANCE, front, sizes
from analysis.comparison.verdicts import ALPHA
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.output.figure import COLOURS, MARKERS, Figure, canvas, finished
from analysis.output.table import Column, Table
from analysis.published.reference import facts
from analysis.statistics.holm import holm

FAMILIES = {
    "Qwen2.5": (
        "Qwen2.5-0.5B",
        "Qwen2.5-1.5B",
        "Qwen2.5-3B",
        "Qwen2.5-7B",
        "Qwen2.5-14B",
        "Qwen2.5-32B",
        "Qwen2.5-72B",
    ),
    "LLaMA-2": ("LLaMA-2-7B", "LLaMA-2-13B", "LLaMA-2-70B"),
    "Gemma-3": ("Gemma-3-1B-IT", "Gemma-3-4B-IT", "Gemma-3-12B-IT", "Gemma-3-27B-IT"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """Cells of several models, comparable by one score.

    Attributes:
        name: of the family, or of the sweep.
        score: what is compared, for people.
        higher: whether more of it is better.
        rows: one per cell: model, cell, rank (of the model, smallest first), bytes, value,
            stderr (nan if unknown).
    """

    name: str
    score: str
    higher: bool
    rows: pd.DataFrame


def published() -> list[Family]:
    """Perplexity on WikiText2 against file size, MPT tables 5 and 6 (GGUF files, 1 GB = 1e9)."""
    found = pd.concat([facts("mpt", "5"), facts("mpt", "6")])
    made = []
    for name, models in FAMILIES.items():
        mine = found[found["model"].isin(models)]
        rows = [
            {
                "model": model,
                "cell": quant or "16 bit",
                "rank": models.index(model),
                "bytes": _one(part, "size") * 1e9,
                "value": _one(part, "ppl"),
                "stderr": _one(part, "ppl", "std"),
            }
            for (model, quant, _), part in mine.groupby(
                ["model", "method_quant", "bits"], sort=False
            )
        ]
        frame = pd.DataFrame(rows).dropna(subset=["bytes", "value"])
        made.append(
            Family(
                name=name,
                score="perplexity on WikiText2",
                higher=False,
                rows=frame.reset_index(drop=True),
            )
        )
    return made


def _one(part: pd.DataFrame, metric: str, column: str = "value") -> float:
    rows = part[(part["metric"] == metric) & part["value"].notna()]
    return float(rows[column].iloc[0]) if len(rows) else math.nan


def measured(panels: Sequence[Panel], name: str) -> Family | None:
    """The models of a sweep: mean score of the tasks that all have, against bytes.

    None unless at least two models share a task where higher is better and have sizes.
    """
    up = [{t for t, h in zip(p.tasks, p.higher, strict=True) if h} for p in panels]
    shared = sorted(set.intersection(*up)) if len(panels) > 1 else []
    if not shared:
        return None
    rows = pd.concat([_points(panel, shared) for panel in panels], ignore_index=True)
    if rows["model"].nunique() < 2:
        return None
    weights = rows.groupby("model")["weights"].max().sort_values()
    rank = {model: i for i, model in enumerate(weights.index)}
    rows = rows.assign(rank=rows["model"].map(rank)).drop(columns="weights")
    return Family(name=name, score=f"mean of {', '.join(shared)}", higher=True, rows=rows)


def _points(panel: Panel, tasks: Sequence[str]) -> pd.DataFrame:
    table = sizes(panel)
    at = [panel.tasks.index(task) for task in tasks]
    size = table["bytes"].fillna(table["bytes_served"])
    rows = pd.DataFrame(
        {
            "model": panel.model,
            "cell": labels(panel),
            "bytes": size,
            "weights": table["total_weights"],
            "value": panel.value[:, at].mean(axis=1),
            "stderr": np.sqrt((panel.stderr[:, at] ** 2).sum(axis=1)) / len(at),
        }
    )
    return rows[(panel.cells["status"] == "done").to_numpy()].dropna(subset=["bytes", "value"])


def contests(family: Family) -> pd.DataFrame:
    """Every cell of a smaller model against the best cell of a larger one with no more bytes.

    z counts standard errors by which the larger model is better (unpaired, which is cautious);
    p is two-sided, Holm over the family. Cells that no larger model fits under are left out.
    """
    sign, made = (1 if family.higher else -1), []
    for row in family.rows.to_dict("records"):
        fits = family.rows["bytes"] <= row["bytes"] * (1 + TOLERANCE)
        larger = family.rows[fits & (family.rows["rank"] > row["rank"])]
        if larger.empty:
            continue
        best = larger.loc[(sign * larger["value"]).idxmax()]
        gain = sign * (best["value"] - row["value"])
        z = gain / math.hypot(best["stderr"], row["stderr"])
        made.append(
            {
                "family": family.name,
                "model": row["model"],
                "cell": row["cell"],
                "bytes": row["bytes"],
                "value": row["value"],
                "value_stderr": row["stderr"],
                "rival": f"{best['model']} {best['cell']}",
                "rival_bytes": best["bytes"],
                "rival_value": best["value"],
                "rival_value_stderr": best["stderr"],
                "gain": gain,
                "z": z,
            }
        )
    frame = pd.DataFrame(made)
    if frame.empty:
        return frame
    raw = np.array([math.erfc(abs(z) / math.sqrt(2)) if z == z else math.nan for z in frame["z"]])
    frame["p"] = holm(raw)
    frame["verdict"] = [_verdict(z, p) for z, p in zip(frame["z"], frame["p"], strict=True)]
    return frame


def _verdict(z: float, p: float) -> str:
    if not p <= ALPHA:
        return "undecided"
    return "the larger, compressed" if z > 0 else "the smaller"


def contest_table(families: Sequence[Family]) -> Table:
    """All contests of the families."""
    found = [contests(family) for family in families]
    columns = (
        Column(key="family", title="Family"),
        Column(key="model", title="Smaller model"),
        Column(key="cell", title="Its cell"),
        Column(key="bytes", title="MB", form="megabytes", digits=0),
        Column(key="value", title="Score", form="estimate", digits=2),
        Column(key="rival", title="Best larger with no more bytes"),
        Column(key="rival_bytes", title="MB", form="megabytes", digits=0),
        Column(key="rival_value", title="Score", form="estimate", digits=2),
        Column(key="z", title="Standard errors", form="number", digits=1),
        Column(key="p", title="p (Holm)", form="p"),
        Column(key="verdict", title="Better"),
    )
    scores = "; ".join(
        f"{f.name}: {f.score}, {'higher' if f.higher else 'lower'} is better" for f in families
    )
    return Table(
        name="families",
        columns=columns,
        rows=pd.concat([pd.DataFrame(), *found]),
        caption="A compressed larger model against a smaller one of the same bytes",
        notes=(
            f"{scores}. Standard errors are over documents, unpaired; each family of "
            "models is a family of tests.",
        ),
    )


def family_figures(families: Sequence[Family]) -> Iterator[Figure]:
    """Score against size, a line per model, and the Pareto front."""
    for family in families:
        with canvas(7.2, 4.2) as (drawing, (axes,)):
            for i, (model, part) in enumerate(family.rows.groupby("model", sort=False)):
                line = part.sort_values("bytes")
                axes.errorbar(
                    line["bytes"] / 1e9,
                    line["value"],
                    yerr=line["stderr"].fillna(0),
                    marker=MARKERS[i % len(MARKERS)],
                    color=COLOURS[i % len(COLOURS)],
                    label=str(model),
                    elinewidth=1,
                    linewidth=0.9,
                )
            sign = 1 if family.higher else -1
            on = family.rows.iloc[
                front(
                    family.rows["bytes"].to_numpy(float),
                    sign * family.rows["value"].to_numpy(float),
                )
            ]
            axes.plot(
                on["bytes"] / 1e9,
                on["value"],
                linestyle="none",
                marker="o",
                markersize=11,
                markerfacecolor="none",
                markeredgecolor="#000000",
                label="Pareto front",
                zorder=4,
            )
            axes.set(
                xscale="log",
                xlabel="Size (GB, logarithmic)",
                ylabel=family.score,
                title=family.name,
            )
            _plain(axes.xaxis)
            if not family.higher:
                axes.set_yscale("log")
                _plain(axes.yaxis)
            drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
            caption = (
                f"{family.name}: {family.score} against size; circles are on the Pareto "
                "front, bars are one standard error."
            )
            yield finished(drawing, "family", family.name, caption)


def _plain(axis: Any) -> None:
    """Plain numbers at 1, 2, 3, 5, 7 of each decade of a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
