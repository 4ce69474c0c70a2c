"""The texts and tasks that a cell rests on, as MLflow's dataset inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.results.outcomes import CellOutcome, Json
from sweeper.store.hashing import key_of

CONTEXT = "mlflow.data.context"
"""The tag of an input that tells what it was for."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One dataset input.

    Attributes:
        context: "calibration" or "evaluation".
        name: of the text or task.
        digest: of all that says which text or documents these are.
        source: where they come from, JSON.
        profile: how many there are, JSON.
    """

    context: str
    name: str
    digest: str
    source: str
    profile: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What tells inputs of a run apart."""
        return self.context, self.name, self.digest


def inputs(outcome: CellOutcome) -> tuple[Input, ...]:
    """The calibration text, if the cell has one, then every task that is scored."""
    config = outcome.cell["config"]
    text, tasks = config.get("calibration") or {}, config.get("tasks") or {}
    found = []
    if text:
        size = {name: text[name] for name in ("samples", "length") if name in text}
        found.append(_input("calibration", str(text.get("name", "text")), text, size))
    for task, result in outcome.scores.items():
        asked = {k: tasks[k] for k in ("path", "num_fewshot", "order_seed") if tasks.get(k)}
        source = {"task": task, "version": result.get("version", ""), **asked}
        count = result["metrics"][result["primary"]].get("n")
        found.append(_input("evaluation", task, source, {"documents": count} if count else {}))
    return tuple(found)


def _input(context: str, name: str, source: Json, profile: Mapping[str, Any]) -> Input:
    return Input(
        context=context,
        name=name,
        digest=key_of({"source": source, "profile": profile}),
        source=json.dumps(source, sort_keys=True, ensure_ascii=False),
        profile=json.dumps(profile, sort_keys=True),
    )
