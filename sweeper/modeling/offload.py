"""Where a model's weights are while it is compressed: whole on the device, or layer by layer.

Compression works on one decoder layer after the other. A model that the GPU cannot hold
stays in the machine's memory, and each layer visits the GPU while it is at work
(`compressed_tensors.offload`, which llm-compressor's own pipelines use).
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from compressed_tensors.offload import remove_dispatch, set_onload_device
from compressed_tensors.offload.cache import OffloadCache

SHARE = 0.7
"""Of the free memory may be weights; the rest is for Hessians, activations and samples."""

log = logging.getLogger(__name__)


def fits(weight_bytes: int, free_bytes: int) -> bool:
    """Whether a model is compressed with all of its weights on the device."""
    return weight_bytes <= SHARE * free_bytes


def weight_bytes(model: Any) -> int:
    """Bytes of all parameters and buffers, tied ones once."""
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def place(model: Any, device: str) -> Any:
    """The model on ``device``, or offloaded to memory if that cannot hold it."""
    if device == "cpu":
        return model
    needed, free = weight_bytes(model), torch.cuda.mem_get_info()[0]
    if fits(needed, free):
        return model.to(device)
    log.warning(
        "%.0f GB of weights, %.0f GB free on the GPU: layers visit it one by one",
        needed / 1e9,
        free / 1e9,
    )
    return set_onload_device(model, torch.device(device))


def offloaded(model: Any) -> bool:
    """Whether any of its weights visit the device only."""
    return any(isinstance(module._parameters, OffloadCache) for module in model.modules())


def gather(model: Any) -> Any:
    """The model without any offloading, its weights where they rest; for saving."""
    return remove_dispatch(model)
