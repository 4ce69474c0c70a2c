"""Magnitude pruning: the smallest go, exactly as many as asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.methods.pruning.magnitude import METHOD
from sweeper.methods.pruning.score_modifier import least, least_of_groups


def reference(weight: np.ndarray, sparsity: float) -> np.ndarray:
    """Sort all weights of the matrix by size; the first go (dense, by numpy)."""
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    mask = np.zeros(weight.size, dtype=bool)
    mask[order[: round(weight.size * sparsity)]] = True
    return mask.reshape(weight.shape)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 40), st.floats(0.01, 0.99), st.booleans(), st.integers(0, 99)
)
def test_the_smallest_go_and_ties_are_broken_by_position(
    rows: int, columns: int, sparsity: float, tied: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=random)
    weight = weight.round() if tied else weight
    expected = reference(weight.numpy(), sparsity)
    assert np.array_equal(least(weight.abs(), sparsity).numpy(), expected)


def test_ties_of_bfloat16_do_not_add_sparsity() -> None:
    # thousands of weights share each value: a threshold alone would take them all
    weight = torch.randn(256, 256, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    threshold = weight.abs().flatten().kthvalue(weight.numel() // 2).values
    assert int((weight.abs() <= threshold).sum()) > weight.numel() // 2 + 20
    assert int(least(weight.abs(), 0.5).sum()) == weight.numel() // 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 50), st.integers(0, 99))
def test_any_nm_in_any_row(n: int, extra: int, columns: int, seed: int) -> None:
    m = n + extra
    score = torch.randn(5, columns, generator=torch.Generator().manual_seed(seed)).abs()
    mask = least_of_groups(score, (n, m))
    complete = columns - columns % m
    assert not mask[:, complete:].any()
    for row in range(5):
        for start in range(0, complete, m):
            group = slice(start, start + m)
            smallest = np.argsort(score[row, group].numpy(), kind="stable")[:n]
            assert sorted(smallest) == mask[row, group].nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pattern": "3:2"}, "prune.pattern=3:2: valid: unstructured, or N:M"),
        ({"pattern": "1:999"}, "M=999 is wider than a row of q_proj (576 columns)"),
        ({"sparsity": 0.0}, "prune.sparsity=0.0: valid: 0, or 1 to below 100 percent"),
    ],
)
def test_refusals(change: dict[str, object], message: str) -> None:
    params = {"sparsity": 0.25, "pattern": "unstructured", "shapes": {"q_proj": (576, 576)}}
    assert METHOD.refusal(params) is None
    assert message in str(METHOD.refusal(params | change))
