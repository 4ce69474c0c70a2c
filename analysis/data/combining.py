"""Several sweeps as one set of results."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.data.documents import Documents
from analysis.data.results import Results, is_dense
from analysis.errors import BadResults

_KEY = ["cell", "task", "metric"]


def together(named: Mapping[str, Results]) -> Results:
    """The cells of several sweeps; a cell that several have is taken once, with all its tasks.

    Of a cell in two sweeps the one that is done counts, and the scores of the sweep that is
    named first where both have one.

    Args:
        named: results by the name of their sweep, in order of precedence.

    Raises:
        BadResults: two sweeps measured different dense baselines of the same model: a
            retention would depend on which one is taken.
    """
    if len(named) == 1:
        return next(iter(named.values()))
    _refuse_baselines(named)
    cells = pd.concat([one.cells for one in named.values()], ignore_index=True)
    order = cells["status"].map({"done": 0, "failed": 1, "missing": 2})
    cells = cells.assign(_order=order).sort_values("_order", kind="stable")
    cells = cells.drop_duplicates("cell").drop(columns="_order")
    scores = pd.concat([one.scores for one in named.values()], ignore_index=True)
    sources = {key: path for one in reversed(list(named.values()))
               for key, path in one.documents.sources.items()}  # fmt: skip
    return Results(cells=cells, scores=scores.drop_duplicates(_KEY), documents=Documents(sources))


def _refuse_baselines(named: Mapping[str, Results]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for name, results in named.items():
        dense = results.cells[is_dense(results.cells)]
        for cell, model in zip(dense["cell"], dense["model"], strict=True):
            other, key = seen.setdefault(model, (name, cell))
            if key != cell:
                raise BadResults(
                    f"the sweeps {other} and {name} have different dense baselines of {model} "
                    f"({key} and {cell}): other files, revision or tasks. Report them one by "
                    "one, or score both alike"
                )
