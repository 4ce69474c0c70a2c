"""Bits and ranks of matrices: the allocators against exhaustive search, and their budgets."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.methods import method
from sweeper.methods.allocation import solver
from sweeper.methods.allocation.bits import bits
from sweeper.methods.allocation.ranks import shares
from sweeper.methods.allocation.solver import NothingFits, best
from sweeper.methods.low_rank.rank import factors_of, rank_of, ranks
from sweeper.methods.profiles import refuse_profile

WIDTHS = [2, 3, 4, 8]
SHAPES = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), *[(14336, 4096)] * 3]  # of 8B
SMALL = [(24, 40), (64, 64), (8, 64), (40, 24)]


def bit_table(sizes: Sequence[int], seed: int) -> dict[str, Any]:
    """Errors that fall by about four for every bit, unevenly."""
    random = np.random.default_rng(seed)
    rows = {
        f"matrix {i}": {
            "weights": n,
            "errors": sorted((random.lognormal(size=4) * 4.0 ** -np.array(WIDTHS)), reverse=True),
        }
        for i, n in enumerate(sizes)
    }
    return {"widths": WIDTHS, "matrices": rows}


def rank_table(shapes: Sequence[tuple[int, int]], levels: int, seed: int) -> dict[str, Any]:
    """Errors that grow with the share that is removed, faster for some matrices."""
    random = np.random.default_rng(seed)
    rows = {
        f"matrix {i}": {
            "weights": shape[0] * shape[1],
            "shape": list(shape),
            "errors": [0.0, *np.cumsum(random.random(levels - 1) * random.lognormal()).tolist()],
        }
        for i, shape in enumerate(shapes)
    }
    return {"levels": levels, "matrices": rows}


def test_a_budget_that_nothing_fits_is_refused_and_the_cheapest_always_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(NothingFits):
        best([[1.0, 0.0]], [[10, 20]], 9)
    # in units so coarse that rounding alone would miss the budget
    monkeypatch.setattr(solver, "WIDEST", 50)
    costs = [[1009 + 2 * i, 5003 + 4 * i] for i in range(9)]
    cheapest = sum(row[0] for row in costs)
    for spare in (0, 1, 3990):
        assert best([[1.0, 0.0]] * 9, costs, cheapest + spare) == [0] * 9


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(3, 7), st.integers(0, 10_000)
)
def test_bits_are_those_of_exhaustive_search(sizes: list[int], mean: int, seed: int) -> None:
    made = bit_table(sizes, seed)
    found = bits(made, mean)
    rows = list(made["matrices"].values())
    budget = mean * sum(sizes)

    def error(widths: Sequence[int]) -> float:
        pairs = zip(rows, widths, strict=True)
        return float(sum(row["errors"][WIDTHS.index(w)] for row, w in pairs))

    choices = itertools.product(WIDTHS, repeat=len(sizes))
    within = [c for c in choices if sum(map(int.__mul__, c, sizes)) <= budget]
    assert error(list(found.values())) == pytest.approx(min(error(c) for c in within), rel=1e-12)


@pytest.mark.parametrize("mean", [3, 4, 5, 6])
@pytest.mark.parametrize("widest", [2**17, 300])
@pytest.mark.parametrize(
    "sizes", [[rows * columns for rows, columns in SHAPES] * 2, [7 * 11, 13 * 3, 5 * 17] * 4]
)
def test_the_mean_is_at_most_the_label_and_no_matrix_could_have_more(
    sizes: list[int], mean: int, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solver, "WIDEST", widest)
    made = bit_table(sizes, 1)
    found = list(bits(made, mean).values())
    left = mean * sum(sizes) - sum(map(int.__mul__, found, sizes))
    steps = [
        (WIDTHS[WIDTHS.index(w) + 1] - w) * n for w, n in zip(found, sizes, strict=True) if w < 8
    ]
    assert 0 <= left < min(steps)


def test_the_matrix_that_rounding_harms_gets_the_bits() -> None:
    even = [1.0, 0.3, 0.08, 0.0003]
    rows: dict[str, Any] = {f"m{i}": {"weights": 100, "errors": even} for i in range(6)}
    rows["m4"] = {"weights": 100, "errors": [60.0, 20.0, 5.0, 0.02]}
    found = bits({"widths": WIDTHS, "matrices": rows}, 4)
    assert found.pop("m4") == 8
    assert set(found.values()) == {3, 4}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(SMALL), min_size=1, max_size=5),
    st.sampled_from([0.1, 0.25, 1 / 3, 0.5]),
    st.integers(0, 10_000),
)
def test_ranks_are_no_worse_than_exhaustive_search_within_the_uniform_size(
    shapes: list[tuple[int, int]], removed: float, seed: int
) -> None:
    made = rank_table(shapes, 4, seed)
    found = list(shares(made, removed).values())
    sizes = [
        [r * c if rank is None else factors_of((r, c), rank) for rank in ranks((r, c), 4)]
        for r, c in shapes
    ]
    budget = sum(factors_of(shape, rank_of(*shape, removed)) for shape in shapes)
    kept = [
        r * c if not share else factors_of((r, c), rank_of(r, c, share))
        for (r, c), share in zip(shapes, found, strict=True)
    ]
    assert sum(kept) <= budget
    # what was left went to single ranks, so errors are those of the option below at most
    errors = [row["errors"] for row in made["matrices"].values()]
    got = sum(
        min(e for e, size in zip(each, options, strict=True) if size <= n)
        for each, options, n in zip(errors, sizes, kept, strict=True)
    )
    least = min(
        sum(e[k] for e, k in zip(errors, choice, strict=True))
        for choice in itertools.product(range(4), repeat=len(shapes))
        if sum(s[k] for s, k in zip(sizes, choice, strict=True)) <= budget
    )
    assert got <= least + 1e-9


@pytest.mark.parametrize("removed", [0.05, 0.2, 1 / 3, 0.6])
def test_less_than_one_rank_is_left_of_the_uniform_size(removed: float) -> None:
    shapes = SHAPES * 3
    found = list(shares(rank_table(shapes, 20, 2), removed).values())
    budget = sum(factors_of(shape, rank_of(*shape, removed)) for shape in shapes)
    given_ranks = [
        None if not s else rank_of(*shape, s) for shape, s in zip(shapes, found, strict=True)
    ]
    kept = sum(
        shape[0] * shape[1] if rank is None else factors_of(shape, rank)
        for shape, rank in zip(shapes, given_ranks, strict=True)
    )
    steps = [sum(s) for s, rank in zip(shapes, given_ranks, strict=True) if rank is not None]
    assert 0 <= budget - kept < min(steps)
    assert len(set(given_ranks)) > 1


def test_thirty_two_layers_take_at_most_a_second() -> None:
    tables = bit_table([r * c for r, c in SHAPES] * 32, 3), rank_table(SHAPES * 32, 20, 3)
    start = time.process_time()
    bits(tables[0], 4)
    taken = time.process_time() - start
    start = time.process_time()
    shares(tables[1], 0.2)
    assert max(taken, time.process_time() - start) <= 1


BITS = {"bits": 4, "mask": "none", "profile": "allocated", "widths": WIDTHS, "group_size": -1}


@pytest.mark.parametrize("name", ["gptq", "rtn"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 2}, "quant.bits=2: allocated bits mix 2, 3, 4, 8; valid: 3 to 7, their mean."),
        ({"bits": 8}, "quant.profile=uniform"),
        ({"widths": [4]}, "quant.widths=[4]: two or more in ascending order"),
        ({"widths": [4, 2]}, "two or more in ascending order"),
        ({"widths": [2, 5]}, "valid: 2, 3, 4,"),
    ],
)
def test_bits_that_are_refused(name: str, change: dict[str, Any], message: str) -> None:
    how = method(name)
    assert how.refusal(BITS) is None
    assert how.refusal(BITS | {"bits": 5}) is None
    assert message in str(how.refusal(BITS | change))


def test_low_rank_can_be_allocated_and_nothing_else() -> None:
    params = {
        "method": "svd_llm",
        "sparsity": 0.2,
        "pattern": "low-rank",
        "profile": "allocated",
        "levels": 20,
    }
    assert refuse_profile(params) is None
    refused = str(refuse_profile(params | {"profile": "owl", "owl_m": 5.0, "owl_lambda": 0.08}))
    assert "low rank has none. valid with low rank: uniform, allocated." in refused
    assert "no matrix would be pruned beyond" in str(refuse_profile(params | {"sparsity": 0.97}))
