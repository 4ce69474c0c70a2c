"""Uniform against allocated compression, paired by document and seed, from a finished sweep.

    isorate run experiment=allocation
    python benchmarks/allocation.py HOME [NAME]

For each pair of cells that differ in their profile alone: word perplexity, allocated over
uniform, and the mean accuracy of the multiple-choice tasks, allocated minus uniform; both are
means over the calibration seeds of the sweep with 95 % intervals over the documents (paired
between all cells). The intervals hold for these seeds; another calibration text is another
checkpoint, of which two say little.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from analysis.data.panel import Panel, panels
from analysis.data.task_groups import pooled
from sweeper.planning.sweep import Sweep
from sweeper.results import outcomes as cell_outcomes
from sweeper.results import tables
from sweeper.store.store import Store

Z = 1.96
_SEED = re.compile(r" \[seed=\d+\]$")


def main(home: Path, name: str = "allocation") -> None:
    """Print the table."""
    outcomes = cell_outcomes.collect(Sweep(home, name).load(), Store(home))
    for panel in panels(pooled(tables.results(outcomes))):
        for line in lines(panel):
            print(line)


def lines(panel: Panel) -> Iterator[str]:
    """One line for each allocated label and its uniform counterpart."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for row in panel.cells.sort_values("calibration_seed").index:
        by_label[_SEED.sub("", str(panel.cells["label"].iat[row]))].append(int(row))
    for label, allocated in by_label.items():
        uniform = by_label.get(label.replace(" (allocated)", ""))
        if "(allocated)" in label and uniform:
            ratio = np.exp(compared(panel, allocated, uniform, higher=False))
            gain = compared(panel, allocated, uniform, higher=True)
            yield (
                f"{label:30} perplexity x {ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]   "
                f"accuracy {100 * gain[0]:+.1f} [{100 * gain[1]:+.1f}, {100 * gain[2]:+.1f}] points"
            )


def compared(
    panel: Panel, first: Sequence[int], second: Sequence[int], *, higher: bool
) -> tuple[float, float, float]:
    """Mean over tasks and seeds, first minus second (perplexities: of logarithms), and 95 %."""
    cells = [*first, *second]
    sign = np.r_[np.full(len(first), 1 / len(first)), np.full(len(second), -1 / len(second))]
    tasks = np.flatnonzero(panel.higher == higher)
    value = variance = 0.0
    for task in tasks:
        scores, sigma = panel.value[cells, task], panel.covariance(int(task), cells)
        weight = sign if higher else sign / scores  # the derivative of a logarithm
        value += float(sign @ (scores if higher else np.log(scores))) / len(tasks)
        variance += float(weight @ sigma @ weight) / len(tasks) ** 2
    spread = Z * np.sqrt(variance)
    return value, value - spread, value + spread


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
