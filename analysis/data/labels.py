"""Labels of cells, with what tells namesakes apart."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from analysis.data.panel import Panel


@lru_cache(maxsize=8)  # every sentence and row asks for them; a panel never changes
def labels(panel: Panel) -> tuple[str, ...]:
    """(C,) the labels, with what tells namesakes apart: method, seed, at last the key."""
    cells = panel.cells
    names = list(cells["label"])
    for suffix in (_methods(panel), _seeds(panel), [f"[{key}]" for key in cells["cell"]]):
        kinds: dict[str, set[str]] = {}
        for name, said in zip(names, suffix, strict=True):
            kinds.setdefault(name, set()).add(said)
        names = [
            f"{n} {s}".strip() if len(kinds[n]) > 1 else n
            for n, s in zip(names, suffix, strict=True)
        ]
    return tuple(names)


def _methods(panel: Panel) -> list[str]:
    columns = panel.cells["prune_method"], panel.cells["quant_method"]
    return [
        f"({', '.join(m for m in pair if m)})" if any(pair) else ""
        for pair in zip(*columns, strict=True)
    ]


def _seeds(panel: Panel) -> list[str]:
    return [f"(seed {s:.0f})" if np.isfinite(s) else "" for s in panel.cells["calibration_seed"]]
