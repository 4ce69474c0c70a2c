"""Hadamard matrices of the orders that compressed-tensors can make.

An order fits if it is a power of two times one whose matrix the package ships (576 = 16 x 36).
Which those are is read from its file's header, so that planning imports nothing.
"""

from __future__ import annotations

import json
import math
import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FILE = ("transform", "utils", "hadamards.safetensors")
SMALLEST = 4
"""Blocks below this are listed nowhere: they mix too little."""


def fits(order: int) -> bool:
    """Whether there is a Hadamard matrix of this order."""
    return order > 0 and any(
        order % known == 0 and (order // known).bit_count() == 1 for known in _known()
    )


def blocks(width: int) -> list[int]:
    """The orders that divide a width and fit, ascending."""
    return [n for n in range(SMALLEST, width + 1) if width % n == 0 and fits(n)]


def rotation(width: int, block: int, seed: int) -> torch.Tensor:
    """An orthogonal float64 [width, width]: random Hadamard blocks on the diagonal.

    Each block has random signs of its own (QuIP#, arXiv 2402.04396, section 3.1).

    Raises:
        ValueError: the block does not divide the width, or there is no matrix of its order.
    """
    import torch
    from compressed_tensors.transform.utils.hadamard import random_hadamard_matrix

    if width % block or not fits(block):
        raise ValueError(f"no Hadamard blocks of {block} for a width of {width}")
    draws = torch.Generator().manual_seed(seed)
    made = [
        random_hadamard_matrix(block, dtype=torch.float64, gen=draws) / math.sqrt(block)
        for _ in range(width // block)
    ]
    return torch.block_diag(*made)


@cache
def _known() -> frozenset[int]:
    spec = find_spec("compressed_tensors")
    assert spec is not None
    assert spec.origin is not None
    with Path(spec.origin).parent.joinpath(*_FILE).open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        names = json.loads(file.read(length))
    return frozenset(int(name) for name in names if name.isdecimal())
