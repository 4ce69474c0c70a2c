"""Saliency with activation range: its rank-1 form is the definition; without it, it is Wanda."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

from sweeper.methods.jsq import activation_range
from sweeper.methods.jsq.activation_clamp import edited
from sweeper.methods.jsq.activation_range import OutputRanges
from sweeper.methods.jsq.saliency import ActivationRange
from sweeper.methods.pruning.score_modifier import Wanda

from .layers import layer


def definition(weight: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Eq. 3 of JSQ to the letter: a whole product for every weight that is set to zero."""
    found = np.empty_like(weight)
    for i, j in np.ndindex(*weight.shape):
        without = weight.copy()
        without[i, j] = 0
        outputs = inputs @ without.T
        found[i, j] = outputs[:, i].max() - outputs[:, i].min()
    return found


@pytest.mark.parametrize("candidates", [1, 16, 1000])
def test_the_rank_1_form_is_the_definition(
    monkeypatch: pytest.MonkeyPatch, candidates: int
) -> None:
    # with one candidate most weights are settled by all tokens, with 1000 by candidates alone
    monkeypatch.setattr(activation_range, "_CANDIDATES", candidates)
    monkeypatch.setattr(activation_range, "_ELEMENTS", 500)
    weight, inputs = (part.double() for part in layer(10, 24, tokens=8))
    ranges = OutputRanges(weight)
    for batch in inputs.split(50):
        ranges.add(batch)
    expected = definition(weight.numpy(), inputs.numpy())
    np.testing.assert_allclose(ranges.ranges().numpy(), expected, rtol=1e-12)


def test_few_weights_need_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, inputs = layer(64, 256)
    seen: list[float] = []
    settle = activation_range._settle

    def counted(largest: Any, open_: torch.Tensor, *rest: Any) -> None:
        seen.append(float(open_.float().mean()))
        settle(largest, open_, *rest)

    monkeypatch.setattr(activation_range, "_settle", counted)
    OutputRanges(weight).add(inputs)
    assert max(seen) < 0.02


def test_it_costs_at_most_ten_times_the_product_it_rests_on() -> None:
    weight, inputs = layer(576, 1536, tokens=1)

    def seconds(work: Any) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    product = min(seconds(lambda: weight @ inputs.t()) for _ in range(5))
    scored = min(seconds(lambda: OutputRanges(weight).add(inputs)) for _ in range(3))
    assert scored <= 10 * product


def pruned(weight: torch.Tensor, inputs: torch.Tensor, kind: Any, **settings: Any) -> torch.Tensor:
    module = torch.nn.Linear(*weight.shape[::-1], bias=False)
    module.weight.data = weight.clone()
    modifier = kind(save_dtype="float32", sparsity=0.5, **settings)
    modifier._module_names[module] = "layer."
    modifier._module_sparsities[module] = 0.5
    for batch in inputs.split(len(inputs) // 2):
        modifier.calibrate_module(module, (batch,), batch)
    modifier.compress_modules()
    return module.weight.data


@pytest.mark.parametrize("structure", ["0:0", "2:4", "4:8"])
def test_without_the_range_it_is_wanda_bit_for_bit(structure: str) -> None:
    weight, inputs = layer(24, 96)
    wanda = pruned(weight, inputs, Wanda, mask_structure=structure)
    same = pruned(weight, inputs, ActivationRange, mask_structure=structure, range_weight=0.0)
    other = pruned(weight, inputs, ActivationRange, mask_structure=structure, range_weight=2.0)
    assert torch.equal(wanda, same)
    assert not torch.equal(wanda, other)


@pytest.mark.parametrize("range_weight", [0.5, 2.0])
def test_the_score_is_eq_4(range_weight: float) -> None:
    weight, inputs = layer(8, 24)
    scores = np.abs(weight.numpy()) * np.linalg.norm(inputs.numpy(), axis=0)
    scores = scores + range_weight * definition(weight.numpy(), inputs.numpy())
    order = np.argsort(scores, axis=1, kind="stable")[:, :12]
    expected = weight.numpy().copy()
    np.put_along_axis(expected, order, 0.0, axis=1)
    found = pruned(weight, inputs, ActivationRange, range_weight=range_weight)
    assert np.array_equal(found.numpy(), expected)


def test_the_editor_clamps_to_a_share_of_the_range() -> None:
    inputs = torch.tensor([[-10.0, 0.0, 1.0], [2.0, 3.0, 30.0]])
    assert torch.equal(edited(inputs, 0.1, "range").aminmax().min, torch.tensor(-6.0))
    assert torch.equal(edited(inputs, 0.1, "range").aminmax().max, torch.tensor(26.0))
    assert torch.equal(edited(inputs, 0.1, "range")[0, 1:], inputs[0, 1:])


def test_the_editor_clamps_at_quantiles() -> None:
    inputs = torch.randperm(1000).float().reshape(10, 100)
    found = edited(inputs, 0.01, "quantile")
    assert (float(found.min()), float(found.max())) == (10.0, 989.0)


def test_no_strength_is_no_edit() -> None:
    inputs = torch.randn(4, 8)
    assert edited(inputs, 0.0, "range") is inputs
    assert edited(inputs, 0.0, "quantile") is inputs


def test_editing_reaches_norms_and_ranges() -> None:
    weight, inputs = layer(24, 96)
    clamped = torch.cat([edited(batch, 0.05, "range") for batch in inputs.split(len(inputs) // 2)])
    by_hand = pruned(weight, clamped, ActivationRange)
    found = pruned(weight, inputs, ActivationRange, strengths={"layer": 0.05})
    assert torch.equal(found, by_hand)
    assert not torch.equal(found, pruned(weight, inputs, ActivationRange))
