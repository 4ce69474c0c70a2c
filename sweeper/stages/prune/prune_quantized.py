"""Prunes a quantized checkpoint on its files: pruned weights get the code of 0, all else stays."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from compressed_tensors.compressors.pack_quantized.helpers import (
    pack_to_int32,
    unpack_from_int32,
)
from safetensors import safe_open
from safetensors.torch import save_file

from sweeper.stages.measure.tensors import Files

Tensors = dict[str, torch.Tensor]


def save(
    source: Path, out: Path, kept: Mapping[str, torch.Tensor], *, trust_remote_code: bool = False
) -> None:
    """Writes the checkpoint ``source`` to ``out`` without the weights that are not kept.

    Args:
        source: pack-quantized or int-quantized, as `checkpoint.save_packed` writes it.
        out: a directory that does not exist yet.
        kept: name of every matrix -> boolean [rows, columns].
        trust_remote_code: whether the model's own code may run.
    """
    shutil.copytree(source, out)
    with Files(source, trust_remote_code=trust_remote_code) as files:
        bits = {files.paths[name]: files.bits_of(name) for name in kept}
        kept = {files.paths[name]: mask for name, mask in kept.items()}
    for path in sorted(out.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, mask in kept.items():
            _zero(tensors, name, mask, bits[name])
        save_file(tensors, path, metadata=metadata)


def _zero(tensors: Tensors, name: str, kept: torch.Tensor, bits: int | None) -> None:
    """Edits one matrix, if it is in this file; its parts lie together."""
    packed = tensors.get(f"{name}.weight_packed")
    if packed is None:
        codes = tensors.get(f"{name}.weight")
        if codes is not None:  # int-quantized and symmetric: the code of 0 is 0
            tensors[f"{name}.weight"] = codes.masked_fill(~kept, 0)
        return
    assert bits is not None
    codes = unpack_from_int32(packed, bits, kept.shape)
    zero = torch.zeros((), dtype=codes.dtype)
    point, scale = tensors.get(f"{name}.weight_zero_point"), tensors[f"{name}.weight_scale"]
    if point is not None:
        groups = torch.Size((kept.shape[0], scale.shape[1]))
        zero = unpack_from_int32(point, bits, groups, packed_dim=0)
        zero = zero.repeat_interleave(kept.shape[1] // scale.shape[1], dim=1)
    tensors[f"{name}.weight_packed"] = pack_to_int32(torch.where(kept, codes, zero), bits)
