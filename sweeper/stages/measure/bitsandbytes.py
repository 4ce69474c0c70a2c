"""Linear matrices as bitsandbytes stores them: NF4 codes in blocks, or int8 codes with row scales.

Read from the tensors alone, without bitsandbytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import torch

from sweeper.stages.measure.matrix import Matrix

_STATE = "quant_state.bitsandbytes__nf4"
_SCALES = ("absmax", "nested_absmax")
_CODEBOOKS = ("quant_map", "nested_quant_map")
PARTS = (*_SCALES, *_CODEBOOKS, "bitsandbytes__nf4", "SCB", "weight_format")
"""Last parts of the names of tensors beside ``weight``."""

Get = Callable[[str], torch.Tensor | None]


def matrix(name: str, get: Get) -> Matrix | None:
    """The matrix ``name``, or None if it is not stored by bitsandbytes.

    Args:
        name: module path.
        get: tensor of a full name, or None.
    """
    if (state := get(f"{name}.weight.{_STATE}")) is not None:
        return _nf4(name, state, get)
    if (scale := get(f"{name}.SCB")) is not None:
        return _int8(name, scale, get)
    return None


def _nf4(name: str, state: torch.Tensor, get: Get) -> Matrix:
    """Two codes a byte, high half first; a weight is codebook[code] times its block's scale."""
    known = json.loads(bytes(state.tolist()))
    packed = get(f"{name}.weight")
    assert packed is not None
    scales, codebooks = (
        [t for part in parts if (t := get(f"{name}.weight.{part}")) is not None]
        for parts in (_SCALES, _CODEBOOKS)
    )
    rows, columns = known["shape"]
    halves = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], dim=1)
    codes = halves.flatten()[: rows * columns].reshape(rows, columns)
    scale_bytes = sum(tensor.nbytes for tensor in scales)
    return Matrix(
        name=name,
        symbols=codes,
        zero=codebooks[0][codes.long()] == 0,
        finite=all(bool(torch.isfinite(tensor).all()) for tensor in scales),
        bits=4,
        group_size=known["blocksize"],
        scale_bytes=scale_bytes,
        zero_point_bytes=0,
        stored_bytes=packed.nbytes
        + scale_bytes
        + sum(tensor.nbytes for tensor in codebooks)
        + state.nbytes,
    )


def _int8(name: str, scale: torch.Tensor, get: Get) -> Matrix:
    """A weight is its code times the scale of its row / 127."""
    codes, format = get(f"{name}.weight"), get(f"{name}.weight_format")
    assert codes is not None
    return Matrix(
        name=name,
        symbols=codes,
        zero=codes == 0,
        finite=bool(torch.isfinite(scale).all()),
        bits=8,
        group_size=-1,
        scale_bytes=scale.nbytes,
        zero_point_bytes=0,
        stored_bytes=codes.nbytes + scale.nbytes + (0 if format is None else format.nbytes),
    )
