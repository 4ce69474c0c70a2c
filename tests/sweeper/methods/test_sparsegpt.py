"""SparseGPT: the published algorithm, for every N:M."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llmcompressor.modifiers.pruning.sparsegpt.sgpt_sparsify import sparsify_weight

from sweeper.methods.hessian import Hessians, NotPositiveDefinite, inverse_factor
from sweeper.methods.pruning.sparsegpt_modifier import block_of, sparsify
from tests import rounding


def layer(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight and the Hessian of correlated inputs."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=random) / columns**0.5
    inputs = torch.randn(4 * columns, columns, generator=random) @ (mixing + torch.eye(columns))
    return torch.randn(rows, columns, generator=random), 2 * inputs.t() @ inputs / len(inputs)


def theirs(
    weight: torch.Tensor, hessian: torch.Tensor, sparsity: float, n: int, m: int, block: int
) -> torch.Tensor:
    """llm-compressor's own routine."""
    module = torch.nn.Linear(*weight.shape[::-1], bias=False)
    module.weight.data = weight.clone()
    hessians = {module: hessian.clone()}
    with torch.no_grad():
        _, pruned = sparsify_weight(module, hessians, sparsity, n, m, block, 0.01, False)
    return pruned


def ours(
    weight: torch.Tensor,
    hessian: torch.Tensor,
    sparsity: float,
    nm: tuple[int, int] | None,
    block: int,
) -> torch.Tensor:
    factor, _ = inverse_factor(hessian.clone(), 0.01)
    return sparsify(
        weight.clone(),
        factor,
        sparsity=sparsity,
        nm=nm,
        block_size=block,
        matrices=[len(weight)],
    )


@pytest.mark.parametrize("columns", [96, 256, 300])
@pytest.mark.parametrize("sparsity", [0.25, 1 / 3, 0.5, 0.75])
def test_unstructured_is_llm_compressors_bit_for_bit(columns: int, sparsity: float) -> None:
    weight, hessian = layer(48, columns)
    expected = theirs(weight, hessian, sparsity, 0, 0, 128)
    assert torch.equal(ours(weight, hessian, sparsity, None, 128), expected)


@pytest.mark.parametrize(("n", "m", "block"), [(2, 4, 128), (2, 8, 128), (1, 4, 64), (1, 3, 96)])
def test_nm_is_llm_compressors_bit_for_bit_where_that_is_right(n: int, m: int, block: int) -> None:
    weight, hessian = layer(48, 384)
    expected = theirs(weight, hessian, 0.5, n, m, block)
    assert torch.equal(ours(weight, hessian, 0.5, (n, m), block), expected)


def valid(weight: torch.Tensor, n: int, m: int) -> float:
    complete = weight.shape[1] - weight.shape[1] % m
    groups = (weight[:, :complete] == 0).reshape(len(weight), -1, m).sum(-1)
    return (groups == n).float().mean().item()


def test_llm_compressor_restarts_groups_at_every_block() -> None:
    # the trap: with M=3 and blocks of 128 columns its groups are not those of the row
    weight, hessian = layer(48, 384)
    assert valid(theirs(weight, hessian, 0.5, 1, 3, 128), 1, 3) < 0.8
    assert valid(ours(weight, hessian, 0.5, (1, 3), block_of(128, 3)), 1, 3) == 1
    with pytest.raises(RuntimeError, match="out of range"):  # 384 = 3 * 128, 128 % 6 = 2 < 3
        theirs(weight, hessian, 0.5, 3, 6, 128)
    assert valid(ours(weight, hessian, 0.5, (3, 6), block_of(128, 6)), 3, 6) == 1


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 6),
    extra=st.integers(1, 7),
    columns=st.integers(2, 150),
    block=st.integers(1, 140),
    seed=st.integers(0, 99),
)
def test_any_nm_in_any_row_with_any_block(
    n: int, extra: int, columns: int, block: int, seed: int
) -> None:
    m = n + extra
    weight, hessian = layer(5, columns, seed)
    size = block_of(block, m)
    assert size % m == 0
    assert abs(size - block) <= max(m / 2, m - block)
    pruned = ours(weight, hessian, 0.0, (n, m), size)
    complete = columns - columns % m
    assert ((pruned[:, :complete] == 0).reshape(5, -1, m).sum(-1) == n).all()
    assert (pruned[:, complete:] != 0).all()
    assert torch.isfinite(pruned).all()


@pytest.mark.parametrize(
    ("block", "m", "expected"),
    [(128, 1, 128), (128, 3, 129), (128, 6, 126), (128, 8, 128), (128, 7, 126), (4, 9, 9)],
)
def test_blocks_are_about_the_size_that_was_asked_for(block: int, m: int, expected: int) -> None:
    assert block_of(block, m) == expected


def test_matrices_that_share_a_hessian_are_pruned_as_if_alone() -> None:
    # in float64: products of another shape are rounded otherwise
    (first, hessian), (second, _) = (
        (w.double(), h.double()) for w, h in (layer(24, 200, 1), layer(40, 200, 2))
    )
    factor, _ = inverse_factor(hessian.clone(), 0.01)
    stacked = sparsify(
        torch.cat([first, 9 * second]),
        factor,
        sparsity=0.5,
        nm=None,
        block_size=128,
        matrices=[24, 40],
    )
    alone = [ours(w, hessian, 0.5, None, 128) for w in (first, 9 * second)]
    assert torch.allclose(stacked, torch.cat(alone), rtol=0, atol=1e-11)
    assert torch.equal(stacked == 0, torch.cat(alone) == 0)


def test_pruning_beats_magnitude_on_the_layers_output() -> None:
    weight, hessian = layer(64, 256)
    pruned = ours(weight, hessian, 0.5, None, 128)
    magnitude = weight * (weight.abs() > weight.abs().median())
    loss = [((d := w - weight) @ hessian * d).sum() for w in (pruned, magnitude)]
    assert loss[0] < 0.8 * loss[1]


def test_hessians_are_the_sums_of_products_and_shared_by_input() -> None:
    q, k, o = (torch.nn.Linear(300, 8) for _ in range(3))
    sums = Hessians()
    batches = [torch.randn(2, 50, 300, dtype=torch.float64).float() for _ in range(3)]
    for x in batches:
        for module in (q, k):
            sums.add(module, x)
        sums.add(o, x + 1)
    found = list(sums.take())
    assert [modules for modules, _ in found] == [[q, k], [o]]
    rows = torch.cat(batches).reshape(-1, 300)
    for (_, (hessian, tokens)), x in zip(found, (rows, rows + 1), strict=True):
        assert torch.equal(hessian, hessian.t())
        assert tokens == 300
        exact = x.double()
        # the largest error of a sum of so many float32 products, in whatever order
        bound = (len(x) + 2) * rounding.UNIT * 2 * exact.abs().t() @ exact.abs() / len(x)
        assert ((hessian - 2 * exact.t() @ exact / len(x)).abs() <= bound).all()
    assert not list(sums.take())


def test_a_hessian_without_a_factor_is_an_error() -> None:
    with pytest.raises(NotPositiveDefinite):
        inverse_factor(-torch.eye(4), 0.01)
    with pytest.raises(NotPositiveDefinite):
        inverse_factor(torch.full((4, 4), float("nan")), 0.01)


def test_inputs_that_were_never_active_are_named() -> None:
    hessian = torch.diag(torch.tensor([1.0, 0.0, 2.0]))
    factor, dead = inverse_factor(hessian, 0.01)
    assert dead.tolist() == [False, True, False]
    assert torch.isfinite(factor).all()
