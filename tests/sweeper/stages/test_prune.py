"""Pruning: the sparsity that was asked for, in the place it was asked for, the same every time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sweeper.errors import StageFailure
from sweeper.modeling import checkpoint, layerwise, masks
from sweeper.stages import Job, prune
from tests import tiny

from .conftest import PRUNE


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(out / "checkpoint" / "model.safetensors")
    return found


def linear(out: Path) -> dict[str, torch.Tensor]:
    return {n: w for n, w in weights(out).items() if "proj" in n}


def test_same_bytes_twice_whatever_the_random_state(workshop: Any) -> None:
    torch.manual_seed(1)
    one = weights_bytes(workshop.prune(fresh=True))
    torch.manual_seed(2)
    assert weights_bytes(workshop.prune(fresh=True)) == one


def weights_bytes(out: Path) -> bytes:
    return (out / "checkpoint" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("sparsity", [0.25, 1 / 3, 0.75])
def test_unstructured_sparsity(workshop: Any, sparsity: float) -> None:
    out = workshop.prune(sparsity=sparsity)
    assert workshop.results[out]["sparsity"] == pytest.approx(sparsity, abs=5e-4)
    for name, weight in linear(out).items():
        assert (weight == 0).float().mean().item() == pytest.approx(sparsity, abs=2e-3), name


@pytest.mark.parametrize("pattern", ["2:8", "1:3", "2:6", "3:6", "4:6", "1:5", "5:7"])
def test_every_complete_group_has_n_zeros_and_the_rest_is_dense(
    workshop: Any, pattern: str
) -> None:
    n, m = map(int, pattern.split(":"))
    out = workshop.prune(pattern=pattern, sparsity=n / m)
    for name, weight in linear(out).items():
        complete = weight.shape[1] - weight.shape[1] % m
        groups = (weight[:, :complete] == 0).reshape(weight.shape[0], -1, m).sum(-1)
        assert (groups == n).all(), name
        assert (weight[:, complete:] != 0).all(), name
    assert (workshop.results[out]["dense_tail"] > 0) == any(c % m for c in (64, 192))


def test_the_pattern_decides_even_if_a_sparsity_is_passed(workshop: Any) -> None:
    out = workshop.prune(pattern="2:8", sparsity=0.9)
    assert workshop.results[out]["sparsity"] == 0.25


def test_head_embedding_and_norms_are_left_alone(workshop: Any) -> None:
    before = load_file(workshop.dense / "model.safetensors")
    after = weights(workshop.prune(sparsity=0.75))
    assert after.keys() == before.keys()
    for name in before.keys() - linear(workshop.prune(sparsity=0.75)).keys():
        assert torch.equal(before[name], after[name]), name


def test_saved_dense_without_a_trace_of_compression(workshop: Any) -> None:
    folder = workshop.prune() / "checkpoint"
    config = json.loads((folder / "config.json").read_text())
    assert not {"quantization_config", "sparsity_config", "compression_config"} & config.keys()
    assert not (folder / "recipe.yaml").exists()
    assert config["dtype"] == "bfloat16"


def test_the_mask_is_that_of_the_saved_weights(workshop: Any) -> None:
    out = workshop.prune()
    kept = masks.load(out / "mask")
    saved = linear(out)
    assert {f"{name}.weight" for name in kept} == saved.keys()
    assert all(torch.equal(mask, saved[f"{n}.weight"] != 0) for n, mask in kept.items())


def test_mask_file_round_trip(tmp_path: Path) -> None:
    kept = {"a": torch.rand(5, 13) > 0.5, "b": torch.rand(3, 8) > 0.5}
    masks.save(kept, tmp_path)
    assert {n: m.tolist() for n, m in masks.load(tmp_path).items()} == {
        n: m.tolist() for n, m in kept.items()
    }


def test_an_uninvertible_hessian_fails_and_names_layers_and_knob(
    workshop: Any, indefinite: None
) -> None:
    with pytest.raises(StageFailure) as caught:
        workshop.prune(fresh=True)
    message = str(caught.value)
    assert "model.layers.0.mlp.down_proj" in message
    assert "prune.dampening" in message


def test_weights_that_blow_up_fail(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.methods.pruning import sparsegpt_modifier

    real = sparsegpt_modifier.sparsify

    def broken(weight: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return real(weight, *args, **kwargs) * float("nan")

    monkeypatch.setattr(sparsegpt_modifier, "sparsify", broken)
    with pytest.raises(StageFailure, match=r"not finite.*q_proj.*prune\.dampening"):
        workshop.prune(fresh=True)


def test_nothing_global_is_left_behind(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from llmcompressor.core import active_session
    from llmcompressor.modifiers.utils.hooks import HooksMixin

    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    session, threads, environment = active_session(), torch.get_num_threads(), dict(os.environ)
    torch.manual_seed(7)
    before, recipe = torch.get_rng_state(), list(session.lifecycle.recipe.modifiers)
    workshop.prune(fresh=True)
    request.getfixturevalue("indefinite")
    with pytest.raises(StageFailure):
        workshop.prune(fresh=True)
    assert active_session() is session
    assert session.lifecycle.recipe.modifiers == recipe
    assert not HooksMixin._HOOKS_DISABLED
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert dict(os.environ) == environment
    assert layerwise.progress.get() is None


def test_one_process_can_work_on_many_models(workshop: Any, tmp_path: Path) -> None:
    other = tiny.make(tmp_path / "other", hidden=32, layers=1, intermediate=96, seed=3)
    one = weights_bytes(workshop.prune())
    job = Job(
        params=PRUNE,
        out=tmp_path / "out",
        scratch=tmp_path,
        sources={"model": other, "calibration": workshop.text},
    )
    assert prune.run(job)["layers"] == 7
    assert weights_bytes(workshop.prune(fresh=True)) == one


def test_progress_reports_every_layer(workshop: Any, tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    prune.run(
        Job(
            params=PRUNE,
            out=tmp_path,
            scratch=tmp_path,
            sources={"model": workshop.dense, "calibration": workshop.text},
            progress=lambda fraction, note="": seen.append((fraction, note)),
        )
    )
    assert seen == [(0.5, "layer 1/2"), (1.0, "layer 2/2")]


def test_same_as_the_pipeline_of_llm_compressor(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = linear(workshop.prune())
    monkeypatch.setattr(layerwise, "chain", lambda *_: None)
    theirs = linear(workshop.prune(fresh=True))
    for name, weight in ours.items():
        same = ((weight == 0) == (theirs[name] == 0)).float().mean().item()
        assert same > 0.998, name  # attention is summed in another order
        assert torch.allclose(weight, theirs[name], atol=2e-3) or same < 1, name


def test_the_head_is_left_alone_even_where_it_is_calibrated(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # llm-compressor's own pipeline runs the head, and no longer ignores it by default
    monkeypatch.setattr(layerwise, "chain", lambda *_: None)
    before = load_file(workshop.dense / "model.safetensors")
    after = weights(workshop.prune(fresh=True))
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])


def test_models_whose_layers_do_not_form_a_chain_are_noticed(workshop: Any) -> None:
    model = checkpoint.load(workshop.dense, dtype="float32")
    ids = torch.arange(32).reshape(1, -1)
    with torch.no_grad():
        calls = layerwise.chain(model, ids)
        assert calls is not None and len(calls) == 2  # noqa: PT018
        second = model.model.layers[1]
        inner = second.forward
        # a layer that is given something other than the output of the one before it
        hook = second.register_forward_pre_hook(
            lambda _m, args, kwargs: ((args[0] + 1, *args[1:]), kwargs), with_kwargs=True
        )
        assert layerwise.chain(model, ids) is None
        hook.remove()
        assert second.forward == inner
