"""Draws docs/race.svg: one race on the paper's own scores of LLaMA-3.1-8B, simulated.

python benchmarks/race_picture.py docs/race.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.data.race_record import RaceRecord
from analysis.data.results import CELL_REQUIRED, SCORE_REQUIRED, Results
from analysis.race.decide import decide
from analysis.race.decision import Decision
from analysis.race.field import Answers, Field
from analysis.race.settings import RaceSettings
from analysis.report.figures.race_figures import race_figures
from benchmarks.race import DOCUMENTS, drawn, published

RATES = ("75 %", "81.25 %", "87.5 %")
PHI = 0.5


def main(out: Path) -> None:
    model = published()[0]
    rng = np.random.default_rng(1)
    answers: dict[str, dict[str, Answers]] = {cell: {} for cell in model.cells}
    for i, task in enumerate(DOCUMENTS):
        for cell, row in zip(model.cells, drawn(rng, model, PHI, i), strict=True):
            right = row.astype(float)
            answers[cell][f"{task}_0"] = Answers(numerator=right, weight=np.ones(len(right)))
    groups = [
        type(group)(name=f"m at {rate} TCr", model="m", cells=group.cells)
        for group, rate in zip(model.by_tcr[-len(RATES) :], RATES, strict=True)
    ]
    field = Field(contests={"m": model.own}, groups=tuple(groups), alone={})
    found: list[Decision] = []
    while not found or not found[-1].over:
        found.append(decide(RaceSettings(), field, answers, found))
        for group in found[-1].groups:
            print(found[-1].look, found[-1].per_task, group.name, group.state, group.survivors)
    record = RaceRecord(looks=tuple(one.to_json() for one in found), names={})
    nothing = Results(
        cells=pd.DataFrame(columns=list(CELL_REQUIRED)),
        scores=pd.DataFrame(columns=list(SCORE_REQUIRED)),
        race=record,
    )
    (figure,) = race_figures(nothing)
    out.write_bytes(figure.svg)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
