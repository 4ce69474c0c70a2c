"""The record of how many parameters a model had before some were taken out: ``dense.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "dense.json"


def counted(model: Any) -> dict[str, int]:
    """``linear_weights`` (what is compressed) and ``total_weights`` of a loaded model."""
    from sweeper.modeling import matrices

    linear = sum(module.weight.numel() for module in matrices.listed(model).treated.values())
    total = sum(p.numel() for p in model.parameters())
    return {"linear_weights": linear, "total_weights": total}


def record(counts: Mapping[str, int], folder: Path) -> None:
    """Writes the record beside a checkpoint directory; it stays when that is dropped."""
    (folder / FILE).write_text(json.dumps(counts) + "\n")


def recorded(folder: Path | None) -> dict[str, int] | None:
    """What `record` wrote, or None where nothing was taken out."""
    if folder is None or not (folder / FILE).is_file():
        return None
    found: dict[str, int] = json.loads((folder / FILE).read_text())
    return found
