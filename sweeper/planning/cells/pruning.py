"""How a cell is pruned: the `prune` section of the configuration as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sweeper import methods
from sweeper.config.section import Section, chosen
from sweeper.errors import BadInput, NoCell, one_of
from sweeper.methods import validation
from sweeper.methods.profiles import profile_options
from sweeper.methods.refinement import options as refinement

UNSTRUCTURED = "unstructured"
ORDERS = ("first", "last")
_THIRDS = {33.333: 1 / 3, 66.667: 2 / 3}


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
        """'25%', '2:8', 'wanda 25%', '50% (owl)', '25%, refined'."""
        amount = self.pattern if ":" in self.pattern else percent(self.sparsity)
        options = dict(self.options)
        profile = options.get("profile")
        amount += f" ({profile})" if profile else ""
        return methods.method(self.method).label.format(amount=amount) + refinement.label(options)

    @property
    def removes(self) -> bool:
        """Whether parameters are removed, instead of set to zero."""
        return methods.reshaping(self.method) is not None


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
            f"Did you mean {m}:{n}?" if 0 < m < n else validation.unquoted(pattern),
        )
    return n, m


def of(section: Section) -> Pruning | None:
    """The `prune` section as a value; None when it leaves the model unpruned.

    Raises:
        BadInput: a value that means nothing in any grid.
        NoCell: a combination of valid values that is no cell of its own.
    """
    refinement.check(section, "prune")
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
        options=_options(section, found),
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
        options=(*_options(section, found), ("blocks", blocks)),
    )


def _options(section: Section, method: methods.Method) -> tuple[tuple[str, Any], ...]:
    if section["order"] not in ORDERS:
        raise BadInput("prune.order", section["order"], f"{one_of(ORDERS)}.")
    own = [n for n in method.options if n not in ("order", "profile", refinement.REFINE)]
    profile = profile_options(section)
    if profile and "profile" not in method.options:
        raise NoCell(f"prune.method={section['method']} has the same sparsity everywhere")
    refined = refinement.options(section, method.options, "prune")
    return chosen({**section, **profile}, {*own, *profile, *refined})
