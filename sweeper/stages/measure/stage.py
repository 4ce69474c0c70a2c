"""``measure``: counts on the checkpoint's files whether a cell is what its label says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sweeper.methods import validation
from sweeper.stages import Job
from sweeper.stages.measure import checks, summary
from sweeper.stages.measure.matrix_stats import MeasureParams, Row, row_of

if TYPE_CHECKING:
    import torch


def run(job: Job) -> dict[str, Any]:
    """Measures one checkpoint; one row per matrix goes to ``layers.json``.

    Raises:
        StageFailure: the cell is not what its label says, and the label does not admit it.
    """
    from sweeper.modeling import parameter_count
    from sweeper.stages.measure import removed_parameters
    from sweeper.stages.measure.tensors import Files

    label = cast(MeasureParams, job.params)
    folder, params = job.checkpoint("model"), _as_whole(label)
    pruned = job.inputs.get("pruned", job.inputs.get("model"))
    kept = _mask(job, pruned)
    with Files(folder, trust_remote_code=job.trust_remote_code) as files:
        rows = [row_of(m, params, kept) for m in files.matrices()]
        others, inputs = files.other_sizes(), files.activation_bits
    (job.out / "layers.json").write_text(json.dumps(rows, indent=1) + "\n")
    if params.get("elsewhere") and kept is None:
        rows = checks.without_mask(rows, params)
    checks.require(rows, params)
    checks.require_inputs(inputs, params.get("activation_bits", 16))
    found = summary.summary(rows, others, params, summary.of_files(folder))
    found["activation_bits"] = inputs
    if not checks.known(rows):
        found["unproved"] = checks.UNKNOWN
    dense = parameter_count.recorded(pruned)
    return found if dense is None else removed_parameters.against(dense, rows, found, label)


def _mask(job: Job, pruned: Path | None) -> dict[str, torch.Tensor] | None:
    """Which weights were kept: of the stage that pruned, or as an import was given it."""
    if pruned is not None:
        from sweeper.modeling import masks

        return masks.load(pruned / "mask") if (pruned / "mask").is_dir() else None
    return read_mask(job.sources["pruned"]) if "pruned" in job.sources else None


def read_mask(folder: Path) -> dict[str, torch.Tensor]:
    """The mask of a directory that has one, else the zeros of the checkpoint in it."""
    from sweeper.modeling import masks
    from sweeper.stages.measure.tensors import Files

    if (folder / masks.FILE).is_file():
        return masks.load(folder)
    with Files(folder) as files:
        return {matrix.name: ~matrix.zero for matrix in files.matrices()}


def read_rows(folder: Path, params: MeasureParams, mask: Path | None = None) -> list[Row]:
    """What is counted of every matrix of a checkpoint; ``mask`` as `read_mask` takes it."""
    from sweeper.stages.measure.tensors import Files

    kept = None if mask is None else read_mask(mask)
    with Files(folder) as files:
        return [row_of(matrix, params, kept) for matrix in files.matrices()]


def _as_whole(params: MeasureParams) -> MeasureParams:
    """What the label asks of the matrices that are there: where some were removed, no zeros."""
    if params["pattern"] not in validation.REMOVED:
        return params
    return {**params, "sparsity": 0.0, "pattern": "unstructured"}
