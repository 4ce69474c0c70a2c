"""Factoring a Gram matrix: its own rounding cannot fail it; where nothing fails nothing changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.methods import hessian as hessians
from sweeper.methods.dampening import RECORD, factored, noted, rounding, steps
from sweeper.methods.hessian import Gram, Hessians, NotPositiveDefinite, dampen, inverse_factor
from sweeper.methods.low_rank.svd import whitening
from sweeper.methods.quantization.exact_gptq import solve

Attempt = Callable[[torch.Tensor, float], Any]
MEASURED = {"deadline": None, "derandomize": True}
sizes = st.tuples(st.integers(2, 96), st.integers(1, 300), st.integers(0, 2**31))
asked = st.sampled_from([0.0, 1e-16, 1e-8, 1e-6, 1e-4, 1e-2])


def by_row(hessian: torch.Tensor, dampening: float) -> torch.Tensor:
    """As the exact form factors it: the inputs of two rows, one of which keeps each other one."""
    dampen(hessian, dampening)
    weight = torch.ones(2, len(hessian))
    weight[1, ::2] = 0
    unit = torch.ones_like(weight)
    return solve(weight, weight != 0, hessian, unit, torch.zeros_like(weight), -8, 7)


def both(hessian: torch.Tensor, dampening: float) -> torch.Tensor:
    return inverse_factor(hessian, dampening)[0]


ATTEMPTS = pytest.mark.parametrize("attempt", [both, whitening, by_row])


def deficient(size: tuple[int, int, int], top: float = 0.0) -> np.ndarray:
    """Inputs [tokens, columns], float64, of half the rank that they could have.

    ``top`` is the share of all squares that lies in one direction.
    """
    columns, tokens, seed = size
    rng = np.random.default_rng(seed)
    rank = max(1, min(columns, tokens) // 2)
    rows = rng.normal(size=(tokens, rank)) @ rng.normal(size=(rank, columns))
    rows *= np.exp(rng.normal(size=columns))
    if top:
        one = rng.normal(size=columns)
        one = np.outer(rng.normal(size=tokens), one / np.linalg.norm(one))
        rows *= np.sqrt((1 - top) / (rows**2).sum())
        rows += one * np.sqrt(top / (one**2).sum())
    return rows


def gram(rows: np.ndarray, noise: int | None = None) -> Gram:
    """Their Hessian in float32: as it is summed here, or in float64 with noise put on.

    The noise is symmetric, and as large as the rounding of as many products can be: entry ij is
    off by up to sqrt(tokens) units of |x_i| |x_j|, each of them by all of that.
    """
    if noise is None:
        layer, sums = torch.nn.Linear(rows.shape[1], 1), Hessians()
        sums.add(layer, torch.tensor(rows).float())
        ((_, found),) = sums.take()
        return found
    exact = 2 * rows.T @ rows / len(rows)
    signs = np.random.default_rng(noise).choice([-1.0, 1.0], size=exact.shape)
    lengths = np.sqrt(np.diag(exact))
    off = np.sqrt(len(rows)) * 2.0**-24 * np.tril(signs) * np.outer(lengths, lengths)
    exact += off + np.tril(off, -1).T
    return Gram(torch.tensor(exact).float(), len(rows))


def used(found: Gram, dampening: float, attempt: Attempt) -> tuple[torch.Tensor, float]:
    """What is made of it, and the dampening that it took."""
    with noted() as entry:
        made = factored(found, dampening, ["a"], attempt)
    return made, entry.get(RECORD, {}).get("a", dampening)


@ATTEMPTS
@settings(max_examples=60, **MEASURED)
@given(size=sizes, dampening=asked, top=st.sampled_from([0.0, 0.9, 0.999]), noise=st.booleans())
def test_the_rounding_of_a_sum_of_squares_cannot_fail_it(
    attempt: Attempt, size: tuple[int, int, int], dampening: float, top: float, noise: bool
) -> None:
    found = gram(deficient(size, top), size[2] if noise else None)
    most = rounding(found)
    made, share = used(found, dampening, attempt)
    assert torch.isfinite(made).all()
    assert share == dampening or dampening < share <= most


@ATTEMPTS
@settings(max_examples=60, **MEASURED)
@given(size=sizes, dampening=st.sampled_from([1e-6, 1e-4, 1e-2]), top=st.sampled_from([0.0, 0.9]))
def test_where_the_first_attempt_succeeds_its_bits_are_the_outcome(
    attempt: Attempt, size: tuple[int, int, int], dampening: float, top: float
) -> None:
    found = gram(deficient(size, top))
    try:
        plain = attempt(found.matrix.clone(), dampening)
    except NotPositiveDefinite:
        assert used(found, dampening, attempt)[1] > dampening
    else:
        made, share = used(found, dampening, attempt)
        assert torch.equal(made, plain)
        assert share == dampening


@ATTEMPTS
@settings(max_examples=30, **MEASURED)
@given(size=sizes, dampening=asked)
def test_what_rounding_cannot_explain_is_refused(
    attempt: Attempt, size: tuple[int, int, int], dampening: float
) -> None:
    found = gram(deficient(size))
    trace = float(found.matrix.diagonal().sum())
    # the exact form looks at every other input, of which this is one
    found.matrix[0, -1] = found.matrix[-1, 0] = 3 * trace
    with pytest.raises(NotPositiveDefinite):
        factored(found, dampening, ["a"], attempt)
    with pytest.raises(NotPositiveDefinite):
        factored(Gram(-torch.eye(size[0]), size[1]), dampening, ["a"], attempt)


@ATTEMPTS
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@settings(max_examples=10, **MEASURED)
@given(size=sizes, dampening=asked)
def test_what_is_not_finite_is_refused_at_once(
    attempt: Attempt, value: float, size: tuple[int, int, int], dampening: float
) -> None:
    rows, tries = deficient(size), []
    rows[0, 0] = value

    def counted(matrix: torch.Tensor, share: float) -> Any:
        tries.append(share)
        return attempt(matrix, share)

    with pytest.raises(NotPositiveDefinite):
        factored(gram(rows), dampening, ["a"], counted)
    assert tries == [dampening]


def test_a_raised_dampening_names_its_matrices_once(caplog: pytest.LogCaptureFixture) -> None:
    matrix = torch.diag(torch.tensor([2.0, 2.0, -1e-7]))
    with caplog.at_level(logging.WARNING), noted() as entry:
        factored(Gram(matrix.clone(), 16), 0.0, ["q_proj", "k_proj"], whitening)
        assert entry == {}, "it is told at the end"
    (message,) = caplog.messages
    assert message.startswith("q_proj, k_proj: the inputs lack rank, and with a dampening of 0 ")
    share = entry[RECORD]["q_proj"]
    assert entry == {RECORD: {"q_proj": share, "k_proj": share}}
    # the least step that is enough: a tenth of it leaves the eigenvalue negative
    mean = float(matrix.diagonal().mean())
    assert 0.1 * share * mean < 1e-7 < share * mean
    with noted() as nothing:
        factored(Gram(torch.eye(3), 16), 1e-6, ["q_proj"], whitening)
    assert nothing == {}


@given(dampening=st.floats(0, 1), most=st.floats(1e-18, 1))
def test_steps_are_tenfold_from_what_was_asked_to_what_rounding_can_be(
    dampening: float, most: float
) -> None:
    found = steps(dampening, most)
    assert found[0] == dampening
    assert found == sorted(found)
    assert found[-1] == max(dampening, most)
    assert len(found) <= 6
    assert all(b <= 10 * a * (1 + 1e-12) for a, b in pairwise(found[1:]))


@settings(max_examples=40, **MEASURED)
@given(size=sizes)
def test_rounding_is_bounded_by_what_was_measured_and_no_more_than_needed(
    size: tuple[int, int, int],
) -> None:
    """In float64 the sum is exact beside the one in float32: the difference is the rounding."""
    rows = torch.tensor(deficient(size)).float()
    found = gram(rows.numpy())
    exact = 2 * rows.double().T @ rows.double() / len(rows)
    off = torch.linalg.eigvalsh(found.matrix.double() - exact).abs().max()
    assert float(off) <= rounding(found) * float(found.matrix.double().diagonal().mean())


def test_sums_in_float64_need_no_more_dampening_than_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tokens fewer than columns, one direction with nearly all of the trace: SVD-LLM's 1e-6."""
    layer, rows = torch.nn.Linear(96, 1), torch.tensor(deficient((96, 40, 3), 0.999)).float()

    def summed() -> Gram:
        sums = Hessians(wide=True)
        for batch in rows.split(16):
            sums.add(layer, batch)
        ((_, found),) = sums.take()
        return found

    assert summed().matrix.dtype == torch.float64
    assert used(summed(), 1e-6, whitening)[1] == 1e-6
    exact = 2 * rows.double().T @ rows.double() / 40
    assert torch.allclose(summed().matrix, exact, rtol=1e-13, atol=1e-13 * float(exact.max()))
    monkeypatch.setattr(hessians, "WIDE_COLUMNS", 95)  # as a sum of more than 2 GiB
    narrow = summed()
    assert narrow.matrix.dtype == torch.float32
    # the negative eigenvalue that another processor's sum had, on this one
    least, directions = torch.linalg.eigh(narrow.matrix.double())
    mean = float(narrow.matrix.diagonal().mean())
    gone = directions[:, 0]
    worse = narrow.matrix.double() - (least[0] + 1.2e-6 * mean) * torch.outer(gone, gone)
    with pytest.raises(NotPositiveDefinite):
        whitening(worse, 1e-6)
    assert 1e-6 < used(Gram(worse.float(), 40), 1e-6, whitening)[1] <= 1e-4
