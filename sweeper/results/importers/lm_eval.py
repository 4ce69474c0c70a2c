"""Reads what `lm_eval --output_path ... --log_samples` wrote: scores, conditions, documents.

The scores take the form of the project's own evaluations (`result.json` of ``evaluate``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import BadInput
from sweeper.inputs import jsonl

if TYPE_CHECKING:
    import pandas as pd

Json = dict[str, Any]
IDENTITY = ("doc_id", "doc_hash", "target_hash")


@dataclass(frozen=True, kw_only=True)
class Output:
    """One run of lm-eval.

    Attributes:
        path: its results file.
        content: what the file holds.
        samples: task -> file with its documents, for those that were logged.
    """

    path: Path
    content: Json
    samples: Mapping[str, Path]

    @property
    def source(self) -> str:
        """Its results file."""
        return str(self.path.absolute())

    @property
    def tasks(self) -> list[str]:
        """The leaf tasks that it scored (groups are sums of them)."""
        return sorted(set(self.content["configs"]) & set(self.content["results"]))

    def conditions(self, task: str) -> Json:
        """How a task was scored, by the names of the configuration's keys (``tasks.*``).

        A dtype that the file does not state is left out.
        """
        config = self.content["config"]
        settings = self.content["configs"][task]
        dtype = str(config.get("model_dtype") or "").removeprefix("torch.")
        return {
            "version": _text(self.content["versions"].get(task)),
            "num_fewshot": self.content["n-shot"].get(task),
            "apply_chat_template": bool(self.content.get("chat_template")),
            "backend": config.get("model"),
            **({"dtype": dtype} if dtype else {}),
            "limit": None if self._all(task) else config.get("limit"),
            "max_gen_toks": (settings.get("generation_kwargs") or {}).get("max_gen_toks"),
        }

    def _all(self, task: str) -> bool:
        """Whether a limit, if there was one, left nothing out."""
        count = self.content["n-samples"].get(task, {})
        return "original" in count and count["original"] == count.get("effective")

    def scores(self, task: str) -> Json:
        """The result of one task: every metric with its standard error, and which is primary."""
        found = self.content["results"][task]
        keys = [k for k in found if "," in k and "_stderr," not in k]
        single = len({key.partition(",")[2] for key in keys}) == 1
        better = self.content["higher_is_better"].get(task, {})
        count = self.content["n-samples"].get(task, {}).get("effective")
        metrics = {}
        for key in keys:
            metric, _, name = key.partition(",")
            metrics[_label(metric, name, single)] = {
                "value": _number(found[key]),
                "stderr": _number(found.get(f"{metric}_stderr,{name}")),
                "n": count,
                "higher_is_better": better.get(metric),
                "filter": name,
            }
        return {
            "task": task,
            "version": self.content["versions"].get(task),
            "backend": self.content["config"].get("model"),
            "metrics": metrics,
            "primary": _primary(self.content["configs"][task], list(metrics)),
            "chance": None,
            "collapsed": False,
            "documents_total": self.content["n-samples"].get(task, {}).get("original"),
        }

    def documents(self, task: str) -> pd.DataFrame | None:
        """Scores of single documents: identity and one column per metric; None if not logged."""
        import pandas as pd

        if task not in self.samples:
            return None
        path = self.samples[task]
        try:
            rows = [row for _, row in jsonl.rows(path)]
        except ValueError as broken:
            raise BadInput("path", str(path), f"it is no log of samples: {broken}.") from broken
        if strange := [row for row in rows if not isinstance(row, dict)]:
            raise BadInput("path", str(path), f"it has {strange[0]!r:.40} among its samples.")
        single = len({row.get("filter") for row in rows}) == 1
        found: dict[Any, Json] = {}
        for row in rows:
            kept = found.setdefault(row["doc_id"], {name: row[name] for name in IDENTITY})
            for metric in row["metrics"]:
                kept |= _columns(_label(metric, str(row.get("filter")), single), row[metric])
        return pd.DataFrame(list(found.values()))


def read(folder: Path) -> Output:
    """The newest run of lm-eval in a directory (or below it).

    Raises:
        BadInput: there is none, or the file is not lm-eval's.
    """
    found = sorted(folder.rglob("results*.json"), key=lambda path: path.name)
    if not found:
        raise BadInput(
            "path",
            str(folder),
            "no results*.json of lm-eval in it;",
            "name the directory that was given as --output_path.",
        )
    path = found[-1]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        absent = [k for k in _NEEDED if k not in content]
    except (ValueError, TypeError) as broken:
        raise BadInput("path", str(path), f"it is no JSON of lm-eval: {broken}.") from broken
    if absent:
        raise BadInput("path", str(path), f"it lacks {', '.join(absent)}, which lm-eval writes.")
    stamp = path.stem.removeprefix("results")
    samples = {
        one.stem.removeprefix("samples_").removesuffix(stamp): one
        for one in path.parent.glob(f"samples_*{stamp}.jsonl")
    }
    return Output(path=path, content=content, samples=samples)


_NEEDED = ("results", "configs", "versions", "n-shot", "n-samples", "higher_is_better", "config")


def _label(metric: str, name: str, single: bool) -> str:
    return metric if single else f"{metric}:{name}"


def _primary(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """As in our own evaluations: what the task names, else the first metric that it lists."""
    named = (settings.get("metadata") or {}).get("primary_metric")
    listed = [entry.get("metric") for entry in settings.get("metric_list") or []]
    for metric in [named, *listed]:
        for name in names:
            if metric == name.partition(":")[0]:
                return name
    return names[0]


def _number(value: Any) -> float | None:
    """Lm-eval writes "N/A" where there is no standard error."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _columns(label: str, value: Any) -> Json:
    if isinstance(value, bool | int | float):
        return {label: float(value)}
    pair = isinstance(value, list) and len(value) == 2
    if pair and all(isinstance(v, int | float) for v in value):
        return {f"{label}.sum": float(value[0]), f"{label}.weight": float(value[1])}
    return {}
