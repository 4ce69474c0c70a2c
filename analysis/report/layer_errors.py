"""Where a quantized model loses: the few matrices that carry the error, and a map of them all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.data.results import Results
from analysis.output.figure import Figure, canvas, finished
from analysis.output.table import Column, Table, several
from analysis.output.text import short

MOST_MATRICES = 3
"""Named of each cell."""
MOST_CELLS = 6
"""Drawn of each model: those of the highest rate."""
_LAYER = re.compile(r"\.(?P<layer>\d+)\.(?P<kind>.+)$")


def layer_error_table(results: Results, groups: Sequence[Panel]) -> Table:
    """The matrices with the largest share of the error of their kind, for each cell.

    Outputs of one kind (all ``down_proj``, say) go to the same place, so their lost energies can be
    added; those of different kinds cannot.
    """
    columns = (
        Column(key="model", title="Model"),
        Column(key="label", title="Cell"),
        Column(key="matrix", title="Matrix"),
        *several(
            "percent",
            1,
            share="Share of its kind's error",
            even="If all were alike",
            error="Error of its output",
            median="Median of its kind",
            direction="Inputs in one direction",
        ),
    )
    notes = (
        "Errors are ||XW'ᵀ - XWᵀ|| / ||XWᵀ|| of the stage that quantized, against the weights it "
        "was given, on its calibration text and the outputs of the layers quantized before.",
        "“Inputs in one direction” is the largest eigenvalue of XᵀX over its trace: near 1 where "
        "one token's huge activations drive a matrix (docs/methods.md).",
    )
    found = [_carrying(panel, results.layers) for panel in groups]
    return Table(
        name="layer_errors",
        caption="Matrices that carry the error",
        columns=columns,
        rows=pd.concat(found, ignore_index=True) if found else pd.DataFrame(),
        notes=notes,
    )


def layer_error_maps(results: Results, groups: Sequence[Panel]) -> Iterator[Figure]:
    """One map per model: kinds of matrices across decoder layers, of its smallest cells."""
    for panel in groups:
        known = _of(panel, results.layers)
        drawn = list(known["label"].drop_duplicates())[-MOST_CELLS:] if len(known) else []
        if drawn:
            yield _map(panel.model, known, drawn)


def _of(panel: Panel, layers: pd.DataFrame) -> pd.DataFrame:
    """The errors of a model's cells by rising rate, with label, layer, kind and lost energy."""
    if not len(layers):
        return pd.DataFrame()
    rate = 1 - panel.cells["bits"] / 16 * (1 - panel.cells["sparsity"])
    cells = panel.cells.assign(label=list(labels(panel)), rate=rate)[["cell", "label", "rate"]]
    found = layers.merge(cells, on="cell")
    parts = found["name"].str.extract(_LAYER)
    lost = found["error"] ** 2 * found["energy"]
    found = found.assign(layer=pd.to_numeric(parts["layer"]), kind=parts["kind"], lost=lost)
    return found.dropna(subset=["kind"]).sort_values(["rate", "label"], kind="stable")


def _carrying(panel: Panel, layers: pd.DataFrame) -> pd.DataFrame:
    found = _of(panel, layers)
    if not len(found):
        return pd.DataFrame()
    alike = found.groupby(["cell", "kind"])
    whole = alike["lost"].transform("sum")
    found = found.assign(
        model=panel.model,
        matrix=found["name"],
        share=(found["lost"] / whole).where(whole > 0, 0.0),
        even=1 / alike["lost"].transform("size"),
        median=alike["error"].transform("median"),
        order=pd.factorize(found["label"])[0],
    )
    excess = found["share"] / found["even"]
    found = found.assign(excess=-excess).sort_values(["order", "excess"], kind="stable")
    names = ("model", "label", "matrix", "share", "even", "error", "median", "direction")
    return found.groupby("cell", sort=False).head(MOST_MATRICES)[list(names)]


def _map(model: str, known: pd.DataFrame, drawn: Sequence[str]) -> Figure:
    """Cells below one another, an empty row between them."""
    kinds, depth = list(known["kind"].drop_duplicates()), int(known["layer"].max()) + 1
    step = len(kinds) + 1
    grid = np.full((len(drawn) * step - 1, depth), np.nan)
    ticks: list[str] = []
    for place, label in enumerate(drawn):
        rows = known[known["label"] == label]
        at = place * step + rows["kind"].map(kinds.index).to_numpy(int)
        grid[at, rows["layer"].to_numpy(int)] = rows["error"]
        names = [_last(kind) for kind in kinds]
        ticks += [f"{short(label)}  {names[0]}", *names[1:], ""]
    most = float(np.nanmax(grid))
    size = max(5.0, 2.8 + 0.14 * depth), 1.2 + 0.17 * len(grid)
    with canvas(*size) as (drawing, (axes,)):
        axes.grid(False)
        shown = axes.pcolormesh(np.ma.masked_invalid(grid), cmap="cividis", vmin=0, vmax=most)
        axes.invert_yaxis()
        axes.set_yticks(np.arange(len(grid)) + 0.5, ticks[:-1], fontsize=6.5)
        axes.set_xlabel("decoder layer")
        drawing.colorbar(shown, ax=axes, label="relative error of the output", fraction=0.04)
        drawing.suptitle(f"{model}: error by layer and kind of matrix", fontsize=10)
        caption = (
            f"Relative error of the output of every matrix, {model}, cells by rising rate, from "
            f"dark (none) to light ({100 * most:.3g} %); a blank is a matrix without a record."
        )
        return finished(drawing, "layer_errors", model, caption)


def _last(kind: str) -> str:
    """'q_proj' of 'self_attn.q_proj'; of a factor of low rank 'q_proj.1'."""
    *_, before, last = ("", *kind.split("."))
    return f"{before}.{last}" if last.isdigit() else last
