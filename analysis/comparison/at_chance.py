"""Tasks whose baseline is no better than guessing: retention with the guessing taken off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.definition_sensitivity import fieller
from analysis.data.labels import labels
from analysis.data.panel import CHANCE_STDERRS, Panel
from analysis.output.table import Column, Table

NOTES = (
    f"Only tasks whose baseline is within {CHANCE_STDERRS:g} standard errors of guessing or below.",
    "Without guessing: (P_c - g) / (P_o - g), g being what guessing scores; its 95 % interval is "
    "Fieller's, with the documents that both answered. Where it is unbounded, the data do not say "
    "what was retained: the baseline may know nothing that could be.",
)


def chance_table(panels: Sequence[Panel]) -> Table:
    """One row per cell and task at chance: raw retention beside the one without guessing."""
    rows = [row for panel in panels for row in _rows(panel)]
    columns = (
        Column(key="model", title="Model"),
        Column(key="label", title="Cell"),
        Column(key="task", title="Task"),
        Column(key="score", title="Score", form="estimate"),
        Column(key="chance", title="Guessing", form="number"),
        Column(key="raw", title="Retention", form="estimate"),
        Column(key="above", title="Without guessing", form="number"),
        Column(key="interval", title="95 % interval"),
    )
    return Table(
        name="at_chance",
        caption="Retention on tasks at chance",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=NOTES,
    )


def _rows(panel: Panel) -> Iterator[dict[str, object]]:
    base = panel.baseline
    at_chance = [t for t, said in enumerate(panel.chance) if said]
    if base is None or not at_chance:
        return
    names, raw, usable = labels(panel), panel.retentions(), panel.comparable()
    for task in at_chance:
        level = panel.levels[task]
        for row in np.flatnonzero(np.isfinite(usable[:, task])):
            score, dense = panel.value[row, task], panel.value[base, task]
            same = row == base
            spread = panel.covariance(task, (int(row), base))
            found = fieller(score - level, dense - level, spread[0, 0], spread[1, 1], spread[0, 1])
            bounded = np.isfinite([found.low, found.high]).all()
            interval = f"{found.low:.3g} to {found.high:.3g}" if bounded else "unbounded"
            yield {
                "model": panel.model,
                "label": names[row],
                "task": panel.tasks[task],
                "score": score,
                "score_stderr": panel.stderr[row, task],
                "chance": level,
                "raw": raw.value[row, task],
                "raw_stderr": raw.stderr[row, task],
                "above": (score - level) / (dense - level) if dense != level else np.nan,
                "interval": "exactly 1" if same else interval,
            }
