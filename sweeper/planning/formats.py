"""The format version of a stage's outputs: of its kind, raised where a new release changes them.

A stage that is made otherwise than before has another key, so an older home builds it, and what
rests on it, again, and keeps all else. What it has of it under the older keys is found by computing
those keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of what some stages of a kind write.

    Attributes:
        kind: a module of `sweeper.stages`.
        params: what the parameters of such a stage have in common.
        why: what is different, for people.
    """

    kind: str
    params: Mapping[str, Any]
    why: str

    def concerns(self, kind: str, params: Mapping[str, Any]) -> bool:
        """Whether stages of this kind and these parameters write something else since."""
        return kind == self.kind and all(params.get(k) == v for k, v in self.params.items())


_FLOAT64 = "SVD-LLM sums its inputs in float64"

CHANGES: tuple[Change, ...] = (
    Change(kind="prune", params={"method": "svd_llm"}, why=_FLOAT64),
    Change(kind="sensitivity", params={"method": "svd_llm"}, why=_FLOAT64),
    Change(
        kind="quantize",
        params={"method": "smoothquant"},
        why="SmoothQuant smooths after the norms that the model's own matrices read",
    ),
)
"""In the order in which they were made; entries are added, never taken away."""


def version(kind: str, params: Mapping[str, Any], changes: int | None = None) -> int:
    """1, and one more for each change that concerns the stage; of the first ``changes`` only."""
    return 1 + sum(change.concerns(kind, params) for change in CHANGES[:changes])
