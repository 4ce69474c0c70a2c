"""A cell: one model, how it is pruned, how it is quantized, and what it is scored on.

Pure values made from the resolved sections of the configuration. Two combinations
that mean the same become equal cells: 16 bit is unquantized, sparsity 0 is unpruned,
N:M fixes its sparsity, and an option that a method does not use is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sweeper import methods
from sweeper.errors import BadInput, one_of
from sweeper.methods._profiles import PROFILE_KEYS, profile_options

Section = Mapping[str, Any]

UNSTRUCTURED = "unstructured"
MASKS = {"keep": "", "ignore": " (mask ignored)", "exact": " (exact mask)"}
"""What becomes of the zeros of a pruned model -> what a cell's label says of it."""
ORDERS = ("first", "last")
RERUNS = "reruns"
"""The key of `tasks` that adds cells instead of changing them."""
_THIRDS = {33.333: 1 / 3, 66.667: 2 / 3}


class NoCell(Exception):
    """This combination is no cell of its own; the message is the reason that `plan` shows."""


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How a cell is pruned.

    Attributes:
        method: module of `sweeper.methods`.
        sparsity: fraction of the linear weights that go, in (0, 1): set to zero, or removed.
        pattern: "unstructured" or "N:M" (zeros), "low-rank" or "structured" (removed).
        options: what else means something to the method, sorted by name.
        last: whether the quantized model is pruned, not the dense one.
    """

    method: str
    sparsity: float
    pattern: str
    options: tuple[tuple[str, Any], ...]
    last: bool = False

    @property
    def label(self) -> str:
        """'25%', '2:8', 'wanda 25%', '50% (owl)'."""
        amount = self.pattern if ":" in self.pattern else percent(self.sparsity)
        profile = dict(self.options).get("profile")
        amount += f" ({profile})" if profile else ""
        return methods.method(self.method).label.format(amount=amount)


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
        """'4bit', 'RTN 4bit', 'NF4'."""
        return methods.method(self.method).label.format(bits=self.bits, **dict(self.options))


@dataclass(frozen=True, eq=False)
class Frozen:
    """A resolved configuration section that can be hashed and compared."""

    items: tuple[tuple[str, Any], ...]

    def __eq__(self, other: object) -> bool:
        """Equal content; the same object mostly, since equal sections are shared."""
        return self is other or (isinstance(other, Frozen) and self.items == other.items)

    def __hash__(self) -> int:
        """Computed once: thousands of cells share a section."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.items)

    @classmethod
    def of(cls, section: Section) -> Frozen:
        """Freeze a section; nested maps and lists become tuples."""
        return cls(tuple((k, _freeze(v)) for k, v in sorted(section.items())))

    @cached_property
    def dict(self) -> dict[str, Any]:
        """The section as plain JSON data."""
        return {k: _thaw(v) for k, v in self.items}

    def __getitem__(self, name: str) -> Any:
        """The plain value of one key."""
        return self.dict[name]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid.

    Attributes:
        model, tasks: what is compressed, what it is scored on.
        pruning, quantization: None where there is none.
        calibration: None where no method looks at a text.
        rerun: 1, 2, ... of a dense cell that is scored once more, see `sweeper.reruns`.
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
        return self.pruning is None and self.quantization is None

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
        return 1 - self.bits / 16 * (1 - self.sparsity)

    @property
    def label(self) -> str:
        """'dense', '25%', '4bit', '2:8 + 4bit', '25% + 4bit (exact mask)', 'dense (rerun 1)'."""
        parts = [part.label for part in (self.pruning, self.quantization) if part]
        if self.pruning and self.pruning.last:
            parts.reverse()
        again = f" (rerun {self.rerun})" if self.rerun else ""
        return (" + ".join(parts) or "dense") + MASKS.get(self.mask, "") + again


def percent(fraction: float) -> str:
    """'25%', '33.333%': a fraction as the paper prints it."""
    return f"{round(100 * fraction, 3):g}%"


def fraction(value: Any, key: str = "prune.sparsity") -> float:
    """Sparsity in percent (0, or 1 to below 100) as a fraction; 33.333 is exactly 1/3.

    Raises:
        BadInput: anything else, with a guess for values that look like fractions.
    """
    valid = "a percentage is needed: 0, or 1 to below 100."
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(key, value, valid)
    if 0 < value < 1:
        raise BadInput(key, f"{value:g}", valid, f"Did you mean {100 * value:g}?")
    if not (value == 0 or 1 <= value < 100):
        hint = f"Did you mean {value / 100:g}?" if 100 < value < 10000 else ""
        raise BadInput(key, f"{value:g}", valid, hint)
    return _THIRDS.get(value, value / 100)


def n_of_m(pattern: str, key: str = "prune.pattern") -> tuple[int, int] | None:
    """(N, M) of 'N:M', N pruned of every M weights; None when unstructured."""
    if pattern == UNSTRUCTURED:
        return None
    match = re.fullmatch(r"(\d+):(\d+)", pattern)
    n, m = (int(g) for g in match.groups()) if match else (0, 0)
    if not 0 < n < m:
        raise BadInput(
            key,
            pattern,
            "valid: unstructured, or N:M with 0 < N < M (N of every M weights are pruned).",
            f"Did you mean {m}:{n}?" if 0 < m < n else "",
        )
    return n, m


def pruning(section: Section) -> Pruning | None:
    """The `prune` section as a value; None when it leaves the model unpruned.

    Raises:
        BadInput: a value that means nothing in any grid.
        NoCell: a combination of valid values that is no cell of its own.
    """
    if section["blocks"] is not None:
        return _blocks(section)
    given = section["sparsity"]
    sparsity = None if given is None else fraction(given)
    pattern = section["pattern"]
    ratio = n_of_m(pattern)
    if sparsity == 0 or (sparsity is None and ratio is None):
        if ratio is not None:
            n, m = ratio
            raise NoCell(f"{pattern} fixes the sparsity at {percent(n / m)}, not 0%")
        return None
    if section["method"] == "none":
        raise NoCell(f"prune.method=none cannot prune ({pattern}, sparsity {given})")
    found = methods.find("prune", section["method"], "prune.method")
    if ratio is not None:
        n, m = ratio
        if sparsity is not None and abs(sparsity - n / m) > 1e-9:
            raise NoCell(f"{pattern} fixes the sparsity at {percent(n / m)}, not {given:g}%")
        sparsity = n / m
    if ratio is not None and isinstance(found, methods.Reshaping):
        raise NoCell(f"{section['method']} removes parameters: it has no pattern {pattern}")
    assert sparsity is not None
    return Pruning(
        method=section["method"],
        sparsity=sparsity,
        pattern=found.pattern if isinstance(found, methods.Reshaping) else pattern,
        options=_pruning_options(section, found),
    )


def _blocks(section: Section) -> Pruning | None:
    """Depth pruning by a number of decoder layers; what share that is depends on the model."""
    blocks, method = section["blocks"], section["method"]
    if blocks < 0 or section["sparsity"] is not None:
        valid = "a number of decoder layers, 0 or more, without prune.sparsity."
        raise BadInput("prune.blocks", blocks, valid)
    if blocks == 0:
        return None
    if n_of_m(section["pattern"]) is not None:
        raise NoCell(f"prune.blocks removes decoder layers: no pattern {section['pattern']}")
    found = None if method == "none" else methods.find("prune", method, "prune.method")
    if not isinstance(found, methods.ByRemoval):
        raise NoCell(f"prune.method={method} removes no decoder layers: say prune.sparsity")
    return Pruning(
        method=method,
        sparsity=0.0,
        pattern=found.pattern,
        options=(*_pruning_options(section, found), ("blocks", blocks)),
    )


def _pruning_options(section: Section, method: methods.Method) -> tuple[tuple[str, Any], ...]:
    if section["order"] not in ORDERS:
        raise BadInput("prune.order", section["order"], f"{one_of(ORDERS)}.")
    options = {k: v for k, v in _options(section, method) if k not in ("order", "profile")}
    profile = {k: _freeze(v) for k, v in profile_options(section).items()}
    if profile and "profile" not in method.options:
        raise NoCell(f"prune.method={section['method']} has the same sparsity everywhere")
    return tuple(sorted({**options, **profile}.items()))


def quantization(section: Section, zeros: bool) -> Quantization | None:
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


def removes(pruning: Pruning) -> bool:
    """Whether parameters are removed, instead of set to zero."""
    return methods.reshaping(pruning.method) is not None


def _mask(asked: str, method: methods.Method) -> str:
    return asked if asked in method.masks else method.masks[0]


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
        model, prune, quant = sections["model"], sections["prune"], sections["quant"]
        pruned = self._once(pruning, prune)
        zeros = pruned is not None and not removes(pruned)
        quantized = self._once(_quantization, quant, model, zeros)
        if quantized and methods.method(quantized.method).prunes:
            pruned = _pruned_by(quantized, pruned)
        if pruned and quantized and prune["order"] == "last":
            pruned, quantized = _pruned_last(pruned, quantized)
        return Cell(
            model=self._once(Frozen.of, model),
            pruning=pruned,
            quantization=quantized,
            calibration=self._once(Frozen.of, sections["calibration"])
            if any(part and methods.method(part.method).calibrated for part in (pruned, quantized))
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
    """How often the dense model is scored again says nothing of the other cells."""
    return Frozen.of({name: value for name, value in section.items() if name != RERUNS})


def _pruned_by(quantized: Quantization, pruned: Pruning | None) -> Pruning:
    """The pruning that a quantizer carries out itself: only how much is left to say."""
    name = quantized.method
    if pruned is None:
        raise NoCell(f"quant.method={name} prunes and quantizes at once; without pruning use gptq")
    if pruned.method != "sparsegpt":
        raise NoCell(f"quant.method={name} prunes as sparsegpt does, not as {pruned.method}")
    return replace(pruned, options=tuple(o for o in pruned.options if o[0] in PROFILE_KEYS))


def _pruned_last(pruned: Pruning, quantized: Quantization) -> tuple[Pruning, Quantization]:
    """The two in the other order; pruned weights are 0 by construction."""
    if "order" not in methods.method(pruned.method).options:
        raise NoCell(
            f"prune.method={pruned.method} cannot prune a quantized model (prune.order=last): it "
            "would move the weights it keeps off their grid; use magnitude or wanda"
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
    return quantization({**quant, "group_size": group}, zeros)


def _options(section: Section, method: methods.Method) -> tuple[tuple[str, Any], ...]:
    return tuple((name, _freeze(section[name])) for name in sorted(method.options))


def _freeze(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ("map", tuple((k, _freeze(v)) for k, v in sorted(value.items())))
    if isinstance(value, list | tuple):
        return ("list", tuple(_freeze(v) for v in value))
    return value


def _thaw(value: Any) -> Any:
    if isinstance(value, tuple):
        kind, items = value
        return {k: _thaw(v) for k, v in items} if kind == "map" else [_thaw(v) for v in items]
    return value
