"""JSQ's published rows as points against rate."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.output.figure import Figure, canvas, finished
from analysis.published.jsq import points

# As in the report's own plots against rate.
STYLE = {"pruning": ("#009E73", "s"), "quantization": ("#0072B2", "o"), "joint": ("#D55E00", "D")}
SHOWN = "LLaMA-7B"


def rate_figure(model: str = SHOWN) -> Figure:
    """Retention of seven accuracies, and of perplexity, against TCr for one of JSQ's models."""
    mine = points()
    mine = mine[mine["model"] == model]
    with canvas(7.2, 3.9, columns=2) as (drawing, (left, right)):
        drawing.suptitle(f"{model}, JSQ tables 1 and 9", fontsize=10)
        for axes, y, title in (
            (left, "sr2", "Sr2 of seven accuracies"),
            (right, "ppl_ratio", "Dense perplexity / perplexity"),
        ):
            draw_points(axes, mine, y)
            axes.axhline(1, color="#888888", linewidth=0.8, linestyle=":")
            axes.set(xlabel="Theoretical compression rate (%)", title=title)
            axes.set_ylim(bottom=0)
        names = left.get_legend_handles_labels()
        drawing.legend(*names, loc="outside lower center", ncols=3)
        caption = (
            f"JSQ's published rows for {model}, each at 1 - printed size / dense size; "
            "activations are quantized too. No standard errors were published, so no bars "
            "are drawn and no verdict is given."
        )
        return finished(drawing, "jsq_over_rate", model, caption)


def draw_points(axes: Any, rows: pd.DataFrame, y: str, *, faint: bool = False) -> None:
    """Published points by kind; faint where they are the background of measured ones."""
    for kind, (colour, marker) in STYLE.items():
        part = rows[rows["kind"] == kind]
        axes.plot(
            100 * part["tcr"],
            part[y],
            linestyle="none",
            marker=marker,
            color=colour,
            alpha=0.35 if faint else 1,
            label=None if faint else kind,
            zorder=2,
        )
