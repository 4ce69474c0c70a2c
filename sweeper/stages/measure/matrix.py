"""What is read of one linear layer of a checkpoint, in whatever format it is stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """One linear layer.

    Attributes:
        name: its module path.
        symbols: [rows, columns], what is stored per weight: integer codes, or the bits of
            a floating-point number.
        zero: [rows, columns], where the weight is exactly 0.
        finite: whether all weights (or all scales) are.
        bits: bits per symbol.
        group_size: weights per scale; None without scales, -1 for whole rows.
        scale_bytes: bytes of its scales.
        zero_point_bytes: bytes of its zero points; 0 when symmetric.
        stored_bytes: bytes of all its tensors.
    """

    name: str
    symbols: torch.Tensor
    zero: torch.Tensor
    finite: bool
    bits: int
    group_size: int | None
    scale_bytes: int
    zero_point_bytes: int
    stored_bytes: int
