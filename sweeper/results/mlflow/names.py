"""How the runs of cells are called in MLflow: no two of a sweep alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sweeper.results.outcomes import CellOutcome


def names(outcomes: Sequence[CellOutcome]) -> dict[str, str]:
    """Cell key -> run name: its label, with as much more as makes it the only one."""
    several = len({o.cell["model"] for o in outcomes}) > 1
    chosen = {
        o.key: f"{o.cell['model']}: {o.cell['label']}" if several else str(o.cell["label"])
        for o in outcomes
    }
    for more in (_seed, _methods, _short_key):
        count = Counter(chosen.values())
        for outcome in outcomes:
            name = chosen[outcome.key]
            if count[name] > 1 and (addition := more(outcome)):
                chosen[outcome.key] = f"{name} ({addition})"
    return chosen


def _seed(outcome: CellOutcome) -> str:
    seed = outcome.cell.get("calibration_seed")
    return "" if seed is None else f"seed {seed}"


def _methods(outcome: CellOutcome) -> str:
    used = (outcome.cell.get("prune_method"), outcome.cell.get("quant_method"))
    return ", ".join(str(method) for method in used if method not in (None, "", "none"))


def _short_key(outcome: CellOutcome) -> str:
    return outcome.key[:8]
