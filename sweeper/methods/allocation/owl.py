"""OWL (Yin et al., ICML 2024, arXiv:2310.05175): decoder layers with more outliers stay denser.

The sparsity of a decoder layer falls linearly with its layerwise outlier distribution, the
share of its weights whose |w_ij| ||x_j||_2 exceeds M times the layer's mean; the spread from
the densest to the sparsest layer is 2 lambda, and the mean, weighted by the layers' sizes,
is the sparsity of the label. All inputs are those of the dense model, as published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from sweeper.errors import StageFailure
from sweeper.methods import Params


def sparsities(
    params: Params, model: Any, matrices: Mapping[str, Any], batches: Iterable[torch.Tensor]
) -> dict[str, float]:
    """See `_profiles.sparsities`.

    Raises:
        StageFailure: an input was not finite.
    """
    norms = input_norms(model, matrices, batches)
    layers: dict[str, list[str]] = {}
    for name in matrices:
        layers.setdefault(decoder_layer(name), []).append(name)
    ratios, sizes = [], []
    for members in layers.values():
        pairs = [(matrices[name].weight, norms[name]) for name in members]
        ratios.append(outlier_ratio(pairs, params["owl_m"]))
        sizes.append(sum(weight.numel() for weight, _ in pairs))
    found = spread(ratios, sizes, params["sparsity"], params["owl_lambda"])
    by_layer = zip(layers.values(), found, strict=True)
    return {name: value for members, value in by_layer for name in members}


def decoder_layer(name: str) -> str:
    """'model.layers.3.mlp.up_proj' -> 'model.layers.3'; a matrix outside of all is its own."""
    found = re.match(r".*?\.\d+(?=\.)", name)
    return found.group() if found else name


def input_norms(
    model: Any, matrices: Mapping[str, Any], batches: Iterable[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Name -> ||x_j||_2 over all tokens, [columns], from one pass through the dense model."""
    squares: dict[str, torch.Tensor] = {}

    def listener(name: str) -> Any:
        def listen(_module: Any, args: tuple[torch.Tensor, ...]) -> None:
            added = args[0].detach().reshape(-1, args[0].shape[-1]).float().square().sum(0)
            squares[name] = squares[name] + added if name in squares else added

        return listen

    handles = [m.register_forward_pre_hook(listener(name)) for name, m in matrices.items()]
    try:
        with torch.no_grad():
            for batch in batches:
                model.get_decoder()(input_ids=batch.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    for name, square in squares.items():
        if not torch.isfinite(square).all():
            raise StageFailure(
                f"the calibration inputs of {name} are not finite. "
                "Compute with a wider range: model.compute_dtype=float32 or bfloat16."
            )
    return {name: square.sqrt() for name, square in squares.items()}


def outlier_ratio(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], times: float) -> float:
    """Share of a layer's weights whose score exceeds ``times`` the mean score (section 3.1).

    Args:
        pairs: (weight [rows, columns], norms of its inputs [columns]) of each matrix.
        times: M.
    """
    scores = [weight.detach().float().abs() * norm for weight, norm in pairs]
    count = sum(score.numel() for score in scores)
    mean = sum(score.sum(dtype=torch.float64) for score in scores) / count
    return float(sum((score > times * mean).sum() for score in scores) / count)


def spread(ratios: list[float], sizes: list[int], sparsity: float, reach: float) -> list[float]:
    """The sparsity of each layer (section 3.2).

    Args:
        ratios: outlier ratio of each layer.
        sizes: weights of each layer.
        sparsity: of all layers together.
        reach: lambda; layers differ by up to twice this share.
    """
    width = max(ratios) - min(ratios)
    if width == 0:
        return [sparsity] * len(ratios)
    scaled = [2 * reach * (ratio - min(ratios)) / width for ratio in ratios]
    mean = sum(s * size for s, size in zip(scaled, sizes, strict=True)) / sum(sizes)
    return [sparsity - (s - mean) for s in scaled]
