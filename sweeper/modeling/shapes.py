"""The shapes of a model's matrices, from a checkpoint's header or from its dimensions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from sweeper.modeling import directory

Shape = tuple[int, int]

_LAYER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True)
class Shapes:
    """What is compressed and what is not.

    Attributes:
        linear: name of every compressed matrix -> (rows, columns).
        other: number of parameters that stay at 16 bit (embeddings, head, norms).
    """

    linear: Mapping[str, Shape]
    other: int

    @cached_property
    def linear_parameters(self) -> int:
        """Number of weights in the compressed matrices."""
        return sum(rows * columns for rows, columns in self.linear.values())

    @cached_property
    def layers(self) -> int:
        """Number of decoder layers: of distinct first numbers in the names."""
        return len({layer_of(name) for name in self.linear} - {None})

    @property
    def parameters(self) -> int:
        """Number of weights in the whole model."""
        return self.linear_parameters + self.other

    def bytes(self, bits: float) -> float:
        """Checkpoint size in bytes when the linear weights take ``bits`` each."""
        return self.linear_parameters * bits / 8 + self.other * 2


def layer_of(name: str) -> int | None:
    """Index of the decoder layer that a matrix belongs to; None for one outside of them."""
    found = _LAYER.search(name)
    return int(found[0]) if found else None


def from_architecture(arch: Mapping[str, Any]) -> Shapes:
    """Shapes of a Llama-like decoder from its dimensions (keys of `ArchitectureConfig`)."""
    hidden, inner = arch["hidden_size"], arch["intermediate_size"]
    q = arch["num_attention_heads"] * arch["head_dim"]
    kv = arch["num_key_value_heads"] * arch["head_dim"]
    layer = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    layers = arch["num_hidden_layers"]
    linear = {f"model.layers.{i}.{name}": s for i in range(layers) for name, s in layer.items()}
    embeddings = arch["vocab_size"] * hidden * (1 if arch["tie_word_embeddings"] else 2)
    norms = hidden * arch.get("layer_norms", 2) + arch["head_dim"] * arch.get("head_norms", 0)
    return Shapes(linear, embeddings + hidden + norms * layers)


def from_checkpoint(path: Path, matrices: Mapping[str, str]) -> Shapes:
    """Shapes from the headers of a checkpoint's weights.

    Args:
        path: its directory.
        matrices: tensor in the files -> module path, of each matrix that is compressed.
    """
    linear: dict[str, Shape] = {}
    other = 0
    for name, info in directory.tensors(path):
        if name in matrices:
            rows, columns = info["shape"]
            linear[matrices[name]] = (rows, columns)
        else:
            other += prod(info["shape"])
    return Shapes(linear, other)


def precisions(path: Path, matrices: Mapping[str, str]) -> set[str]:
    """Names of the data types in which a checkpoint stores the matrices that are compressed."""
    return {str(info["dtype"]) for name, info in directory.tensors(path) if name in matrices}
