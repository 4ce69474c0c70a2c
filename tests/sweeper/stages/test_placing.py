"""Models that a GPU cannot hold: when layers visit it one by one, and that nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.offload import set_onload_device

from sweeper.modeling import offload
from sweeper.stages.sensitivity import stage

from .test_sensitivity import PARAMS

GB = 10**9


@pytest.mark.parametrize(
    ("billions", "bytes_each", "gpu_gb", "whole"),
    [
        (0.135, 4, 24, True),
        (8.03, 2, 24, True),  # 8B in bfloat16 on an A10
        (8.03, 4, 24, False),  # in float32
        (8.03, 4, 80, True),
        (34, 2, 80, False),
        (70.6, 2, 80, False),
        (70.6, 2, 4 * 80, True),
    ],
)
def test_what_fits_stays_whole(billions: float, bytes_each: int, gpu_gb: int, whole: bool) -> None:
    assert offload.fits(round(billions * GB * bytes_each), gpu_gb * GB) is whole


def test_tied_weights_count_once() -> None:
    model = torch.nn.ModuleList([torch.nn.Linear(4, 4, bias=False) for _ in range(2)])
    assert offload.weight_bytes(model) == 2 * 64
    model[1].weight = model[0].weight
    assert offload.weight_bytes(model) == 64


def checkpoint(out: Path) -> bytes:
    return (out / "checkpoint" / "model.safetensors").read_bytes()


def test_layer_by_layer_is_the_same_to_the_byte(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = workshop.prune()
    both = checkpoint(whole), checkpoint(workshop.quantize(whole))
    gathered: list[Any] = []

    def place(model: Any, device: str) -> Any:
        return set_onload_device(model, torch.device(device))

    def gather(model: Any, own: Any = offload.gather) -> Any:
        assert offload.offloaded(model), "it has been so until the end"
        gathered.append(own(model))
        assert not offload.offloaded(model), "what is saved is whole"
        return model

    monkeypatch.setattr(offload, "place", place)
    monkeypatch.setattr(offload, "gather", gather)
    visited = workshop.prune(fresh=True)
    assert checkpoint(visited) == both[0]
    assert checkpoint(workshop.quantize(visited, fresh=True)) == both[1]
    assert len(gathered) == 2


def test_gradients_of_layers_that_visit_are_the_same(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def table() -> bytes:
        params = PARAMS | {"errors": "loss"}
        sources = {"model": workshop.dense, "calibration": workshop.text}
        job = workshop.job(params, sources=sources)
        stage.run(job)
        return (job.out / stage.FILE).read_bytes()

    whole = table()
    placed: list[Any] = []

    def place(model: Any, device: str) -> Any:
        placed.append(set_onload_device(model, torch.device(device)))
        assert offload.offloaded(model)
        return model

    monkeypatch.setattr(offload, "place", place)
    assert table() == whole
    assert len(placed) == 1
