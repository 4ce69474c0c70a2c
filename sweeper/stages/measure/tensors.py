"""The linear matrices of a checkpoint as its files have them: codes, scales, values.

Nothing is loaded as a model: what is read here is what a server would be given.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.utils.match import match_name
from safetensors import safe_open

from sweeper.errors import StageFailure
from sweeper.modeling import directory, matrices
from sweeper.stages.measure import bitsandbytes
from sweeper.stages.measure.matrix import Matrix

_PARTS = ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx")
_WEIGHT = ("weight", "weight_packed")
_SIDE = (*_PARTS, *bitsandbytes.PARTS)


class Files:
    """The safetensors files of a checkpoint directory, opened together; a context manager.

    Attributes:
        symmetric: whether codes have no zero point.
        activation_bits: bits of the inputs of quantized matrices; 16 if they stay as they are.
        paths: module path of every matrix -> its path in the files.
    """

    def __init__(self, folder: Path, *, trust_remote_code: bool = False) -> None:
        """Open the weights of the model in ``folder``; its code may run where it is trusted."""
        self._stack = ExitStack()
        self._home: dict[str, Any] = {}
        for path in directory.weights(folder):
            file = self._stack.enter_context(safe_open(path, "pt"))
            self._home |= dict.fromkeys(file.keys(), file)
        self._linear = _listed(folder, self._home, trust_remote_code=trust_remote_code)
        self.paths = {name: path for path, name in self._linear.items()}
        config = json.loads((folder / "config.json").read_text())
        groups = (config.get("quantization_config") or {}).get("config_groups") or {}
        self._groups: list[dict[str, Any]] = list(groups.values())
        weights = [group["weights"] for group in self._groups]
        self.symmetric: bool = weights[0]["symmetric"] if weights else True
        inputs = [found for group in groups.values() if (found := group.get("input_activations"))]
        self.activation_bits: int = inputs[0]["num_bits"] if inputs else 16

    def __enter__(self) -> Files:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._stack.close()

    def bits_of(self, name: str) -> int | None:
        """Bits of the codes of a matrix, from the checkpoint's configuration; None if dense."""
        for group in self._groups:
            if any(match_name(name, target) for target in group["targets"]):
                return int(group["weights"]["num_bits"])
        # the others name a class of modules, and all matrices are of one
        return int(self._groups[0]["weights"]["num_bits"]) if self._groups else None

    def matrices(self) -> Iterator[Matrix]:
        """The linear layers, packed or not, in the order of their names; one in memory at once."""
        for tensor in sorted(self._home):
            name, _, part = tensor.rpartition(".")
            if name not in self._linear:
                continue
            if part == "weight_packed":
                yield replace(self._packed(name), name=self._linear[name])
            elif part == "weight":
                found = bitsandbytes.matrix(name, self._get) or self._plain(name)
                yield replace(found, name=self._linear[name])

    def other_sizes(self) -> dict[str, int]:
        """Number of elements of every tensor that belongs to no linear layer."""
        return {
            tensor: self._size(tensor)
            for tensor in sorted(self._home)
            if tensor.rpartition(".")[2] not in _SIDE and not self._is_linear(tensor)
        }

    def _is_linear(self, tensor: str) -> bool:
        name, _, part = tensor.rpartition(".")
        return part == "weight" and name in self._linear

    def _shape(self, tensor: str) -> list[int]:
        shape: list[int] = self._home[tensor].get_slice(tensor).get_shape()
        return shape

    def _size(self, tensor: str) -> int:
        return int(torch.Size(self._shape(tensor)).numel())

    def _get(self, tensor: str) -> torch.Tensor | None:
        file = self._home.get(tensor)
        found: torch.Tensor | None = None if file is None else file.get_tensor(tensor)
        return found

    def _plain(self, name: str) -> Matrix:
        """A matrix under its plain name: dense, or int-quantized, a byte for each code."""
        weight = self._get(f"{name}.weight")
        assert weight is not None
        return self._dense(name, weight) if weight.is_floating_point() else self._int(name, weight)

    def _int(self, name: str, codes: torch.Tensor) -> Matrix:
        """A weight is its code times the scale of its row; there are no zero points.

        Codes of fewer than 8 bits are kept in bytes too: they count as what they are called
        only where they fit.
        """
        scale = self._get(f"{name}.weight_scale")
        assert scale is not None
        assert self.symmetric
        bits, top = self.bits_of(self._linear[name]) or 8, int(codes.max())
        fits = -(2 ** (bits - 1)) <= int(codes.min()) and top < 2 ** (bits - 1)
        return Matrix(
            name=name,
            symbols=codes,
            zero=codes == 0,
            finite=bool(torch.isfinite(scale).all()),
            bits=bits if fits else 8 * codes.element_size(),
            group_size=-1,
            scale_bytes=scale.nbytes,
            zero_point_bytes=0,
            stored_bytes=codes.nbytes + scale.nbytes,
        )

    def _dense(self, name: str, weight: torch.Tensor) -> Matrix:
        bits = 8 * weight.element_size()
        return Matrix(
            name=name,
            symbols=weight.view(torch.int16) if bits == 16 else weight,
            zero=weight == 0,
            finite=bool(torch.isfinite(weight).all()),
            bits=bits,
            group_size=None,
            scale_bytes=0,
            zero_point_bytes=0,
            stored_bytes=weight.nbytes,
        )

    def _packed(self, name: str) -> Matrix:
        """A pack-quantized matrix: weight = (code - zero point) * scale."""
        from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

        parts = {part: self._get(f"{name}.{part}") for part in _PARTS}
        packed, scale, shape = (parts[p] for p in _PARTS[:3])
        assert packed is not None
        assert scale is not None
        assert shape is not None
        bits = self.bits_of(self._linear[name])
        assert bits is not None
        size = torch.Size(shape.tolist())
        codes = unpack_from_int32(packed, bits, size)
        zeros, point = torch.zeros(1, dtype=codes.dtype), parts["weight_zero_point"]
        if point is not None:
            groups = torch.Size((size[0], scale.shape[1]))
            zeros = unpack_from_int32(point, bits, groups, packed_dim=0)
            zeros = zeros.repeat_interleave(size[1] // scale.shape[1], dim=1)
        return Matrix(
            name=name,
            symbols=codes,
            zero=codes == zeros,
            finite=bool(torch.isfinite(scale).all()),
            bits=bits,
            group_size=-1 if scale.shape[1] == 1 else size[1] // scale.shape[1],
            scale_bytes=scale.nbytes,
            zero_point_bytes=0 if point is None else point.nbytes,
            stored_bytes=sum(t.nbytes for t in parts.values() if t is not None),
        )


def _listed(folder: Path, tensors: Collection[str], *, trust_remote_code: bool) -> dict[str, str]:
    """Path in the files -> module path of every matrix that counts: see `matrices.listed`.

    Of a model that no method can treat, dense as it is, all matrices inside of its decoder
    layers count.

    Raises:
        StageFailure: its configuration is none of a language model.
    """
    try:
        model = matrices.on_meta(folder, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise StageFailure(
            "the checkpoint has no linear matrices that can be told: transformers cannot build "
            f"its model ({error})"
        ) from error
    found = matrices.listed(model)
    inside = set(found.treated) | set(found.untreatable)
    stored = {name.rpartition(".")[0] for name in tensors if name.rpartition(".")[2] in _WEIGHT}
    named = matrices.module_names(model, {f"{name}.weight" for name in stored})
    pairs = {t.removesuffix(".weight"): p.removesuffix(".weight") for t, p in named.items()}
    # several matrices of the files can be one of the model, which then no mask names
    return {t: p if p in found.treated else t for t, p in pairs.items() if p in inside}
