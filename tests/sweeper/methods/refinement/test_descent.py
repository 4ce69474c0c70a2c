"""Coordinate descent: equal to plain numpy, never worse, on the grid, zero where pruned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.methods.refinement import descent, scales, swaps
from sweeper.methods.refinement.descent import Fit
from tests.sweeper.methods.layers import layer

GROUP = 32


def fit(
    rows: int,
    columns: int,
    bits: int,
    sparsity: float,
    *,
    seed: int = 0,
    symmetric: bool = True,
    nm: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float64,
) -> Fit:
    """A layer rounded to nearest, with a mask that is drawn at random."""
    weight, inputs = (part.to(dtype) for part in layer(rows, columns, seed))
    hessian = 2 * inputs.t() @ inputs / len(inputs)
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(columns, dtype=dtype)
    low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    groups = weight.unflatten(1, (-1, GROUP))
    if symmetric:
        scale, zero = groups.abs().amax(-1) / (-low - 0.5), torch.zeros(rows, columns // GROUP)
    else:
        scale = (groups.amax(-1) - groups.amin(-1)) / (high - low)
        zero = (low - groups.amin(-1) / scale).round().clamp(low, high)
    random = torch.Generator().manual_seed(seed + 1)
    noise = torch.rand(rows, columns, generator=random)
    if nm:
        pools = noise.unflatten(1, (-1, nm[1]))
        pruned = (pools.argsort(-1).argsort(-1) < nm[0]).flatten(1)
    else:
        pruned = noise < sparsity
    target = weight.masked_fill(pruned, 0).t().contiguous()
    made = Fit(
        values=target.clone(),
        target=target,
        error=torch.zeros_like(target),
        hessian=hessian,
        pruned=pruned.t().contiguous() if sparsity or nm else None,
        scale=scale.t().contiguous(),
        zero=None if symmetric else zero.to(dtype).t().contiguous(),
        low=low,
        high=high,
    )
    s, z = wide(made)
    made.values = made.nearest_(target.clone(), s, z)
    if made.pruned is not None:
        made.values.masked_fill_(made.pruned, 0)
    made.error = made.values - target
    return made


def wide(one: Fit) -> tuple[torch.Tensor, torch.Tensor]:
    zero = torch.zeros_like(one.scale) if one.zero is None else one.zero
    s, z = (t.repeat_interleave(one.group, dim=0) for t in (one.scale, zero))
    return s, z


def plain(one: Fit) -> np.ndarray:
    """One sweep as it is defined, row by row and column by column, by numpy."""
    q, target, hessian = (t.numpy().copy() for t in (one.values, one.target, one.hessian))
    s, z = (t.numpy() for t in wide(one))
    for row in range(q.shape[1]):
        for j in range(len(q)):
            if one.pruned is not None and one.pruned[j, row]:
                continue
            slope = (q[:, row] - target[:, row]) @ hessian[:, j]
            wanted = q[j, row] - slope / hessian[j, j]
            code = np.round(np.clip(wanted / s[j, row] + z[j, row], one.low, one.high))
            q[j, row] = (code - z[j, row]) * s[j, row]
    return q


def on_grid(one: Fit) -> bool:
    s, z = wide(one)
    codes = one.values / s + z
    whole = (codes - codes.round()).abs() < 1e-4
    inside = (codes.round() >= one.low) & (codes.round() <= one.high)
    zero = one.pruned is None or bool((one.values[one.pruned] == 0).all())
    return bool((whole & inside).all()) and zero


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("bits", [2, 4])
def test_every_sweep_is_that_of_plain_numpy(bits: int, sparsity: float, symmetric: bool) -> None:
    one = fit(7, 160, bits, sparsity, symmetric=symmetric)  # two blocks and a half
    for _ in range(3):
        expected = plain(one)
        descent.sweep(one)
        assert np.allclose(one.values.numpy(), expected, rtol=0, atol=1e-10)
        assert on_grid(one)


@settings(max_examples=25, deadline=None)
@given(
    bits=st.sampled_from([2, 3, 4, 8]),
    sparsity=st.sampled_from([0.0, 0.25, 0.75]),
    symmetric=st.booleans(),
    seed=st.integers(0, 50),
    how=st.lists(st.sampled_from(["sweep", "scales", "swaps"]), min_size=1, max_size=4),
)
def test_no_step_ever_raises_the_error_of_a_row(
    bits: int, sparsity: float, symmetric: bool, seed: int, how: list[str]
) -> None:
    one = fit(5, 96, bits, sparsity, seed=seed, symmetric=symmetric)
    for step in how:
        before = one.loss()
        if step == "sweep":
            descent.sweep(one)
        elif step == "scales":
            scales.rescale(one, torch.bfloat16)
        elif one.pruned is not None:
            swaps.sweep(one, None)
        assert (one.loss() <= before * (1 + 1e-12)).all()
        assert torch.equal(one.error, one.values - one.target)
        assert on_grid(one)


@settings(max_examples=20, deadline=None)
@given(
    bits=st.sampled_from([2, 3, 4, 8]),
    nm=st.sampled_from([None, (1, 3), (2, 4), (2, 8), (5, 16)]),
    seed=st.integers(0, 50),
    sweeps=st.integers(1, 3),
)
def test_any_swaps_keep_counts_and_lower_errors(
    bits: int, nm: tuple[int, int] | None, seed: int, sweeps: int
) -> None:
    one = fit(5, 96, bits, 0.3, nm=nm, seed=seed)
    pool = nm[1] if nm else 96
    before, mask, loss = counts(one, pool), one.pruned.clone(), one.loss()
    swapped = sum(swaps.sweep(one, nm) for _ in range(sweeps))
    assert torch.equal(counts(one, pool), before)
    assert (one.loss() <= loss * (1 + 1e-12)).all()
    assert on_grid(one)
    if not swapped:
        assert torch.equal(one.pruned, mask)


def test_in_single_precision_the_error_falls_to_its_rounding() -> None:
    one = fit(48, 192, 4, 0.25, dtype=torch.float32)
    start = one.loss().sum()
    for _ in range(4):
        before = one.loss()
        descent.sweep(one)
        assert (one.loss() <= before * (1 + 1e-6)).all()
    assert one.loss().sum() < 0.8 * start


def test_a_saved_scale_is_taken_only_where_it_is_better() -> None:
    one = fit(12, 96, 3, 0.0)
    before = one.scale.clone()
    loss = one.loss()
    scales.rescale(one, torch.bfloat16)
    changed = one.scale != before
    assert changed.any()
    taken = one.scale[changed]
    assert torch.equal(taken, taken.bfloat16().double())
    assert (one.loss()[changed.any(0)] < loss[changed.any(0)]).all()
    # a type so coarse that the nearest scale is no better: nothing moves
    one = fit(12, 96, 3, 0.0)
    for _ in range(4):
        scales.rescale(one, torch.float8_e5m2)
    loss, before = one.loss(), one.scale.clone()
    scales.rescale(one, torch.float8_e5m2)
    assert torch.equal(one.scale, before)
    assert torch.equal(one.loss(), loss)


def exact_scale(one: Fit, row: int, index: int) -> float:
    """The least-squares scale of one group of a row, all else as it is, by numpy."""
    here = slice(index * GROUP, (index + 1) * GROUP)
    codes = np.zeros(len(one.values))
    codes[here] = np.round((one.values[here, row] / one.scale[index, row]).numpy())
    rest = one.error[:, row].numpy() - codes * float(one.scale[index, row])
    hessian = one.hessian.numpy()
    return float(-(codes @ hessian @ rest) / (codes @ hessian @ codes))


def test_a_scale_is_that_of_least_squares() -> None:
    one = fit(3, 64, 4, 0.25)
    expected = [exact_scale(one, row, 0) for row in range(3)]
    scales.rescale(one, torch.float64)
    assert one.scale[0].numpy() == pytest.approx(expected, rel=1e-9)


def counts(one: Fit, pool: int) -> torch.Tensor:
    assert one.pruned is not None
    return one.pruned.unflatten(0, (-1, pool)).sum(1)


@pytest.mark.parametrize(("nm", "pool"), [((2, 8), 8), ((1, 3), 3), ((2, 4), 4), (None, 96)])
@pytest.mark.parametrize("bits", [2, 4])
def test_swaps_keep_the_number_of_pruned_weights(
    nm: tuple[int, int] | None, pool: int, bits: int
) -> None:
    one = fit(24, 96, bits, 0.25, nm=nm)
    before, mask = counts(one, pool), one.pruned.clone()
    plain_one = fit(24, 96, bits, 0.25, nm=nm)
    total = 0
    for _ in range(3):
        loss = one.loss()
        total += swaps.sweep(one, nm)
        descent.sweep(plain_one)
        assert (one.loss() <= loss * (1 + 1e-12)).all()
        assert torch.equal(counts(one, pool), before)
        assert on_grid(one)
    assert total > 0
    assert not torch.equal(one.pruned, mask)
    assert one.loss().sum() < plain_one.loss().sum()


def test_the_end_of_a_row_that_no_group_covers_stays_dense() -> None:
    one = fit(16, 64, 4, 0.5)
    assert one.pruned is not None
    one.pruned[60:] = False  # twelve groups of five, and four columns
    swaps.sweep(one, (2, 5))
    assert not one.pruned[60:].any()


def brute(one: Fit, row: int, columns: range) -> float:
    """The most that any swap of a pair among these columns lowers a row's error."""
    assert one.pruned is not None
    best, hessian = 0.0, one.hessian.numpy()
    e, s = one.error[:, row].numpy(), wide(one)[0].numpy()
    for p in columns:
        for q in columns:
            if one.pruned[p, row] or not one.pruned[q, row]:
                continue
            for code in np.arange(one.low, one.high + 1):
                moved = e.copy()
                moved[p] -= float(one.values[p, row])
                moved[q] += code * s[q, row]
                best = min(best, float(moved @ hessian @ moved - e @ hessian @ e))
    return best


def test_the_swap_of_a_group_is_the_best_there_is() -> None:
    one = fit(6, 32, 3, 0.25, nm=(2, 8))
    for _ in range(30):  # until columns alone cannot do any better
        descent.sweep(one)
    expected = [brute(one, row, range(8)) for row in range(6)]
    before = one.loss()
    gradient = one.hessian[:8] @ one.error
    swaps._pool(one, gradient, 0, 0, 8, True)
    one.error = one.values - one.target
    assert (one.loss() - before).numpy() == pytest.approx(expected, abs=1e-10)
    assert min(expected) < -1e-6
    assert torch.allclose(gradient, one.hessian[:8] @ one.error, atol=1e-9)


def test_a_row_of_which_nothing_is_left_stays_so() -> None:
    one: Any = fit(4, 64, 4, 0.5)
    one.pruned[:, 1] = True
    one.values[:, 1] = 0
    one.error = one.values - one.target
    descent.sweep(one)
    swaps.sweep(one, None)
    assert (one.values[:, 1] == 0).all()
