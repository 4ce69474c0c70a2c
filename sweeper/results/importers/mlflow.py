"""Runs that somebody logged to MLflow, as scores of cells: our own, or any with lm-eval's names.

Of our own runs the files are read (conditions, documents), of others parameters and metrics:
``arc_easy/acc,none``, ``arc_easy/acc``, ``arc_easy_acc``, ``arc_easy.acc_norm``; a standard
error is ``..._stderr``. Parameters are taken by lm-eval's names, whatever stands before them
("eval/num_fewshot"), those of one task go before ("arc_easy/num_fewshot").
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import BadInput, one_of
from sweeper.inputs.tasks import index
from sweeper.inputs.tasks.catalog import Lookup
from sweeper.planning.plan import PlannedCell
from sweeper.results.importers import scores as imported
from sweeper.results.mlflow import reader
from sweeper.results.mlflow.run import CELL, SWEEP
from sweeper.results.outcomes import CellOutcome
from sweeper.store.hashing import cache_directory

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

Json = dict[str, Any]
FILTERS = ("none", "strict-match", "flexible-extract", "custom-extract", "get-answer", "get_answer")
# Field -> what lm-eval (or who logs it) calls it; the first that is there.
_NAMED = {
    "version": ("version", "task_version"),
    "num_fewshot": ("num_fewshot", "n-shot", "n_shot", "fewshot"),
    "apply_chat_template": ("apply_chat_template", "chat_template"),
    "backend": ("backend", "model"),
    "dtype": ("model_dtype", "dtype", "torch_dtype"),
    "limit": ("limit",),
    "max_gen_toks": ("max_gen_toks",),
}
_NUMBERS = ("num_fewshot", "limit", "max_gen_toks")
_HF = ("hf", "hf-auto", "huggingface", "hf-causal")
_NOTHING = ("", "None", "null", "nan")
_CONDITIONS = tuple(name for name in _NAMED if name not in ("version", "limit"))


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """One run of others.

    Attributes:
        source: tracking URI, experiment and run, for people.
        params, metrics: as logged.
        wanted: task -> its metrics, each with whether higher is better.
    """

    source: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    wanted: Mapping[str, Mapping[str, bool]]

    @property
    def tasks(self) -> list[str]:
        """The wanted tasks of which it has a metric."""
        return [task for task in self.wanted if any(self._found(task))]

    def conditions(self, task: str) -> Json:
        """What the parameters say."""
        found: Json = {}
        for field, names in _NAMED.items():
            texts = (self._param(task, name) for name in names)
            values = (_value(field, text) for text in texts if text is not None)
            known = [value for value in values if value is not None]
            found |= {field: known[0]} if known else {}
        if "limit" not in found and self._param(task, "limit", nothing=True) is not None:
            found["limit"] = None  # "None" was logged: all documents were asked
        return found

    def scores(self, task: str) -> Json:
        """Every metric with its standard error; the task's first one is primary."""
        values: dict[str, Json] = {}
        errors: dict[str, float] = {}
        for metric, name, is_error, value in self._found(task):
            label = metric if name in ("", "none") else f"{metric}:{name}"
            if is_error:
                errors[label] = value
            else:
                better = self.wanted[task][metric]
                values[label] = {
                    "value": value,
                    "n": None,
                    "higher_is_better": better,
                    "filter": name or "none",
                }
        for label, entry in values.items():
            entry["stderr"] = errors.get(label)
        order = list(self.wanted[task])
        return {
            "task": task,
            "version": self.conditions(task).get("version", ""),
            "backend": self.conditions(task).get("backend", ""),
            "metrics": values,
            "primary": min(values, key=lambda label: order.index(label.partition(":")[0])),
            "chance": None,
            "collapsed": False,
        }

    def documents(self, task: str) -> pd.DataFrame | None:
        """Metrics say nothing of single documents."""
        return None

    def _param(self, task: str, name: str, *, nothing: bool = False) -> str | None:
        own = re.compile(rf"(.*[/.])?{re.escape(task)}[/.]{re.escape(name)}")
        all_tasks = re.compile(rf"((eval|lm_eval|config|model_args|tasks)[/.])*{re.escape(name)}")
        for pattern in (own, all_tasks):
            for key, value in self.params.items():
                if pattern.fullmatch(key) and (value in _NOTHING) == nothing:
                    return value
        return None

    def _found(self, task: str) -> Iterator[tuple[str, str, bool, float]]:
        """(metric, filter, whether a standard error, value) of all that is logged of a task."""
        known = "|".join(re.escape(m) for m in sorted(self.wanted[task], key=len, reverse=True))
        filters = "|".join(map(re.escape, FILTERS))
        pattern = re.compile(
            rf"(?:.*/)?{re.escape(task)}[/_.: ]({known})"
            rf"(_stderr)?(?:[,/.: _]({filters}))?(_stderr)?"
        )
        for key, value in sorted(self.metrics.items()):
            match = pattern.fullmatch(key)
            if match and math.isfinite(value):
                metric, before, name, after = match.groups()
                yield metric, name or "", bool(before or after), value


@dataclass(frozen=True, kw_only=True)
class Own:
    """One cell that Isorate itself has logged."""

    source: str
    outcome: CellOutcome

    @property
    def tasks(self) -> list[str]:
        """The tasks that it has scores of."""
        return sorted(self.outcome.scores)

    def conditions(self, task: str) -> Json:
        """What its configuration says."""
        section, result = self.outcome.cell["config"]["tasks"], self.outcome.scores[task]
        version = result.get("version")
        limits = section.get("limits") or {}
        return {
            "version": "" if version is None else str(version),
            **{name: section[name] for name in _CONDITIONS},
            "limit": limits.get(task, section["limit"]),
        }

    def scores(self, task: str) -> Json:
        """The result of its evaluation."""
        return dict(self.outcome.scores[task])

    def documents(self, task: str) -> pd.DataFrame | None:
        """The scores of single documents, if they were logged."""
        import pandas as pd

        path = next(s.documents for s in self.outcome.stages if s.task == task)
        return None if path is None else pd.read_parquet(path)


def read(
    path: str,
    cells: Sequence[PlannedCell],
    label: str | None,
    *,
    home: Path,
    uri: str | None,
    kept: Path,
) -> list[tuple[PlannedCell, Foreign | Own]]:
    """The scores that `path` names, with the cells that they belong to.

    Args:
        path: the id of a run, an experiment with the name of a run ("sweep/dense"), or an
            experiment that Isorate logged: all of its cells.
        cells: those of the plan.
        label: of the cell, for a single run; a run of ours needs none.
        home: holds the default MLflow database.
        uri: the tracking URI; None takes the environment's or the home's own.
        kept: takes the documents of our own runs.

    Raises:
        BadInput: no such run, or it is no cell of this sweep.
        IsorateError: nothing answers there.
    """
    with reader.opened(kept, home=home, uri=uri) as server:
        found = server.find(path)
        ours = [run for run in found if CELL in run.data.tags]
        if ours:
            outcomes = {run.info.run_id: server.outcome(run) for run in ours}
            return [
                (
                    _own(o, cells, label if len(ours) == 1 else None),
                    Own(source=f"{server.place}: {path} ({run_id})", outcome=o),
                )
                for run_id, o in outcomes.items()
            ]
        runs = [run for run in found if SWEEP not in run.data.tags]
        if len(runs) != 1:
            raise BadInput(
                "path",
                path,
                f"{len(runs)} runs, none of them written by Isorate: "
                f"{one_of([f'{path}/{run.info.run_name}' for run in runs[:12]])}",
                "Name one, and its cell.",
            )
        planned = imported.named(cells, label)
        return [(planned, _foreign(runs[0], planned, f"{server.place}: {path}"))]


def _own(outcome: CellOutcome, cells: Sequence[PlannedCell], label: str | None) -> PlannedCell:
    """The cell of the plan with the key of a run, else (or if asked) by its model and label."""
    cell = outcome.cell
    wanted = (cell["model"], label or cell["label"])
    same = [one for one in cells if label is None and one.key == outcome.key]
    same += [one for one in cells if (one.cell.model["name"], one.label) == wanted]
    if not same:
        raise BadInput(
            "cell",
            wanted[1],
            f"the run {cell['label']!r} of {cell['model']} is no "
            f"cell of this sweep; {one_of([one.label for one in cells])}.",
        )
    return same[0]


def _foreign(run: Run, planned: PlannedCell, source: str) -> Foreign:
    folders = {stage.sources.get("tasks") for stage in planned.tasks.values()} - {None}
    folder = Path(str(folders.pop())) if folders else None
    lookup = Lookup(include_path=folder, cache_dir=cache_directory())
    return Foreign(
        source=source,
        params=run.data.params,
        metrics=run.data.metrics,
        wanted={task: _metrics(lookup, task) for task in planned.tasks},
    )


def _metrics(lookup: Lookup, task: str) -> dict[str, bool]:
    """The metrics of a task in its own order, then what lm-eval makes of them."""
    listed = (lookup.find(task)[0] or {}).get("metrics") or []
    known = index.directions()
    own = {m: known.get(m, True) if better is None else bool(better) for m, better in listed}
    return own | {m: better for m, better in known.items() if m != "bypass" and m not in own}


def _value(field: str, text: str) -> Any:
    if field in _NUMBERS:
        return float(text) if not re.fullmatch(r"-?\d+(\.0)?", text) else int(float(text))
    if field == "apply_chat_template":
        return text.lower() not in ("false", "0", "no")
    if field == "backend":
        # "model" may just as well be the name of the model: that says nothing.
        return {**dict.fromkeys(_HF, "hf"), "vllm": "vllm"}.get(text)
    return text.removeprefix("torch.")
