"""Takes whole decoder layers out of a model; what is left is a valid smaller checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from sweeper.errors import StageFailure
from sweeper.methods import ByRemoval
from sweeper.modeling import checkpoint, layer_chain, matrices, parameter_count
from sweeper.stages import Job, calibration


def shortened(job: Job, how: ByRemoval) -> dict[str, Any]:
    """Writes ``checkpoint/`` without the layers that ``how`` chooses, and ``dense.json``.

    Raises:
        StageFailure: the architecture cannot be shortened.
    """
    params, source = job.params, job.checkpoint("model")
    trust = job.trust_remote_code
    model = checkpoint.sole(
        source, dtype=params["compute_dtype"], device=job.device, trust_remote_code=trust
    )
    samples = calibration.of(job, checkpoint.tokenizer(source, trust_remote_code=trust))
    parameter_count.record(parameter_count.counted(model), job.out)
    with layer_chain.opened(model, samples.to(model.device)) as layers:
        removed = how.removed(params, layers, job.progress)
    count = len(layers.layers)
    take_out(model, removed)
    out = job.out / "checkpoint"
    trust = job.trust_remote_code
    left = checkpoint.save_dense(
        model, job.checkpoint("model"), out, dtype=params["save_dtype"], trust_remote_code=trust
    )
    require_same(model, out, samples[:1], trust_remote_code=trust)
    return {
        **({"left_out": left} if left else {}),
        "layers": count,
        "removed": removed,
        "sparsity": len(removed) / count,
        "calibration_tokens": samples.numel(),
    }


def take_out(model: Any, removed: list[int]) -> None:
    """Removes decoder layers in place and makes indexes and configuration follow."""
    name, layers = matrices.stack(model)
    kept = [i for i in range(len(layers)) if i not in set(removed)]
    _filter(model.config.get_text_config(), len(layers), kept)
    left = torch.nn.ModuleList([layers[i] for i in kept])
    model.set_submodule(name, left)
    for place, layer in enumerate(left):
        for module in layer.modules():
            for index in _INDEXES:
                if hasattr(module, index):
                    setattr(module, index, place)


_INDEXES = ("layer_idx", "layer_id", "layer_number")
"""What modules call the number of their layer."""


def _filter(config: Any, layers: int, kept: list[int]) -> None:
    """Lists with one entry per layer (attention types, say) keep those of the kept layers."""
    for name, value in config.to_dict().items():
        if isinstance(value, list | tuple) and len(value) == layers and "layer" in name:
            setattr(config, name, [value[i] for i in kept])
    config.num_hidden_layers = len(kept)
    if hasattr(config, "attention_types"):  # GPT-Neo reads its list of layers from this one
        config.attention_types = [[[kind], 1] for kind in config.attention_layers]


def require_same(
    model: Any, saved: Path, ids: torch.Tensor, *, trust_remote_code: bool = False
) -> None:
    """Check that plain transformers loads what was saved as the model that is in memory.

    Raises:
        StageFailure: its logits on ``ids`` differ: a layer's kind hangs on its index.
    """
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # a stale index is told by the check below
    try:
        again = checkpoint.load(
            saved,
            dtype=str(model.dtype).removeprefix("torch."),
            trust_remote_code=trust_remote_code,
        )
    finally:
        transformers_logging.set_verbosity(verbosity)
    again.to(model.device)
    _share_buffers(again, model)
    ids = ids.to(model.device)
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        found = again(input_ids=ids, use_cache=False).logits
    if not torch.equal(expected, found):
        raise StageFailure(
            f"without the removed layers, {type(model).__name__} is another model once it is "
            "loaded again: what a layer does depends on its index there. Choose a method that "
            "keeps all layers."
        )


def _share_buffers(source: Any, target: Any) -> None:
    """What is computed while loading (rotary frequencies) is not what is compared."""
    for name, buffer in source.named_buffers():
        parent, _, leaf = name.rpartition(".")
        target.get_submodule(parent)._buffers[leaf] = buffer
