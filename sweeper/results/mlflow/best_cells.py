"""The best cells of a sweep, at equal rate and at equal size: what its parent run shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper.results.outcomes import CellOutcome

FILTER = "tags.`isorate.kind` = 'cell'"
"""What `search_runs` is given to have one row a cell."""


_UNITS = {"tcr": "% TCr", "mb": "MB"}


@dataclass(frozen=True, kw_only=True)
class Best:
    """The cell that keeps the most among those that are equal in something.

    Attributes:
        measure: in what: "tcr" or "mb".
        value: how much: "81.25" percent, "113.2" MB.
        model: whose cells these are, "" where the sweep has one model.
        label: of the cell.
        sr: what it keeps, Sr2.
        stderr: of that.
        of: how many cells are equal.
    """

    measure: str
    value: str
    model: str
    label: str
    sr: float
    stderr: float
    of: int

    @property
    def at(self) -> str:
        """As "81.25 % TCr" or "113.2 MB"."""
        return f"{self.value} {_UNITS[self.measure]}"

    @property
    def name(self) -> str:
        """The last part of its tag: "tcr.81.25", "mb.113.2", after the model if there are more."""
        text = f"{self.model}.{self.measure}.{self.value}".strip(".")
        return "".join(c if (c.isascii() and c.isalnum()) or c in "-." else "_" for c in text)[:80]

    @property
    def short(self) -> str:
        """As "25% + 4bit, Sr 0.806 +- 0.014 (of 3 cells)"."""
        return f"{self.label}, Sr {self.sr:.3f} ± {self.stderr:.3f} (of {self.of} cells)"


def best(outcomes: Sequence[CellOutcome], metrics: Mapping[str, Mapping[str, float]]) -> list[Best]:
    """Of every rate and every size that several cells have; by rate, then by size.

    Args:
        outcomes: the cells; those whose label is not proved are no candidates.
        metrics: cell key -> TCr (percent), size_mb, Sr and its stderr, as far as they are known.
    """
    several = len({outcome.cell["model"] for outcome in outcomes}) > 1
    equal: dict[tuple[str, str, str], list[CellOutcome]] = defaultdict(list)
    for outcome in outcomes:
        known = metrics[outcome.key]
        if "Sr" not in known or (outcome.measured or {}).get("unproved"):
            continue
        model = str(outcome.cell["model"]) if several else ""
        equal[model, "tcr", f"{known['TCr']:.6g}"].append(outcome)
        if "size_mb" in known:
            equal[model, "mb", f"{known['size_mb']:.4g}"].append(outcome)
    order = {unit: n for n, unit in enumerate(_UNITS)}
    return [
        _best(model, measure, value, among, metrics)
        for (model, measure, value), among in sorted(
            equal.items(), key=lambda item: (item[0][0], order[item[0][1]], float(item[0][2]))
        )
        if len(among) > 1
    ]


def _best(
    model: str,
    measure: str,
    value: str,
    among: Sequence[CellOutcome],
    metrics: Mapping[str, Mapping[str, float]],
) -> Best:
    first = max(among, key=lambda outcome: metrics[outcome.key]["Sr"])
    known = metrics[first.key]
    return Best(
        measure=measure,
        value=value,
        model=model,
        label=str(first.cell["label"]),
        sr=known["Sr"],
        stderr=known.get("stderr/Sr", 0.0),
        of=len(among),
    )


def note(best: Sequence[Best]) -> str:
    """The description of the parent run, Markdown."""
    lines = [
        f"- at {one.at}{' of ' * bool(one.model)}{one.model}: **{one.label}**, Sr "
        f"{one.sr:.3f} ± {one.stderr:.3f}, the most of {one.of} cells"
        for one in best
    ]
    head = "Which cell keeps the most (whether that is more than chance, the report says):"
    return "\n".join(
        [
            *([head, "", *lines, ""] if lines else []),
            "One run per cell below this one; as a table: "
            f'`mlflow.search_runs(filter_string="{FILTER}")`.',
        ]
    )
