"""The file of a pruning mask: one bit per weight, 1 where the weight was kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

FILE = "mask.safetensors"


def save(kept: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Writes ``kept`` (name -> boolean [rows, columns]) as packed bits, rows padded to bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = {n: torch.from_numpy(np.packbits(k.cpu().numpy(), axis=1)) for n, k in kept.items()}
    columns = {name: mask.shape[1] for name, mask in kept.items()}
    save_file(packed, folder / FILE, metadata={"columns": json.dumps(columns)})


def load(folder: Path) -> dict[str, torch.Tensor]:
    """Reads what `save` wrote: name -> boolean [rows, columns], True where kept."""
    with safe_open(folder / FILE, "pt") as file:
        columns: dict[str, int] = json.loads(file.metadata()["columns"])
        return {n: _unpack(file.get_tensor(n), c) for n, c in columns.items()}


def _unpack(packed: torch.Tensor, columns: int) -> torch.Tensor:
    bits = np.unpackbits(packed.numpy(), axis=1, count=columns)
    return torch.from_numpy(bits).bool()
