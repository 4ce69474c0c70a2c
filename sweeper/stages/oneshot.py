"""Runs the modifiers of one method on one model through llm-compressor, leaving no trace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from llmcompressor import oneshot
from llmcompressor.core import create_session
from loguru import logger
from torch.utils.data import DataLoader

from sweeper.errors import StageFailure
from sweeper.methods import ByModifiers, BySearch, Params, Progress, method, profiles, reads_text
from sweeper.methods.allocation.assign import sparsities
from sweeper.modeling import checkpoint, layer_chain, layerwise, offload
from sweeper.stages import Job, calibration
from sweeper.stages.sensitivity import allocation
from sweeper.store.files import write_json

RECORD = "search.json"
_ADVISING = "llmcompressor.pipelines.registry"


@contextmanager
def compressed(job: Job) -> Iterator[tuple[Any, torch.Tensor | None]]:
    """Applies the method of a stage; yields (the compressed model, its calibration samples).

    A method without calibration has no samples: None. The body runs before llm-compressor's
    session is closed, which saving needs. Nothing global outlives it: session, random
    state, environment and hooks are as before.

    Args:
        job: a prune or quantize stage.

    Raises:
        BadInput: the calibration text does not fit.
        StageFailure: the method could not treat a layer, or cannot work layer by layer.
    """
    params = job.params
    model = checkpoint.sole(
        job.checkpoint("model"),
        dtype=params["compute_dtype"],
        trust_remote_code=job.trust_remote_code,
    )
    model = offload.place(model, job.device)
    tokenizer = checkpoint.tokenizer(
        job.checkpoint("model"), trust_remote_code=job.trust_remote_code
    )
    how = method(params["method"])
    assert isinstance(how, ByModifiers)
    samples = calibration.of(job, tokenizer) if reads_text(params["method"], params) else None
    found, progress = _searched(job, how, model, samples)
    recipe = how.recipe({**params, **_profiled(job, model, samples), **found}, model)
    token = layerwise.progress.set(progress)
    try:
        with _unchanged_environment(), create_session(), torch.random.fork_rng(devices=[]):
            oneshot(
                model=model,
                recipe=recipe,
                dataset=None if samples is None else _batches(samples.to(job.device)),
                processor=tokenizer,
                pipeline=layerwise.NAME,
                trust_remote_code_model=job.trust_remote_code,
            )
            yield offload.gather(model), samples
    finally:
        layerwise.progress.reset(token)


def _searched(
    job: Job, how: ByModifiers, model: Any, samples: torch.Tensor | None
) -> tuple[Params, Progress]:
    """What the method's search adds to its parameters, and the progress that is left."""
    if not isinstance(how, BySearch):
        return {}, job.progress
    assert samples is not None
    if offload.offloaded(model):
        raise StageFailure(
            "a search changes all weights many times, and this GPU cannot hold them: use one "
            "with more memory, or a lower compute_dtype"
        )
    share = how.search_share(job.params)

    def searching(fraction: float, note: str = "") -> None:
        job.progress(share * fraction, note)

    def compressing(fraction: float, note: str = "") -> None:
        job.progress(share + (1 - share) * fraction, note)

    ids = samples.to(model.device)
    found, record = how.search(job.params, model, ids, job.scratch, searching)
    if record:
        write_json(job.out / RECORD, record)
    return found, compressing


def _profiled(job: Job, model: Any, samples: torch.Tensor | None) -> Params:
    """What the share or the bits of each matrix add to the parameters of a method."""
    params = job.params
    if params.get("profile") == profiles.ALLOCATED:
        return allocation.of(job)
    if "sparsity" not in params:
        return {}
    batches = None if samples is None else layer_chain.batches(samples)
    shares = sparsities(params, model, checkpoint.linears(model), batches)
    return {"sparsities": shares}


def tokens(samples: torch.Tensor | None) -> int:
    """Number of calibration tokens; 0 for a method without calibration."""
    return 0 if samples is None else samples.numel()


@contextmanager
def _unchanged_environment() -> Iterator[None]:
    """Takes back the environment variables that llm-compressor sets; hushes one warning."""
    before = dict(os.environ)
    # it advises its own pipeline, once per stage
    logger.disable(_ADVISING)
    try:
        yield
    finally:
        logger.enable(_ADVISING)
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


def _batches(samples: torch.Tensor) -> DataLoader[dict[str, torch.Tensor]]:
    rows: Any = [{"input_ids": batch} for batch in layer_chain.batches(samples)]
    return DataLoader(rows, batch_size=None, shuffle=False)
