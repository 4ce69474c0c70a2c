"""The bound that tests of float32 are held to is one: not too small, and not too large to fail."""

from __future__ import annotations

import numpy
import pytest
import torch

from tests import rounding


@pytest.mark.parametrize("alike", [False, True], ids=["signs cancel", "all positive"])
def test_what_is_drawn_is_what_adding_one_by_one_does(alike: bool) -> None:
    rng = numpy.random.default_rng(0)
    left, right = (rng.normal(size=(64, 500)).astype(numpy.float32) for _ in range(2))
    if alike:
        left, right = abs(left), abs(right)
    terms = left[:, None] * right[None, :16]
    one_by_one = numpy.cumsum(terms, axis=-1, dtype=numpy.float32)[..., -1]
    wide = [torch.tensor(part, dtype=torch.float64) for part in (left, right[:16])]
    exact, errors = rounding.drawn(lambda: wide[0] @ wide[1].t(), 8)
    apart = torch.tensor(one_by_one).double() - exact
    assert apart.std() < errors.std() < 2 * apart.std()
    assert rounding.within(apart, errors)
    blocked = torch.tensor(left) @ torch.tensor(right[:16]).t()  # as kernels do
    assert rounding.within(blocked.double() - exact, errors)
    assert not rounding.within(exact.bfloat16().double() - exact, errors)


def test_norms_and_softmaxes_that_ask_for_float32_get_float64() -> None:
    x = torch.randn(4, 300, dtype=torch.float64)
    with rounding.exactly():
        assert x.to(torch.float32).dtype == x.float().dtype == torch.float64
        found = torch.nn.functional.softmax(x, dim=-1, dtype=torch.float32)
    assert torch.equal(found, x.softmax(-1))
    assert torch.nn.functional.softmax(x, dim=-1, dtype=torch.float32).dtype == torch.float32
    assert torch.zeros(1).dtype == torch.float32


def test_an_operation_of_which_nothing_is_known_is_refused() -> None:
    x = torch.ones(3, dtype=torch.float64)
    with pytest.raises(AssertionError, match=r"nothing is known of how aten\.lgamma"):
        rounding.drawn(lambda: torch.lgamma(x), 1)
