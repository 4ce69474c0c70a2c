"""``quant.method: nf4`` - bitsandbytes' NormalFloat codes, 4 bit in blocks of 64 weights."""

from __future__ import annotations

from math import ceil
from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, validation
from sweeper.methods.quantization import stored_scales

BITS = (4,)
_BLOCK = 64  # weights, counted through a whole matrix
_SCALES = 256  # that share a scale of their own where they are quantized too


class NormalFloat4:
    """NF4 (Dettmers et al., NeurIPS 2023, QLoRA section 3); 0 is one of its 16 codes."""

    stage = "quantize"
    label = "NF4"
    options = ("double_quant",)
    packages = ("bitsandbytes", "transformers")
    calibrated = False
    masks = ("keep",)
    prunes = False

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        missing = validation.refuse_missing("bitsandbytes", "nf4")
        return missing or validation.refuse_bits("nf4", params, BITS)

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return 1.5

    def loading(self, params: Params) -> Any:
        """See `sweeper.methods.ByLoading`."""
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=params["double_quant"],
            bnb_4bit_compute_dtype=params["save_dtype"],
            llm_int8_skip_modules=list(params.get("untreated", ["lm_head"])),
        )

    def scale_bits(self, params: Params) -> float:
        """See `sweeper.methods.Quantizer`: 32 a block; or 8, and 32 for 256 of those."""
        twice = params["double_quant"]

        def of_matrix(rows: int, columns: int) -> int:
            blocks = ceil(rows * columns / _BLOCK)
            return 8 * blocks + 32 * ceil(blocks / _SCALES) if twice else 32 * blocks

        return stored_scales.mean(params, of_matrix)


METHOD = NormalFloat4()
