"""A cell: one model, how it is pruned, how it is quantized, and what it is scored on.

Pure values made from the resolved sections of the configuration. Two combinations
that mean the same become equal cells: 16 bit is unquantized, sparsity 0 is unpruned,
N:M fixes its sparsity, and an option that a method does not use is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweeper import methods
from sweeper.config.section import Frozen, Section
from sweeper.errors import NoCell
from sweeper.methods.profiles import PROFILE_KEYS
from sweeper.methods.refinement.options import REFINE
from sweeper.modeling.rate import compression_rate
from sweeper.planning.cells import basis, pruning, quantization
from sweeper.planning.cells.pruning import Pruning
from sweeper.planning.cells.quantization import MASKS, Quantization

RERUNS = "reruns"
"""The key of `tasks` that adds cells instead of changing them."""
RACE = "race"
"""The key of `tasks` that says how many of the documents are asked, whatever the cell."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid.

    Attributes:
        model, tasks: what is compressed, what it is scored on.
        pruning, quantization: None where there is none.
        calibration: None where no method looks at a text.
        rerun: 1, 2, ... of a dense cell that is scored once more, see
            `sweeper.planning.stages.repeated_evaluation`.
    """

    model: Frozen
    pruning: Pruning | None
    quantization: Quantization | None
    calibration: Frozen | None
    tasks: Frozen
    rerun: int = 0

    @property
    def dense(self) -> bool:
        """Whether it is the model as it is."""
        return self.pruning is None and self.quantization is None and not basis.rotated(self.model)

    @property
    def sparsity(self) -> float:
        """Nominal sparsity as a fraction; 0 when unpruned."""
        return self.pruning.sparsity if self.pruning else 0.0

    @property
    def bits(self) -> int:
        """Nominal bits per weight; 16 when unquantized."""
        return self.quantization.bits if self.quantization else 16

    @property
    def mask(self) -> str:
        """What becomes of the zeros of pruning; "none" unless both pruned and quantized."""
        return self.quantization.mask if self.quantization else "none"

    @property
    def tcr(self) -> float:
        """Theoretical compression rate, arXiv 2505.07289 eq. 1: 1 - (q/16)(1-p).

        p is the share of the linear weights that are gone: zeros, or parameters removed.
        """
        return compression_rate(self.bits, self.sparsity)

    @property
    def label(self) -> str:
        """'dense', '25%', '4bit', '2:8 + 4bit', '25% + 4bit (exact mask)', 'dense (rerun 1)'."""
        parts = [part.label for part in (self.pruning, self.quantization) if part]
        if self.pruning and self.pruning.last:
            parts.reverse()
        again = f" (rerun {self.rerun})" if self.rerun else ""
        own = MASKS.get(self.mask, "") + basis.suffix(self.model)
        return (" + ".join(parts) or "dense") + own + again


class CellMaker:
    """Makes cells from sections, deriving each distinct section (by identity) only once."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def cell(self, sections: Mapping[str, Section]) -> Cell:
        """The cell that a combination means (see `config.SECTIONS`).

        Raises:
            BadInput: a value that means nothing in any grid.
            NoCell: a combination of valid values that is no cell of its own.
        """
        prune, quant = sections["prune"], sections["quant"]
        model = self._once(basis.of, *(sections[name] for name in ("model", "rescale", "rotate")))
        pruned = self._once(pruning.of, prune)
        zeros = pruned is not None and not pruned.removes
        quantized = self._once(_quantization, quant, model, zeros)
        if quantized and methods.method(quantized.method).prunes:
            pruned = _pruned_by(quantized, pruned)
        if pruned and quantized and prune["order"] == "last":
            pruned, quantized = _pruned_last(pruned, quantized)
        if pruned and quantized:
            _refuse_two_profiles(pruned, quantized)
        frozen = self._once(Frozen.of, model)
        if not (pruned or quantized) and basis.rotated(frozen):
            raise NoCell("the rotated model is the dense one: rotate what is pruned or quantized")
        return Cell(
            model=frozen,
            pruning=pruned,
            quantization=quantized,
            calibration=self._once(Frozen.of, sections["calibration"])
            if _looks_at_text(pruned, quantized)
            else None,
            tasks=self._once(_tasks, sections["tasks"]),
        )

    def _once(self, make: Callable[..., Any], *sections: Any) -> Any:
        key = (make, *(id(section) for section in sections))
        if key not in self._made:
            try:
                made = make(*sections)
            except NoCell as no_cell:
                made = no_cell
            # The sections are kept so that their identities stay theirs.
            self._made[key] = (made, sections)
        made = self._made[key][0]
        if isinstance(made, NoCell):
            raise made
        return made


def _tasks(section: Section) -> Frozen:
    """How often the dense model is scored again, and how it is raced, says nothing of a cell."""
    return Frozen.of({n: value for n, value in section.items() if n not in (RERUNS, RACE)})


def _looks_at_text(pruned: Pruning | None, quantized: Quantization | None) -> bool:
    parts = [part for part in (pruned, quantized) if part]
    mixed = quantized is not None and quantized.mixed
    return mixed or any(methods.reads_text(part.method, dict(part.options)) for part in parts)


def _refuse_two_profiles(pruned: Pruning, quantized: Quantization) -> None:
    """Where zeros and bits both differ by matrix, their means do not multiply to the rate."""
    profile = dict(pruned.options).get("profile")
    if profile and quantized.mixed and not pruned.removes:
        raise NoCell(
            f"prune.profile={profile} and quant.profile=allocated together would miss the rate of "
            "the label; valid: one of them, the other uniform"
        )


def _pruned_by(quantized: Quantization, pruned: Pruning | None) -> Pruning:
    """The pruning that a quantizer carries out itself: only how much is left to say."""
    name = quantized.method
    if pruned is None:
        raise NoCell(f"quant.method={name} prunes and quantizes at once; without pruning use gptq")
    if pruned.method != "sparsegpt":
        raise NoCell(f"quant.method={name} prunes as sparsegpt does, not as {pruned.method}")
    if REFINE in dict(pruned.options):
        raise NoCell(f"quant.method={name} fits what it keeps itself: valid is prune.refine=0")
    return replace(pruned, options=tuple(o for o in pruned.options if o[0] in PROFILE_KEYS))


def _pruned_last(pruned: Pruning, quantized: Quantization) -> tuple[Pruning, Quantization]:
    """The two in the other order; pruned weights are 0 by construction."""
    if "order" not in methods.method(pruned.method).options:
        raise NoCell(
            f"prune.method={pruned.method} cannot prune a quantized model (prune.order=last): it "
            "would move the weights it keeps off their grid; use magnitude or wanda"
        )
    if REFINE in dict(pruned.options):
        raise NoCell(
            "prune.refine would move the weights that a quantized model keeps off their grid "
            "(prune.order=last): valid is prune.refine=0"
        )
    how = methods.method(quantized.method)
    if how.prunes or not isinstance(how, methods.ByModifiers):
        raise NoCell(
            f"a model quantized by quant.method={quantized.method} cannot be pruned afterwards "
            "(prune.order=last)"
        )
    # the quantizer meets no zeros, so its stage is that of the cell that is only quantized
    return replace(pruned, last=True), replace(quantized, mask="none")


def _quantization(quant: Section, model: Section, zeros: bool) -> Quantization | None:
    group = model["group_size"] if quant["group_size"] is None else quant["group_size"]
    return quantization.of({**quant, "group_size": group}, zeros)
