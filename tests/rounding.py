"""What float32 may do to a number, from the operations that make it; float64 is the judge.

`exactly` runs a computation in float64 throughout. `drawn` runs it so again and moves the result
of every operation at random by as much as float32 would (Monte Carlo arithmetic, Parker 1997).
Sums and products of matrices are taken to add one term after the other in a random order, which
no kernel does worse than: each keeps several sums. So what is drawn says how far any processor's
float32 may be from float64, and depends on sizes and magnitudes, never on a processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

UNIT = 2.0**-24  # the largest relative error of one rounding to float32

_MASK = 1e100  # what is larger hides a token from attention and is no number

aten = torch.ops.aten
_PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm}
_SUMS = {aten.sum, aten.mean}
_SOFTMAX = {aten._softmax, aten._safe_softmax, aten._log_softmax}
_EACH = {
    aten.add,
    aten.sub,
    aten.rsub,
    aten.mul,
    aten.div,
    aten.pow,
    aten.reciprocal,
    aten.sqrt,
    aten.rsqrt,
    aten.exp,
    aten.log,
    aten.cos,
    aten.sin,
    aten.silu,
    aten.sigmoid,
}
_UNROUNDED = {
    aten.alias,
    aten.cat,
    aten.clone,
    aten.copy_,
    aten.detach,
    aten.embedding,
    aten.empty,
    aten.expand,
    aten.full,
    aten.gather,
    aten.index,
    aten.index_select,
    aten.masked_fill,
    aten.neg,
    aten.permute,
    aten.scalar_tensor,
    aten.select,
    aten.slice,
    aten.split,
    aten.squeeze,
    aten.stack,
    aten.t,
    aten.to,
    aten.transpose,
    aten.unsqueeze,
    aten.view,
    aten.where,
    aten.zeros,
    aten._reshape_alias,
    aten._to_copy,
    aten._unsafe_view,
    aten.lift_fresh,
    aten.constant_pad_nd,
    aten.max,
    aten.amax,
    aten.arange,
    aten.tril,
    aten.unbind,
    aten.as_strided,
    aten.new_zeros,
    aten.new_empty,
    aten.fill_,
    aten.zero_,
    aten.abs,
    aten.empty_like,
    aten.zeros_like,
    aten.full_like,
    aten.flip,
    aten.sort,
}


class _Float64(TorchFunctionMode):
    """Whatever asks for float32 gets float64 (norms and softmaxes of models do)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        kwargs = kwargs or {}
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in kwargs.items()}
        return func(*args, **kwargs)


@contextmanager
def exactly() -> Iterator[None]:
    """Inside, what is computed from tensors of float64 stays in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(before)


class _Rounding(TorchDispatchMode):
    """Moves every result of float64 by a random error of float32."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # without gradients, what is made of other operations arrives whole
            parts = func.decompose(*args, **(kwargs or {}))
        if parts is not NotImplemented:
            return parts
        found = func(*args, **(kwargs or {}))
        kind = func.overloadpacket
        if not isinstance(found, Tensor) or found.dtype != torch.float64 or kind in _UNROUNDED:
            return found
        deviation = _deviation(kind, func, args, kwargs or {}, found)
        noise = torch.randn(found.shape, generator=self._random, dtype=torch.float64)
        return found.add_(noise * (UNIT / 3**0.5) * deviation)  # a rounding is uniform


def _deviation(kind: Any, func: Any, args: Any, kwargs: Any, found: Tensor) -> Tensor:
    """Standard deviation of the error of each element, in roundings of 1."""
    if kind in _EACH:
        size = found.abs()
        return 2 * size.masked_fill(size > _MASK, 0)  # 1 ulp is two roundings
    return _variance(kind, func, args, kwargs, found).sqrt()


def _variance(kind: Any, func: Any, args: Any, kwargs: Any, found: Tensor) -> Tensor:
    if kind in _PRODUCTS:
        *added, left, right = args[-3:] if kind in (aten.addmm, aten.baddbmm) else args
        squares = (left.float().square() @ right.float().square()).double()
        total = found - added[0] if added else found
        return _summed(left.shape[-1], squares, total) + squares + found.square()
    if kind in _SUMS:
        terms = args[0].numel() // found.numel()
        squares = func(args[0].square(), *args[1:], **kwargs)
        if kind is aten.mean:
            squares = squares / terms  # both of the sum, over the square of the terms
        return _summed(terms, squares, found) + found.square()
    if kind in _SOFTMAX:
        # the exponent's rounding, the sum of positive terms, exp and what is left, of 1 ulp each
        below = args[0] - args[0].amax(args[1], keepdim=True)
        below = below.nan_to_num()  # a row that sees nothing
        relative = below.clamp(min=-100).square() + args[0].shape[args[1]] / 3 + 8
        return relative + found.square() if kind is aten._log_softmax else relative * found.square()
    assert kind is aten.logsumexp, f"nothing is known of how {func} rounds"
    return args[0].shape[-1] / 3 + 8 + found.square()


def _summed(terms: int, squares: Tensor, total: Tensor) -> Tensor:
    """One term after the other, in a random order.

    After a share s of the terms the square of the sum so far is s (1 - s) of the terms' squares
    and s^2 of the square of the total, in the mean; of all s, a sixth and a third.
    """
    return terms * (squares / 6 + total.square() / 3)


def drawn(run: Callable[[], Tensor], draws: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What ``run`` gives in float64, and [draws, ...] errors that float32 may make of it.

    ``run`` computes from tensors of float64, without gradients, by operations that are known
    here.
    """
    errors = []
    with torch.no_grad(), exactly(), sdpa_kernel(SDPBackend.MATH):
        exact = run()
        for number in range(draws):
            with _Rounding(seed + number):
                moved = run()
            errors.append(moved - exact)
    return exact, torch.stack(errors)


def within(errors: Iterable[float] | Tensor, allowed: Tensor) -> bool:
    """Whether errors can be those of rounding: none is twice the largest that was drawn.

    Of some hundred draws the largest is about three standard deviations, so twice that is
    passed once in a hundred million.
    """
    found = numpy.asarray(errors if isinstance(errors, Tensor) else list(errors), dtype=float)
    return bool(abs(found).max() <= 2 * float(allowed.abs().max()))
