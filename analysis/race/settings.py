"""What a race is run by: rule, level, family, looks. Imports nothing that takes long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

Rule = Literal["anytime", "spending"]
Family = Literal["group", "sweep"]
Quantity = Literal["sr2", "sr1", "log_likelihood"]

FIRST_LOOK = 128
"""Documents of each task below which nothing is decided: the theory is for many of them."""
FEWEST_OF_LEAF = 2
FEWEST_DISCORDANT = 20
"""Documents that two cells answered with different scores, below which they are not told apart."""


class BadSettings(ValueError):
    """A setting that no race can have.

    Attributes:
        key: which one.
        value: what it was.
        valid: what it may be, and what to do.
    """

    def __init__(self, key: str, value: object, valid: str) -> None:
        super().__init__(f"{key}={value}: {valid}")
        self.key, self.value, self.valid = key, value, valid


@dataclass(frozen=True, kw_only=True)
class RaceSettings:
    """How a race decides; fixed before its first look.

    Attributes:
        rule: "anytime" (rule A, valid whenever one looks or stops), or "spending" (rule B, for the
            looks of the schedule alone).
        alpha: probability that any verdict of a family is false.
        family: whose pairs share alpha: those of one group of cells, or of all groups together.
        by: "sr2", "sr1", or for perplexities alone "log_likelihood" (nats per unit).
        margin: difference (of `by`) that does not matter; a group whose survivors differ by less is
            done. None: none is small enough.
        first_look: documents of each task at the first look, at least `FIRST_LOOK`; each further
            look has twice as many.
        assumed_spread: standard deviation of true differences (of `by`) that rule A expects; never
            from the raced data.
        stderr: standard error (of `by`) up to which a cell without a rival is asked. None: it
            is asked the first look.

    Raises:
        BadSettings: on construction.
    """

    rule: Rule = "anytime"
    alpha: float = 0.05
    family: Family = "group"
    by: Quantity = "sr2"
    margin: float | None = None
    first_look: int = FIRST_LOOK
    assumed_spread: float = 0.1
    stderr: float | None = None

    def __post_init__(self) -> None:
        for key, kinds in (("rule", Rule), ("family", Family), ("by", Quantity)):
            if getattr(self, key) not in get_args(kinds):
                raise BadSettings(key, getattr(self, key), f"one of {', '.join(get_args(kinds))}")
        if not 0 < self.alpha < 0.5:
            raise BadSettings("alpha", self.alpha, "a probability above 0 and below 0.5")
        if self.first_look < FIRST_LOOK:
            raise BadSettings(
                "first_look",
                self.first_look,
                f"at least {FIRST_LOOK}: the tests of a race hold for many documents",
            )
        if not self.assumed_spread > 0:
            raise BadSettings(
                "assumed_spread", self.assumed_spread, "above 0, for example 0.1 (10 points of Sr)"
            )
        for key in ("margin", "stderr"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise BadSettings(key, value, "above 0, or null for none")

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RaceSettings:
        """What `to_json` wrote."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    def changed(self, other: RaceSettings) -> list[str]:
        """Names of the settings in which two differ."""
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]
