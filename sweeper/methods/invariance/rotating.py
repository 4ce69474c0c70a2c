"""Rotation of the residual stream and of the values, fused into the weights.

QuaRot (arXiv 2404.00456, section 4) and SpinQuant (arXiv 2405.16406, R1 and R2): the gains of the
norms are folded into the matrices that read them, for a root-mean-square norm without a gain
commutes with a rotation; then what writes the residual stream is rotated by R1 and what reads it is
rotated back, and each value head by R2 against the columns of o. Nothing is left to do while the
model runs, so the checkpoint is a plain one. R3 and R4, which run on-line, are not made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sweeper.errors import StageFailure, several
from sweeper.methods.invariance import hadamard, structure
from sweeper.methods.invariance.structure import put


def rotate(model: Any, *, block_size: int | None, seed: int) -> dict[str, Any]:
    """Rotate a causal LM in place, float64 inside.

    An output head that is one matrix with the embedding becomes one of its own: it takes the gain
    of the last norm, the embedding does not.

    Args:
        model: built like Llama.
        block_size: of R1; None is the whole width.
        seed: of the random signs.

    Returns:
        The ``width``, ``block_size`` and ``head`` that were rotated, and whether the head was
        ``untied``.

    Raises:
        StageFailure: it is built otherwise, its norms cannot be folded, or no rotation fits.
    """
    layers = structure.layers(model)
    behind = [name for layer in layers for name in layer.behind]
    if behind:
        raise StageFailure(
            f"{type(model).__name__} cannot be rotated: {several(behind, 3)} "
            "act on what is added to the residual stream, and their gains cannot be folded into "
            "any matrix. Set rotate=none."
        )
    last = structure.final_norm(model)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    width, size = embedding.weight.shape[1], layers[0].head
    if layers[0].linear["q_proj"].in_features != width or not isinstance(head, nn.Linear):
        raise StageFailure(
            f"{type(model).__name__} cannot be rotated: between embedding and layers, or layers "
            "and head, is more than a norm. Set rotate=none."
        )
    block = block_size or width
    if width % block or not (hadamard.fits(block) and hadamard.fits(size)):
        raise StageFailure(
            f"{type(model).__name__} cannot be rotated: there are no Hadamard blocks of {block} "
            f"for a width of {width}, or none of {size} for its heads. Set rotate=none."
        )
    untied = _untie(model, embedding, head)
    inner = hadamard.rotation(size, size, seed + 1)
    for layer in layers:
        own = layer.linear
        _fold(layer.before_attention, [own[name] for name in ("q_proj", "k_proj", "v_proj")])
        _fold(layer.before_feed_forward, [own["gate_proj"], own["up_proj"]])
        _rotate_heads(own["v_proj"], own["o_proj"], inner)
    _fold(last, [head])
    turn = hadamard.rotation(width, block, seed)
    put(embedding.weight, embedding.weight.double() @ turn)
    put(head.weight, head.weight.double() @ turn)
    for layer in layers:
        for name, linear in layer.linear.items():
            if name in ("o_proj", "down_proj"):
                put(linear.weight, turn.T @ linear.weight.double())
                if linear.bias is not None:
                    put(linear.bias, turn.T @ linear.bias.double())
            else:
                put(linear.weight, linear.weight.double() @ turn)
    return {"width": width, "block_size": block, "head": size, "untied": untied}


def _untie(model: Any, embedding: nn.Module, head: nn.Linear) -> bool:
    tied = head.weight is embedding.weight
    if tied:
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.get_text_config().tie_word_embeddings = False
        model.config.tie_word_embeddings = False
    return tied


def _fold(norm: structure.Norm, readers: list[nn.Linear]) -> None:
    gain = norm.gain
    for linear in readers:
        put(linear.weight, linear.weight.double() * gain)
    norm.become(torch.ones_like(gain))


def _rotate_heads(values: nn.Linear, output: nn.Linear, turn: torch.Tensor) -> None:
    """Each head's values by ``turn``, and the columns of ``output`` that read them back."""
    size = len(turn)
    rows = values.weight.double().view(-1, size, values.in_features)
    put(values.weight, (turn.T @ rows).reshape(values.weight.shape))
    if values.bias is not None:
        put(values.bias, (values.bias.double().view(-1, size) @ turn).flatten())
    columns = output.weight.double().view(output.out_features, -1, size)
    put(output.weight, (columns @ turn).reshape(output.weight.shape))
