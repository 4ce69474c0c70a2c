"""What a sweep's race left behind, as its results carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RaceRecord:
    """The decisions of a race, and what its cells are called.

    Attributes:
        looks: the decisions, oldest first, as `analysis.race.decision.Decision.to_json` has them.
        names: key of a cell in these decisions -> its label.
    """

    looks: tuple[Mapping[str, Any], ...]
    names: Mapping[str, str]
