"""``quant.method: llm_int8`` - bitsandbytes' 8-bit weights and activations, outliers apart."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, validation
from sweeper.methods.quantization import stored_scales

BITS = (8,)


class LLMInt8:
    """LLM.int8() (Dettmers et al., NeurIPS 2022): a scale per row; symmetric, so 0 stays 0."""

    stage = "quantize"
    label = "LLM.int8"
    options = ("outlier_threshold",)
    packages = ("bitsandbytes", "transformers")
    calibrated = False
    masks = ("keep",)
    prunes = False

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return (
            validation.refuse_missing("bitsandbytes", "llm_int8")
            or validation.refuse_bits("llm_int8", params, BITS)
            or _refuse_threshold(params["outlier_threshold"])
        )

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return 0.3

    def loading(self, params: Params) -> Any:
        """See `sweeper.methods.ByLoading`."""
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=float(params["outlier_threshold"]),
            llm_int8_skip_modules=list(params.get("untreated", ["lm_head"])),
        )

    def scale_bits(self, params: Params) -> float:
        """See `sweeper.methods.Quantizer`: a float32 scale for a row."""
        return stored_scales.mean(params, lambda rows, columns: 32 * rows)


def _refuse_threshold(value: float) -> BadInput | None:
    if value >= 0:
        return None
    valid = "valid: 0 (no outliers) or above; 6 is usual."
    return BadInput("quant.outlier_threshold", value, valid)


METHOD = LLMInt8()
