"""How a cell is quantized: the `quant` section of the configuration as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeper import methods
from sweeper.config.section import Section, chosen
from sweeper.errors import BadInput, NoCell, one_of
from sweeper.methods.profiles import ALLOCATED, BIT_PROFILES, profile_options
from sweeper.methods.refinement import options as refinement

MASKS = {"keep": "", "ignore": " (mask ignored)", "exact": " (exact mask)"}
"""What becomes of the zeros of a pruned model -> what a cell's label says of it."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How a cell is quantized.

    Attributes:
        method: module of `sweeper.methods`.
        bits: nominal bits per weight.
        mask: one of `MASKS`; "none" when unpruned. Of a method that can only do one of
            them, that one.
        options: what else means something to the method, sorted by name.
    """

    method: str
    bits: int
    mask: str
    options: tuple[tuple[str, Any], ...]

    @property
    def label(self) -> str:
        """'4bit', 'RTN 4bit', 'NF4', '4bit (allocated)', '4bit, refined'."""
        options = dict(self.options)
        label = methods.method(self.method).label.format(bits=self.bits, **options)
        label += f" ({options['profile']})" if "profile" in options else ""
        return label + refinement.label(options)

    @property
    def mixed(self) -> bool:
        """Whether matrices have bits of their own; they are found on the calibration text."""
        return dict(self.options).get("profile") == ALLOCATED


def of(section: Section, zeros: bool) -> Quantization | None:
    """The `quant` section as a value; None at 16 bit. ``zeros``: there is a mask to keep.

    Raises:
        BadInput: a value that means nothing in any grid.
        NoCell: a combination of valid values that is no cell of its own.
    """
    bits = section["bits"]
    if not 1 <= bits <= 16:
        raise BadInput("quant.bits", bits, "bits per weight: 16 is unquantized.")
    if section["mask"] not in MASKS:
        raise BadInput("quant.mask", section["mask"], one_of(list(MASKS)))
    refinement.check(section, "quant")
    if bits == 16:
        return None
    if section["method"] == "none":
        raise NoCell(f"quant.method=none cannot quantize to {bits} bit")
    found = methods.find("quantize", section["method"], "quant.method")
    return Quantization(
        method=section["method"],
        bits=bits,
        mask=_mask(section["mask"], found) if zeros else "none",
        options=_options(section, found),
    )


def _options(section: Section, method: methods.Method) -> tuple[tuple[str, Any], ...]:
    own = {name for name in method.options if name not in ("profile", *refinement.EVERY)}
    profile = profile_options(section, BIT_PROFILES, "quant.profile")
    if profile and "profile" not in method.options:
        raise NoCell(f"quant.method={section['method']} has the same bits everywhere")
    refined = refinement.options(section, method.options, "quant")
    return chosen({**section, **profile}, {*own, *profile, *refined})


def _mask(asked: str, method: methods.Method) -> str:
    return asked if asked in method.masks else method.masks[0]
