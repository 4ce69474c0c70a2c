"""A checkpoint that someone compressed elsewhere, as a cell of a sweep.

<home>/sweeps/<name>/elsewhere/<hash>.json   the cell's model and label, where the checkpoint is

From then on every plan of the sweep measures and scores that checkpoint, instead of making one,
as long as the file is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sweeper.config.section import Frozen
from sweeper.errors import BadInput
from sweeper.inputs.pins import Pins
from sweeper.planning import external_checkpoint, moved_home
from sweeper.planning.plan import PlannedCell
from sweeper.planning.sweep import ELSEWHERE, Sweep
from sweeper.store import files
from sweeper.store.hashing import key_of

if TYPE_CHECKING:
    from sweeper.stages.measure.matrix_stats import MeasureParams, Row


def is_checkpoint(path: Path) -> bool:
    """Whether a directory holds a model, whatever its format."""
    weights = (".safetensors", ".bin", ".pt", ".gguf")
    return (path / "config.json").is_file() and any(f.suffix in weights for f in path.iterdir())


def find(
    cells: Sequence[PlannedCell], path: Path, pins: Pins, pruned: Path | None = None
) -> PlannedCell:
    """The cell that a checkpoint is, by its format and its zeros.

    Raises:
        BadInput: it is none of them, or the files do not say which of several.
    """
    reasons: dict[str, str] = {}
    fitting = []
    for one in cells:
        try:
            check(one, path, pins, pruned)
        except BadInput as refused:
            reasons[one.label] = str(refused)
        else:
            fitting.append(one)
    # Groups that all have their zeros are no accident.
    regular = [one for one in fitting if one.cell.pruning and ":" in one.cell.pruning.pattern]
    chosen = regular or fitting
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise BadInput(
            "path", str(path), "it is no cell of this sweep: " + " ".join(reasons.values())
        )
    labels = ", ".join(one.label for one in chosen)
    raise BadInput(
        "cell", "null", f"by its files {path} can be each of: {labels}.", "Say which one: cell=..."
    )


def check(planned: PlannedCell, path: Path, pins: Pins, pruned: Path | None = None) -> None:
    """Whether a checkpoint is what the label of a cell says.

    Args:
        planned: the cell.
        path: the checkpoint.
        pins: of the sweep.
        pruned: the checkpoint that it was quantized from, or a mask: its zeros must be kept.

    Raises:
        BadInput: naming the keys in which it is not.
    """
    section = Frozen.of(planned.cell.model.dict | _files(path, pruned))
    external_checkpoint.resolved(replace(planned.cell, model=section), pins)
    before = external_checkpoint.before(section)
    wrong = list(_zeros(planned, path, before.path if before else None))
    if wrong:
        raise BadInput(
            "path",
            str(path),
            f"it is not {planned.label}: {'; '.join(wrong)}.",
            "Name the cell that it is.",
        )


def _files(path: Path, pruned: Path | None) -> dict[str, str]:
    return {"compressed": str(path), **({"pruned": str(pruned)} if pruned else {})}


def add(sweep: Sweep, planned: PlannedCell, path: Path, pruned: Path | None = None) -> Path:
    """Record that a checkpoint is a cell, one that was checked; returns the record."""
    model, label = planned.cell.model["name"], planned.label
    meaning = {"model": model, "label": label}
    target = sweep.path / ELSEWHERE / f"{key_of(meaning)}.json"
    before = {"pruned": str(pruned)} if pruned else {}
    where = {moved_home.HOME: str(sweep.home), "path": str(path)}
    files.write_whole(target, meaning | where | before)
    return target


def _zeros(planned: PlannedCell, path: Path, mask: Path | None) -> Iterator[str]:
    from sweeper.stages.measure import checks as label

    cell = planned.cell
    if cell.mask == "ignore":
        return  # its label says nothing of the zeros that are left
    params = cast("MeasureParams", planned.stages["measure"].params)
    rows = _rows(path, params["pattern"], mask)
    share = sum(r["zeros"] for r in rows) / sum(r["rows"] * r["columns"] for r in rows)
    expected = label.expected_sparsity(rows, params)
    more = cell.quantization is not None or not cell.sparsity
    if share < expected - label.TOLERANCE or (not more and share > expected + label.TOLERANCE):
        yield f"prune.sparsity is {100 * share:.3f}, here {100 * expected:.3f}"
    if mask and (lost := label.refilled(rows)):
        yield f"{lost} (quant.mask=ignore is the cell that reports it)"
    if any(r.get("nm_valid_groups", 0) < r.get("nm_groups", 0) for r in rows):
        yield f"prune.pattern is not {params['pattern']} in all matrices"


@cache  # all bytes of a checkpoint are read, and several cells may have to be told apart
def _rows(path: Path, pattern: str, mask: Path | None) -> list[Row]:
    """What is counted of every matrix; held against a label by whoever asks."""
    from sweeper.stages.measure import stage

    unsaid = {"pattern": pattern, "sparsity": 0.0, "bits": 16.0, "mask": "none"}
    return stage.read_rows(path, cast("MeasureParams", unsaid), mask)
