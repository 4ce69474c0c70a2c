"""``measure``: counts on the checkpoint's files whether a cell is what its label says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.methods import _check
from sweeper.stages import Job, label, sizes
from sweeper.stages.rows import Row, row_of


def run(job: Job) -> dict[str, Any]:
    """Measures one checkpoint; one row per matrix goes to ``layers.json``.

    Raises:
        StageFailure: the cell is not what its label says, and the label does not admit it.
    """
    from sweeper.stages import masks, parameters, removed
    from sweeper.stages.checkpoint import trusted
    from sweeper.stages.weights import Files

    folder, params = job.checkpoint("model"), _as_whole(job.params)
    pruned = job.inputs.get("pruned", job.inputs.get("model"))
    has_mask = pruned is not None and (pruned / "mask").is_dir()
    kept = masks.load(pruned / "mask") if pruned is not None and has_mask else None
    with Files(folder, trust_remote_code=trusted(params)) as files:
        rows = [row_of(m, params, kept) for m in files.matrices()]
        others, inputs = files.other_sizes(), files.activation_bits
    (job.out / "layers.json").write_text(json.dumps(rows, indent=1) + "\n")
    if params.get("elsewhere"):
        rows = label.counted(rows, params)
    label.require(rows, params)
    label.require_inputs(inputs, params.get("activation_bits", 16))
    found = sizes.summary(rows, others, params, sizes.of_files(folder))
    found["activation_bits"] = inputs
    dense = parameters.recorded(pruned)
    return found if dense is None else removed.against(dense, rows, found, job.params)


def read_rows(folder: Path, params: Mapping[str, Any]) -> list[Row]:
    """What is counted of every matrix of a checkpoint that came without its mask."""
    from sweeper.stages.weights import Files

    with Files(folder) as files:
        return [row_of(matrix, params, None) for matrix in files.matrices()]


def _as_whole(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the label asks of the matrices that are there: where some were removed, no zeros."""
    if params["pattern"] not in _check.REMOVED:
        return params
    return {**params, "sparsity": 0.0, "pattern": "unstructured"}
