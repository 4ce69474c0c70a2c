"""``quant.method: nf4`` - bitsandbytes' NormalFloat codes, 4 bit in blocks of 64 weights."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, validation

BITS = (4,)


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
        """See `sweeper.methods.ByLoading`: 32 for 64 weights, or 8 and 32 for 256 of those."""
        return (8 + 32 / 256) / 64 if params["double_quant"] else 32 / 64


METHOD = NormalFloat4()
