"""Runs the modifiers of one method on one model through llm-compressor, leaving no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from llmcompressor import oneshot
from llmcompressor.core import create_session
from torch.utils.data import DataLoader

from sweeper.stages import layerwise

TOKENS_PER_BATCH = 2048  # bounds the activations held at once; does not depend on the machine


@contextmanager
def compressed(
    model: Any,
    recipe: list[Any],
    samples: torch.Tensor,
    tokenizer: Any,
    progress: Callable[..., None],
) -> Iterator[None]:
    """Applies ``recipe`` to ``model`` in place; the body runs before the session is closed.

    Args:
        model: a loaded causal LM.
        recipe: llm-compressor modifiers.
        samples: token ids, int64 [samples, length].
        tokenizer: the model's; llm-compressor asks for it.
        progress: called with a fraction and a note after each decoder layer.
    """
    token = layerwise.progress.set(progress)
    try:
        with create_session(), torch.random.fork_rng(devices=[]):
            oneshot(
                model=model,
                recipe=recipe,
                dataset=_batches(samples.to(model.device)),
                processor=tokenizer,
                pipeline=layerwise.NAME,
                # the number of samples is the loader's; these silence its own choices
                num_calibration_samples=len(samples),
                shuffle_calibration_samples=False,
            )
            yield
    finally:
        layerwise.progress.reset(token)


def _batches(samples: torch.Tensor) -> DataLoader[dict[str, torch.Tensor]]:
    size = max(1, TOKENS_PER_BATCH // samples.shape[1])
    rows: Any = [{"input_ids": batch} for batch in samples.split(size)]
    return DataLoader(rows, batch_size=None, shuffle=False)
