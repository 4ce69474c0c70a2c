"""Allocation: the solver against exhaustive search, the budget, and the label's sparsity."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.methods.allocation import solver
from sweeper.methods.allocation.solver import NothingFits, least
from sweeper.methods.allocation.sparsity import sparsities
from sweeper.methods.profiles import refuse_profile

SIZES = (4096 * 4096, 4096 * 1024, 4096 * 1024, 4096 * 4096, *(4096 * 14336,) * 3)  # of 8B
PARAMS = {
    "method": "wanda",
    "sparsity": 0.5,
    "pattern": "unstructured",
    "profile": "allocated",
    "levels": 20,
}


def exhaustive(values: np.ndarray, costs: np.ndarray, budget: int) -> float:
    """The least value of all choices within the budget; inf if there is none."""
    items = range(len(values))
    found = float("inf")
    for choice in itertools.product(range(values.shape[1]), repeat=len(values)):
        if sum(costs[i, o] for i, o in zip(items, choice, strict=True)) <= budget:
            found = min(found, sum(values[i, o] for i, o in zip(items, choice, strict=True)))
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 40), st.integers(0, 10_000))
def test_the_solver_is_exhaustive_search(items: int, options: int, budget: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values, costs = random.random((items, options)), random.integers(0, 12, (items, options))
    best = exhaustive(values, costs, budget)
    if best == float("inf"):
        with pytest.raises(NothingFits):
            least(values, costs, budget)
        return
    chosen = least(values, costs, budget)
    rows = range(items)
    assert values[rows, chosen].sum() == pytest.approx(best, abs=1e-12)
    assert costs[rows, chosen].sum() <= budget


def table(sizes: tuple[int, ...], levels: int, seed: int = 0) -> dict[str, object]:
    """Errors that grow with the share, faster for some matrices than for others."""
    random = np.random.default_rng(seed)
    shares = np.arange(levels) / levels
    slopes = np.exp(random.normal(size=len(sizes)))
    rows = {
        f"matrix {i}": {"weights": n, "errors": (slope * shares**2).tolist()}
        for i, (n, slope) in enumerate(zip(sizes, slopes, strict=True))
    }
    return {"levels": levels, "matrices": rows}


@pytest.mark.parametrize("sparsity", [0.25, 1 / 3, 0.5, 0.75, 0.0101])
@pytest.mark.parametrize("sizes", [SIZES * 2, (192 * 64, 64 * 64, 32 * 64), (7 * 11, 13 * 3)])
def test_the_whole_has_the_sparsity_of_the_label(sizes: tuple[int, ...], sparsity: float) -> None:
    found = list(sparsities(table(sizes, 20), sparsity).values())
    assert all(0 <= share < 1 for share in found)
    pruned = sum(share * n for share, n in zip(found, sizes, strict=True))
    assert pruned == pytest.approx(sparsity * sum(sizes), rel=1e-9)


def test_what_is_sensitive_stays_denser_and_the_error_is_less() -> None:
    made = table(SIZES, 20)
    rows = made["matrices"]
    assert isinstance(rows, dict)
    found = sparsities(made, 0.5)
    equal = [name for name, row in rows.items() if row["weights"] == SIZES[-1]]
    by_error = sorted(equal, key=lambda name: rows[name]["errors"][10])
    assert found[by_error[0]] > found[by_error[-1]]

    def error(shares: dict[str, float]) -> float:
        grid = np.arange(20) / 20
        return float(sum(np.interp(shares[n], grid, row["errors"]) for n, row in rows.items()))

    assert error(found) < 0.9 * error(dict.fromkeys(rows, 0.5))


def test_equal_matrices_are_pruned_alike() -> None:
    made = table((4096,) * 4, 4)
    rows = made["matrices"]
    assert isinstance(rows, dict)
    for row in rows.values():
        row["errors"] = [0.0, 0.1, 0.4, 0.9]
    assert set(sparsities(made, 0.5).values()) == {0.5}


def test_a_coarser_grid_of_budgets_still_never_keeps_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(solver, "WIDEST", 500)
    sizes = tuple(1009 + 2 * i for i in range(9))
    found = list(sparsities(table(sizes, 20), 0.5).values())
    pruned = sum(share * n for share, n in zip(found, sizes, strict=True))
    assert pruned == pytest.approx(0.5 * sum(sizes), rel=1e-9)


def test_thirty_two_layers_take_at_most_a_second() -> None:
    made = table(SIZES * 32, 20)
    start = time.process_time()
    found = sparsities(made, 0.25)
    assert time.process_time() - start <= 1
    exact = sum(Fraction(s) * n for s, n in zip(found.values(), SIZES * 32, strict=True))
    assert float(exact / sum(SIZES * 32)) == pytest.approx(0.25, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pattern": "2:4"}, "prune.profile=allocated: 2:4 has the same sparsity"),
        ({"levels": 1}, "prune.levels=1: valid: 2 to 100."),
        ({"levels": 101}, "prune.levels=101"),
        ({"levels": 4, "sparsity": 0.8}, "no matrix would be pruned beyond 75.0000%"),
    ],
)
def test_refusals(change: dict[str, object], message: str) -> None:
    assert refuse_profile(PARAMS) is None
    assert message in str(refuse_profile(PARAMS | change))
    assert "has no calibration" in str(refuse_profile(PARAMS, calibrated=False))
