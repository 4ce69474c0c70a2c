"""``quant.profile: allocated`` as the front end sees it: which bits a matrix can have."""

from __future__ import annotations

from sweeper.errors import BadInput, one_of
from sweeper.methods import Params, validation
from sweeper.methods.profiles import ALLOCATED, UNIFORM


def refuse_bits(method: str, params: Params, valid: tuple[int, ...]) -> BadInput | None:
    """The bits that a quantizer has codes for: those of the label, or the widths of a mix.

    Args:
        method: the quantizer, for messages.
        params: of the stage; without ``profile`` every matrix has ``bits``.
        valid: what the quantizer has codes for.
    """
    if params.get("profile", UNIFORM) != ALLOCATED:
        return validation.refuse_bits(method, params, valid)
    widths, bits = params["widths"], params["bits"]
    if len(widths) < 2 or widths != sorted(set(widths)) or not set(widths) <= set(valid):
        return BadInput(
            "quant.widths", widths, f"two or more in ascending order; {method}, {one_of(valid)}."
        )
    if widths[0] < bits < widths[-1]:
        return None
    return BadInput(
        "quant.bits",
        bits,
        f"allocated bits mix {', '.join(map(str, widths))}; valid: {widths[0] + 1} to "
        f"{widths[-1] - 1}, their mean.",
        "With one width everywhere: quant.profile=uniform.",
    )
