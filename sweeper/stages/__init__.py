"""The kinds of stage: one module each, one function each.

A stage module has a single public function ``run(job) -> result``. It reads its
inputs through the `Job`, writes its files below ``job.out`` and returns a JSON
value that becomes ``result.json``. It knows nothing of grid, plan or store.

Files: a *sub-directory* of ``job.out`` (``checkpoint/``, ``mask/``) is bulk, it may
be dropped once nobody needs it; a file directly in ``job.out`` is a record and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("convert", "rescale", "rotate", "sensitivity", "prune", "quantize", "evaluate", "measure")


def _silent(fraction: float, note: str = "", **rates: float) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one attempt of one stage is given.

    Attributes:
        params: what the stage means; exactly what its key was hashed from.
        inputs: role -> output directory of a parent stage in the store.
        sources: role -> something outside the store, already resolved to a local path
            (a model directory, a GGUF file, a calibration text, a folder of tasks).
        out: an empty directory of this attempt, on the store's file system.
        scratch: a directory that outlives a killed attempt of this very stage (for
            resuming inside a stage); removed after the commit.
        kin: outputs of committed stages of the same family: the same work on other documents,
            which need not be done again.
        device: "cpu" or "cuda".
        progress: call with a fraction in [0, 1], a short note ("layer 3/30") and, by name, what is
            known of documents_per_s, tokens_per_s and seconds_left.
    """

    params: Mapping[str, Any]
    out: Path
    scratch: Path
    inputs: Mapping[str, Path] = field(default_factory=dict)
    sources: Mapping[str, Path] = field(default_factory=dict)
    kin: Sequence[Path] = ()
    device: str = "cpu"
    progress: Callable[..., None] = _silent

    @property
    def trust_remote_code(self) -> bool:
        """Whether Python code that lies beside the model may run."""
        return bool(self.params.get("model", {}).get("trust_remote_code", False))

    def checkpoint(self, role: str) -> Path:
        """Directory of the transformers checkpoint that plays ``role`` for this stage."""
        if role in self.inputs:
            return self.inputs[role] / "checkpoint"
        return self.sources[role]
