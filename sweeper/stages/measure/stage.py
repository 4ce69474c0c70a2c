"""``measure``: counts on the checkpoint's files whether a cell is what its label says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.methods import validation
from sweeper.stages import Job
from sweeper.stages.measure import checks, summary
from sweeper.stages.measure.matrix_stats import Row, row_of


def run(job: Job) -> dict[str, Any]:
    """Measures one checkpoint; one row per matrix goes to ``layers.json``.

    Raises:
        StageFailure: the cell is not what its label says, and the label does not admit it.
    """
    from sweeper.modeling import masks, parameter_count
    from sweeper.stages.measure import removed_parameters
    from sweeper.stages.measure.tensors import Files

    folder, params = job.checkpoint("model"), _as_whole(job.params)
    pruned = job.inputs.get("pruned", job.inputs.get("model"))
    has_mask = pruned is not None and (pruned / "mask").is_dir()
    kept = masks.load(pruned / "mask") if pruned is not None and has_mask else None
    with Files(folder, trust_remote_code=job.trust_remote_code) as files:
        rows = [row_of(m, params, kept) for m in files.matrices()]
        others, inputs = files.other_sizes(), files.activation_bits
    (job.out / "layers.json").write_text(json.dumps(rows, indent=1) + "\n")
    if params.get("elsewhere"):
        rows = checks.counted(rows, params)
    checks.require(rows, params)
    checks.require_inputs(inputs, params.get("activation_bits", 16))
    found = summary.summary(rows, others, params, summary.of_files(folder))
    found["activation_bits"] = inputs
    dense = parameter_count.recorded(pruned)
    return found if dense is None else removed_parameters.against(dense, rows, found, job.params)


def read_rows(folder: Path, params: Mapping[str, Any]) -> list[Row]:
    """What is counted of every matrix of a checkpoint that came without its mask."""
    from sweeper.stages.measure.tensors import Files

    with Files(folder) as files:
        return [row_of(matrix, params, None) for matrix in files.matrices()]


def _as_whole(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the label asks of the matrices that are there: where some were removed, no zeros."""
    if params["pattern"] not in validation.REMOVED:
        return params
    return {**params, "sparsity": 0.0, "pattern": "unstructured"}
