"""GPTQ (Frantar et al., ICLR 2023) that can keep a pruning mask, as llm-compressor's modifier.

llm-compressor's GPTQ updates pruned weights like any other and so fills them in again
(the "Case A" of Laborde et al. 2025, section III.B). With a mask (their Case B) a pruned
weight is zero on arrival at its column: it quantizes to exactly zero, makes no error,
and whatever errors of other columns had added to it is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import torch
from compressed_tensors.quantization import ActivationOrdering, QuantizationArgs
from compressed_tensors.quantization.utils import calculate_range
from compressed_tensors.utils import update_offload_parameter
from compressed_tensors.utils.impl_backend import ImplBackend
from llmcompressor.core import State
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight
from llmcompressor.modifiers.gptq.helpers import column_scale_window
from pydantic import PrivateAttr

from sweeper.methods.hessian import NotPositiveDefinite
from sweeper.methods.hessian_modifier import OnHessians, stacked
from sweeper.methods.quantization.rtn_modifier import Grid, poison, values, wide
from sweeper.methods.refinement.refine import Quantized, Refinement, refined

# (in use, kept) of the running call. llm-compressor looks its block routine up in a
# registry of backends, which is the official way in; outside of a call ours declines.
_running: ContextVar[tuple[bool, torch.Tensor | None]] = ContextVar("gptq", default=(False, None))


@contextmanager
def block_routine(kept: torch.Tensor | None) -> Iterator[None]:
    """Inside, `quantize_weight` runs the block routine below with the mask ``kept``.

    Args:
        kept: boolean [1, rows, columns], false where a weight was pruned, in the order in
            which columns are quantized; None quantizes all.
    """
    token = _running.set((True, kept))
    try:
        yield
    finally:
        _running.reset(token)


def _is_running(work: torch.Tensor, *_args: object, **_kwargs: object) -> bool:
    in_use, kept = _running.get()
    # without a mask a GPU is better served by llm-compressor's fused kernel
    return in_use and (kept is not None or work.device.type == "cpu")


@ImplBackend.register("gptq_block_update", _is_running, -1)  # type: ignore[untyped-decorator]
def isorate_gptq_block(
    work: torch.Tensor,
    factor: torch.Tensor,
    quantized: torch.Tensor,
    errors: torch.Tensor,
    losses: torch.Tensor,
    *,
    scale: torch.Tensor,
    zero_point: torch.Tensor | None,
    global_scale: torch.Tensor | None,
    g_idx: torch.Tensor | None,
    quant_args: QuantizationArgs,
    i1: int,
) -> None:
    """One block of columns; the same bits as llm-compressor's eager routine, in less time.

    ``work`` [batch, rows, width] are the weights of the block with all earlier updates,
    ``factor`` [batch, width, width] is its block of the upper Cholesky factor of H^-1, and
    ``i1`` its first column. ``quantized``, ``errors`` and ``losses`` are filled in. The
    rest is as llm-compressor passes it.
    """
    rows, width = work.shape[1:]
    scales, zeros = column_scale_window(
        scale, zero_point, global_scale, g_idx, quant_args, num_rows=rows, i1=i1, i2=i1 + width
    )
    low, high = (float(v) for v in calculate_range(quant_args, "cpu"))
    kept = _running.get()[1]
    # column first: what the loop touches together lies together
    w, s, z = _columns(work), _columns(scales), None if zeros is None else _columns(zeros)
    m = None if kept is None else _columns(kept[..., i1 : i1 + width]).to(w.dtype)
    u = factor.permute(1, 2, 0).unsqueeze(-1).contiguous()
    diagonal = torch.diagonal(factor, dim1=1, dim2=2).t().unsqueeze(-1)
    q, e, buffer = torch.empty_like(w), torch.empty_like(w), torch.empty_like(w)
    for i in range(width):
        if m is not None:
            w[i] *= m[i]
        torch.div(w[i], s[i], out=q[i])
        if z is not None:
            q[i] += z[i]
        q[i].clamp_(low, high).round_()
        if z is not None:
            q[i] -= z[i]
        q[i] *= s[i]
        torch.sub(w[i], q[i], out=e[i]).div_(diagonal[i])
        if i + 1 < width:
            torch.mul(u[i, i + 1 :], e[i], out=buffer[i + 1 :])
            w[i + 1 :] -= buffer[i + 1 :]
    quantized.copy_(q.permute(1, 2, 0))
    errors.copy_(e.permute(1, 2, 0))
    losses.copy_(errors.square())


def _columns(block: torch.Tensor) -> torch.Tensor:
    """[batch, rows, width] -> [width, batch, rows], contiguous."""
    return block.permute(2, 0, 1).contiguous()


class MaskedGPTQ(OnHessians, GPTQModifier):  # type: ignore[misc]  # llm-compressor is untyped
    """llm-compressor's GPTQ that keeps zeros when told to, and never falls back in silence.

    Scales are rounded to ``save_dtype`` before they are used, so errors are compensated
    for the scales that are saved; later layers are calibrated on weights in that dtype,
    as they will be served. The exact weights come back when all is done: at 8 bit, packing
    from bfloat16 weights would miss codes by one.
    """

    knob: ClassVar[str] = "quant.dampening"
    keep_zeros: bool = False
    refinement: Refinement = Refinement()

    _codes: dict[torch.nn.Module, torch.Tensor] = PrivateAttr(default_factory=dict)
    _ranges: dict[torch.nn.Module, Any] = PrivateAttr(default_factory=dict)

    def on_initialize(self, state: State, **kwargs: Any) -> bool:
        """Attaches the grids."""
        done = bool(super().on_initialize(state, **kwargs))
        poison(state.model)
        return done

    def treat(self, modules: list[Any], hessian: torch.Tensor, dampening: float) -> None:
        """Quantizes matrices that share a Hessian; those of the same bits as one with more rows."""
        alike: dict[int, list[Any]] = {}
        for module in modules:
            alike.setdefault(module.quantization_scheme.weights.num_bits, []).append(module)
        groups = list(alike.values())
        found = [
            # it is overwritten
            self._solved(same, hessian if len(groups) == 1 else hessian.clone(), dampening)
            for same in groups
        ]
        # only now that all of them are: weights that are replaced cannot be tried again
        for same, solved in zip(groups, found, strict=True):
            self._replace(same, solved)

    def _solved(self, modules: list[Any], hessian: torch.Tensor, dampening: float) -> Quantized:
        """The stacked weights of matrices of the same bits on their grid."""
        args = modules[0].quantization_scheme.weights
        for module in modules:
            if module not in self._ranges:  # an observer forgets them once it has told them
                self._ranges[module] = module.weight_observer.get_qparams()
        told = [self._ranges[module] for module in modules]
        scale = torch.cat([t["scale"] for t in told]).to(getattr(torch, self.save_dtype)).float()
        zero = torch.cat([t["zero_point"] for t in told])
        grid = Grid(scale=scale, zero=zero, args=args)
        if not self.refinement.sweeps:
            found = self._solve(modules, stacked(modules)[0], hessian, grid, dampening)
        else:
            target, whole = stacked(modules)[0], hessian.clone()  # both are overwritten
            found = refined(
                self._solve(modules, target.clone(), hessian, grid, dampening),
                target,
                whole,
                dampening,
                self.refinement,
                getattr(torch, self.save_dtype),
            )
        if not torch.isfinite(found.weight).all() or not torch.isfinite(found.grid.scale).all():
            raise FloatingPointError
        return found

    def _replace(self, modules: list[Any], found: Quantized) -> None:
        dtype, grid = getattr(torch, self.save_dtype), found.grid
        sizes = [module.weight.shape[0] for module in modules]
        whole = found.weight, grid.scale, grid.zero
        parts = zip(*(each.split(sizes) for each in whole), strict=True)
        for module, (w, s, z) in zip(modules, parts, strict=True):
            update_offload_parameter(module, "weight", w.to(dtype).to(module.weight.dtype))
            update_offload_parameter(module, "weight_scale", s.to(module.weight.dtype))
            update_offload_parameter(module, "weight_zero_point", z.to(grid.args.zp_dtype))
            del self._ranges[module]
            self._codes[module] = (w / wide(s, w) + wide(z, w)).round_().to(torch.int8)

    def _solve(
        self,
        modules: list[Any],
        weight: torch.Tensor,
        hessian: torch.Tensor,
        grid: Grid,
        dampening: float,
    ) -> Quantized:
        """The weight on its grid.

        Args:
            modules: the matrices that are stacked in ``weight``.
            weight: [rows, columns], float32; overwritten.
            hessian: [columns, columns]; overwritten.
            grid: of the stacked rows.
            dampening: share of the mean diagonal that is added to the diagonal.

        Raises:
            NotPositiveDefinite: the Hessian cannot be inverted.
        """
        kept = weight != 0 if self.keep_zeros else None
        in_order = None
        if kept is not None:
            in_order = kept.unsqueeze(0)[..., column_order(hessian, grid.args)]
        with block_routine(in_order):
            quantized, _, gave_up = _quantize_or_raise(
                weight.unsqueeze(0), hessian, grid, self.block_size, dampening
            )
        if gave_up.any():
            raise NotPositiveDefinite
        return Quantized(weight=quantized[0], grid=grid, kept=kept)

    def on_finalize(self, state: State, **kwargs: Any) -> bool:
        """Puts the exact weights in place: (code - zero point) * scale, in float32."""
        for module, codes in self._codes.items():
            exact = values(codes.float(), module.weight_scale.float(), module.weight_zero_point)
            module.weight = torch.nn.Parameter(exact, requires_grad=False)
        self._codes = {}
        return bool(super().on_finalize(state, **kwargs))


def column_order(hessian: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    """Columns in the order in which they are quantized, [columns]."""
    if args.actorder not in (ActivationOrdering.WEIGHT, ActivationOrdering.STATIC):
        return torch.arange(len(hessian), device=hessian.device)
    # the same expression as llm-compressor's, on the same numbers
    return torch.argsort(hessian.diagonal().unsqueeze(0), dim=-1, descending=True)[0]


def _quantize_or_raise(
    weight: torch.Tensor,
    hessian: torch.Tensor,
    grid: Grid,
    block_size: int,
    dampening: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """llm-compressor's `quantize_weight` for one matrix; a failed factorization is ours."""
    try:
        found: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = quantize_weight(
            weights=weight,
            hessians=hessian.unsqueeze(0),
            scale=grid.scale.unsqueeze(0),
            zero_point=grid.zero.unsqueeze(0),
            global_scale=None,
            quant_args=grid.args,
            blocksize=block_size,
            percdamp=dampening,
        )
    except torch.linalg.LinAlgError as error:
        raise NotPositiveDefinite from error
    return found
