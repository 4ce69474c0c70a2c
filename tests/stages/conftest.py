"""A workshop for compression tests: tiny checkpoints, each made once for the whole run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeper.stages import Job, measure, prune, quantize
from tests import tiny

CALIBRATION = {"samples": 8, "length": 64, "seed": 0}
COMMON: dict[str, Any] = {
    "model": {},
    "block_size": 128,
    "dampening": 0.01,
    "calibration": CALIBRATION,
    "compute_dtype": "float32",
    "save_dtype": "bfloat16",
}
PRUNE: dict[str, Any] = {
    "method": "sparsegpt", "sparsity": 0.25, "pattern": "unstructured", **COMMON,
}  # fmt: skip
QUANTIZE: dict[str, Any] = {
    "method": "gptq", "bits": 4, "group_size": 64, "symmetric": True, "actorder": "static",
    "mask": "none", **COMMON,
}  # fmt: skip


class Workshop:
    """Runs stages on a tiny model; the same parameters are run once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dense = tiny.make(root / "dense")
        self.text = tiny.text(root / "calibration.txt")
        self._made: dict[str, Path] = {}
        self.results: dict[Path, dict[str, Any]] = {}

    def job(self, params: Mapping[str, Any], **fields: Any) -> Job:
        out = self.root / f"out{len(list(self.root.glob('out*')))}"
        out.mkdir()
        return Job(params=params, out=out, scratch=out, **fields)

    def _run(self, kind: Any, params: dict[str, Any], inputs: dict[str, Path], fresh: bool) -> Path:
        key = f"{kind.__name__} {sorted(params.items())} {inputs}"
        if fresh or key not in self._made:
            sources = {"calibration": self.text} | ({} if inputs else {"model": self.dense})
            job = self.job(params, inputs=inputs, sources=sources)
            self.results[job.out] = kind.run(job)
            if fresh:  # the test may have changed what makes it
                return job.out
            self._made[key] = job.out
        return self._made[key]

    def prune(self, *, fresh: bool = False, **params: Any) -> Path:
        return self._run(prune, PRUNE | params, {}, fresh)

    def quantize(self, model: Path | None = None, *, fresh: bool = False, **params: Any) -> Path:
        inputs = {} if model is None else {"model": model}
        return self._run(quantize, QUANTIZE | params, inputs, fresh)

    def measure(self, model: Path, pruned: Path | None = None, **params: Any) -> dict[str, Any]:
        label = {"sparsity": 0.0, "pattern": "unstructured", "bits": 4, "mask": "none"}
        inputs = {"model": model} | ({} if pruned is None else {"pruned": pruned})
        job = self.job(label | params, inputs=inputs)
        return measure.run(job) | {"out": job.out}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    return Workshop(tmp_path_factory.mktemp("workshop"))
