"""Wanda: |w| times the norm of its input, compared within a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llmcompressor.modifiers.pruning.wanda import wanda_sparsify

from sweeper.methods.pruning.score_modifier import Wanda, least_of_groups, least_of_rows
from sweeper.methods.pruning.wanda import METHOD

from .layers import layer


def reference(weight: np.ndarray, inputs: np.ndarray, sparsity: float) -> np.ndarray:
    """Algorithm 1 of arXiv:2306.11695, by numpy, where sparsity x columns is an integer."""
    metric = np.abs(weight) * np.linalg.norm(inputs, axis=0)
    order = np.argsort(metric, axis=1, kind="stable")
    pruned = weight.copy()
    count = round(weight.shape[1] * sparsity)
    np.put_along_axis(pruned, order[:, :count], 0.0, axis=1)
    return pruned


def ours(weight: torch.Tensor, inputs: torch.Tensor, **settings: Any) -> torch.Tensor:
    """Through the modifier's own hook and step, in two batches."""
    module = torch.nn.Linear(*weight.shape[::-1], bias=False)
    module.weight.data = weight.clone()
    modifier = Wanda(save_dtype="float32", **settings)
    modifier._module_names[module] = "layer."
    modifier._module_sparsities[module] = settings["sparsity"]
    for batch in inputs.split(len(inputs) // 2):
        modifier.calibrate_module(module, (batch,), batch)
    modifier.compress_modules()
    return module.weight.data


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.75])
def test_equal_to_the_published_algorithm(sparsity: float) -> None:
    weight, inputs = layer(24, 96)
    expected = reference(weight.numpy(), inputs.numpy(), sparsity)
    assert np.array_equal(ours(weight, inputs, sparsity=sparsity).numpy(), expected)


def theirs(weight: torch.Tensor, inputs: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """llm-compressor's own routine."""
    module = torch.nn.Linear(*weight.shape[::-1], bias=False)
    module.weight.data = weight.clone()
    squares, _ = wanda_sparsify.accumulate_row_scalars(
        inputs, module, wanda_sparsify.make_empty_row_scalars(module), 0
    )
    pruned: torch.Tensor = wanda_sparsify.sparsify_weight(module, {module: squares}, 0.5, n, m)
    return pruned


@pytest.mark.parametrize(("n", "m"), [(0, 0), (2, 4), (2, 8), (1, 3)])
def test_equal_to_llm_compressors(n: int, m: int) -> None:
    weight, inputs = layer(24, 96)
    found = ours(weight, inputs, sparsity=0.5, mask_structure=f"{n}:{m}")
    assert torch.equal(found, theirs(weight, inputs, n, m))


def test_llm_compressor_prunes_in_an_incomplete_last_group() -> None:
    # the trap: 10 columns and 2:4 leave two columns, of which it takes both
    weight, inputs = layer(24, 10)
    assert (theirs(weight, inputs, 2, 4)[:, 8:] == 0).all()
    assert (ours(weight, inputs, sparsity=0.5, mask_structure="2:4")[:, 8:] != 0).all()
    assert not least_of_groups(weight.abs(), (2, 4))[:, 8:].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.99), st.integers(0, 99))
def test_the_share_is_exact_where_rows_cannot_be_equal(
    rows: int, columns: int, sparsity: float, seed: int
) -> None:
    score = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).abs()
    mask = least_of_rows(score, sparsity)
    counts = mask.sum(1)
    assert abs(int(counts.sum()) - rows * columns * sparsity) < 1 + 1e-4
    assert int(counts.max() - counts.min()) <= 1
    for row in range(rows):
        kept = score[row][~mask[row]]
        assert not len(kept) or not mask[row].any() or score[row][mask[row]].max() <= kept.min()


def test_refusals_are_those_of_every_pruner() -> None:
    params = {"sparsity": 0.25, "pattern": "4:2", "shapes": {}}
    assert "prune.pattern=4:2" in str(METHOD.refusal(params))
    assert METHOD.refusal(params | {"pattern": "2:4"}) is None
