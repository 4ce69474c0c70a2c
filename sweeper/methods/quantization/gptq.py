"""``quant.method: gptq`` - one-shot weight quantization by optimal brain surgery."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput, one_of
from sweeper.methods import Params, validation
from sweeper.methods.quantization import stored_scales, widths
from sweeper.methods.refinement import options as refinement

BITS = (2, 3, 4, 8)
ORDERS = ("none", "static")
EXACT_OPERATIONS = 1e15
_A_CORE_SECOND = 8.3e9  # of factors; on SmolLM2-135M at 25 % sparsity
_A_SECOND_OF_ONE = (
    1.5e10  # parameters x tokens of what passes count as 1, as in `sweeper.planning.estimate.cost`
)


class GPTQ:
    """GPTQ (Frantar et al., ICLR 2023); ``mask: keep`` and ``exact`` leave pruned weights at 0."""

    stage = "quantize"
    label = "{bits}bit"
    options = (
        *("group_size", "symmetric", "actorder", "block_size", "dampening", "profile"),
        *refinement.QUANT,
    )
    packages = ("llmcompressor", "compressed-tensors")
    calibrated = True
    masks = ("keep", "ignore", "exact")
    prunes = False

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        wrong_bits = widths.refuse_bits("gptq", params, BITS)
        if wrong_bits is not None:
            return wrong_bits
        if params.get("actorder", "static") not in ORDERS:
            return BadInput(
                "quant.actorder",
                params["actorder"],
                f"{one_of(ORDERS)}.",
                "static orders columns by activation and keeps groups contiguous (weight is "
                "its other name); group or dynamic order, whose groups are not contiguous, can "
                "no longer be stored by compressed-tensors.",
            )
        return (
            validation.refuse_group(params)
            or validation.refuse_block("quant", params)
            or validation.refuse_dampening("quant", params)
            or _refuse_exact(params)
        )

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        if params["mask"] != "exact":
            return refinement.passes(params, 1.0)
        shapes, calibration = params["shapes"].values(), params["calibration"]
        tokens = calibration["samples"] * calibration["length"]
        one = sum(rows * columns for rows, columns in shapes) * tokens / _A_SECOND_OF_ONE
        rows = _operations(params, 1 - params["zeros"]) / _A_CORE_SECOND / one
        return refinement.passes(params, float(1.0 + rows))

    def scale_bits(self, params: Params) -> float:
        """See `sweeper.methods.Quantizer`."""
        return stored_scales.of_grid(params)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods.quantization.exact_gptq import ExactGPTQ
        from sweeper.methods.quantization.gptq_modifier import MaskedGPTQ
        from sweeper.methods.quantization.grids import groups
        from sweeper.methods.refinement.refine import of_params
        from sweeper.modeling import matrices

        modifier = ExactGPTQ if params["mask"] == "exact" else MaskedGPTQ
        return [
            modifier(
                config_groups=groups(params),
                ignore=matrices.untreated(model),
                actorder=None if params["actorder"] == "none" else params["actorder"],
                block_size=params["block_size"],
                dampening_frac=params["dampening"],
                keep_zeros=params["mask"] == "keep",
                save_dtype=params["save_dtype"],
                refinement=of_params(params),
            )
        ]


def _refuse_exact(params: Params) -> BadInput | None:
    """A Cholesky factor for every row is only for small models."""
    if params.get("mask") != "exact":
        return None
    shapes = (params.get("shapes") or {}).values()
    operations = _operations(params, 1.0)
    hours = operations / _A_CORE_SECOND / 3600
    if operations <= EXACT_OPERATIONS:
        return None
    return BadInput(
        "quant.mask",
        "exact",
        f"factors a Hessian for each of {sum(rows for rows, _ in shapes)} rows: up to "
        f"{operations:.1g} floating-point operations, about {hours:.0f} hours "
        f"of a CPU core; at most {EXACT_OPERATIONS:.0g} are done.",
        "Use quant.mask=keep, which shares one inverse among all rows.",
    )


def _operations(params: Params, kept: float) -> float:
    """Floating-point operations of a Cholesky factor for each row, of this share of columns."""
    shapes = (params.get("shapes") or {}).values()
    return float(sum(rows * (kept * columns) ** 3 for rows, columns in shapes) / 3)


METHOD = GPTQ()
