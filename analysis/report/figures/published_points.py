"""Published numbers as points beside a sweep's own: arXiv:2505.07289, JSQ, and MPT's perplexities.

Other models, other tasks, other harnesses: they show where a sweep stands, and enter no verdict.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.comparison.size import sizes
from analysis.data.panel import panels
from analysis.metrics import Definition, tcr
from analysis.output.figure import Drawn
from analysis.published import jsq, reference

PAPERS = {"laborde2025": "arXiv:2505.07289", "jsq2024": "JSQ", "mpt": "MPT"}
"""Short name -> as readers know it, in the order of the legend."""

Row = dict[str, Any]
_KEY = ["model", "task", "method_prune", "method_quant", "sparsity_pct", "pattern", "bits"]


@lru_cache(maxsize=2)
def points(by: Definition) -> pd.DataFrame:
    """Every published compressed configuration with its retention and its rate.

    Columns: paper (a key of PAPERS), name, tcr (eq. 1 of arXiv:2505.07289; of JSQ from its
    printed sizes), value (Sr1 or Sr2 of its accuracies; of MPT the dense perplexity over the
    perplexity, the retention of the one task there is), share_tcr (1 - tcr), share_served and
    share_best_mask (as `rates.sizes`; where group sizes are known).
    """
    found = pd.DataFrame([*_laborde(by), *_jsq(by), *_mpt()])
    return found.assign(share_tcr=1 - found["tcr"])


def beside(axes: Any, by: Definition, column: str) -> None:
    """Keep the points for a page to show in a drawing whose x axis is `column` in percent."""
    found = points(by)
    for row in found[found[column].notna()].to_dict("records"):
        said = f"{PAPERS[row['paper']]}, {row['name']}: {row['value']:.3f}"
        axes.figure.published.append(
            Drawn(axes=axes, x=100 * row[column], y=row["value"], said=said, paper=row["paper"])
        )


@lru_cache(maxsize=1)
def _paper() -> tuple[Row, ...]:
    tables = [sizes(panel) for panel in panels(reference.laborde2025())]
    rows: list[Any] = [row for table in tables for row in table.to_dict("records")]
    return tuple(row for row in rows if row["kind"] != "dense")


def _laborde(by: Definition) -> Iterator[Row]:
    for row in _paper():
        shares = {name: row[name] for name in ("share_served", "share_best_mask")}
        yield {
            "paper": "laborde2025",
            "name": f"{row['model']}: {row['label']}",
            "tcr": row["tcr"],
            "value": row[by],
            **shares,
        }


def _jsq(by: Definition) -> Iterator[Row]:
    for row in jsq.points().to_dict("records"):
        yield {
            "paper": "jsq2024",
            "name": f"{row['model']}: {row['label']}",
            "tcr": row["tcr"],
            "value": row[by],
        }


@lru_cache(maxsize=1)
def _mpt() -> tuple[Row, ...]:
    """Perplexities over sparsity and bits, each with the dense one of its own table."""
    return tuple(_perplexities())


def _perplexities() -> Iterator[Row]:
    seen: set[tuple[Any, ...]] = set()
    for table in reference.TABLES["mpt"]:
        facts = reference.facts("mpt", table)
        facts = facts[(facts["metric"] == "ppl") & facts["value"].notna()]
        dense = {
            (row["model"], row["task"]): float(row["value"])
            for row in facts.to_dict("records")
            if _is_dense(row)
        }
        for row in facts.to_dict("records"):
            whole = dense.get((row["model"], row["task"]))
            key = (*(row[name] for name in _KEY), row["value"])
            if whole is None or _is_dense(row) or key in seen:
                continue
            seen.add(key)
            yield {
                "paper": "mpt",
                "name": _name(row),
                "tcr": float(_rate(row)),
                "value": whole / float(row["value"]),
            }


def _is_dense(row: Mapping[Hashable, Any]) -> bool:
    return bool(row["sparsity_pct"] == 0 and row["bits"] == 16)


def _rate(row: Mapping[Hashable, Any]) -> Any:
    return tcr(reference.sparsity(row["sparsity_pct"]), row["bits"])


def _name(row: Mapping[Hashable, Any]) -> str:
    pruned, bits = row["sparsity_pct"] > 0, row["bits"]
    amount = row["pattern"] if ":" in str(row["pattern"]) else f"{row['sparsity_pct']:g}%"
    parts = [f"{row['method_prune']} {amount}"] if pruned else []
    parts += [f"{row['method_quant'] or ''} {bits:g}bit".strip()] if bits < 16 else []
    return f"{row['model']}: {' + '.join(parts)} (perplexity)"
