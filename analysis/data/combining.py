"""Several sweeps as one set of results."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.data.documents import Documents, Source
from analysis.data.results import AGAIN, Results, first_of, is_dense, made_again
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
    sources = {
        key: path
        for one in reversed(list(named.values()))
        for key, path in one.documents.sources.items()
    }
    layers = pd.concat([one.layers for one in named.values()], ignore_index=True)
    return Results(
        cells=cells,
        scores=scores.drop_duplicates(_KEY),
        documents=Documents(sources),
        layers=layers.drop_duplicates(["cell", "name"]) if len(layers) else layers,
    )


def repeated(named: Mapping[str, Results]) -> Results:
    """The cells of one grid that was carried out several times, each time on its own.

    A cell counts where it was done first, in the order of the names; each further time that it
    was done stays beside it as made again (`made_again`), which no verdict is about.

    Args:
        named: results by where they come from, in order of precedence.

    Raises:
        BadResults: they measured different dense baselines of one model.
    """
    _refuse_baselines(named)
    owner: dict[str, str] = {}
    for status in ("done", "failed", "missing"):
        for name, one in named.items():
            for cell in one.cells.loc[one.cells["status"] == status, "cell"]:
                owner.setdefault(cell, name)
    cells, scores = [], []
    sources: dict[tuple[str, str], Source] = {}
    for number, (name, one) in enumerate(named.items()):
        done = one.cells["status"] == "done"
        keys = {
            cell: cell if owner[cell] == name else made_again(cell, number)
            for cell, ended in zip(one.cells["cell"], done, strict=True)
            if owner[cell] == name or (ended and number)
        }
        mine = one.cells[one.cells["cell"].isin(list(keys))]
        later = (mine["cell"].map(keys) != mine["cell"]).to_numpy()
        cells.append(
            mine.assign(
                cell=mine["cell"].map(keys),
                label=[
                    f"{label} ({name})" if again else label
                    for label, again in zip(mine["label"], later, strict=True)
                ],
                rerun=mine["rerun"].where(~later, number),
            )
        )
        scored = one.scores[one.scores["cell"].isin(list(keys))]
        scores.append(scored.assign(cell=scored["cell"].map(keys)))
        documents = one.documents.sources.items()
        sources |= {
            (keys[cell], task): source for (cell, task), source in documents if cell in keys
        }
    return Results(
        cells=pd.concat(cells, ignore_index=True),
        scores=pd.concat(scores, ignore_index=True),
        documents=Documents(sources),
    )


def elsewhere(results: Results) -> list[Results]:
    """The cells that were made again, as results of their own: one for each time.

    Their keys are those of the cells that they repeat.
    """
    if results.cells.empty:
        return []
    times = results.cells["cell"].str.partition(AGAIN)[2]
    return [_only(results, times == time) for time in sorted(set(times) - {""}, key=int)]


def _only(results: Results, which: pd.Series[bool]) -> Results:
    keys = {key: first_of(key) for key in results.cells.loc[which, "cell"]}
    own = results.cells.set_index("cell")["rerun"].to_dict()
    cells, scores = (
        frame[frame["cell"].isin(list(keys))].assign(cell=lambda rows: rows["cell"].map(keys))
        for frame in (results.cells, results.scores)
    )
    return Results(
        cells=cells.assign(rerun=[own.get(cell, 0.0) for cell in cells["cell"]]),
        scores=scores,
        documents=Documents(
            {
                (keys[cell], task): source
                for (cell, task), source in results.documents.sources.items()
                if cell in keys
            }
        ),
    )


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
