"""The two answers that a report begins with: at equal TCr, and at equal size of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.comparison.equal_size import Unsaved, equal_size, unsaved
from analysis.comparison.verdicts import defined, verdicts
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Definition
from analysis.output.text import listed, megabytes
from analysis.report.sentences import conclusion


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What to choose, by one definition of Sr, for one model.

    Attributes:
        model: the model.
        by: the definition.
        rate: one sentence for each TCr that several cells share.
        size: one for each size of files that several cells share, the largest first.
        unsaved: what pruning saves no byte as served.
    """

    model: str
    by: Definition
    rate: tuple[str, ...]
    size: tuple[str, ...]
    unsaved: tuple[str, ...]

    def text(self, title: str = "") -> str:
        """For a terminal: both answers one below the other, each under its heading."""
        of = f" ({title})" if title else ""
        parts = [
            _part(f"At equal TCr, what the formula counts{of}:", self.rate),
            _part(f"At equal size, what the files take{of}:", self.size),
            "\n".join(self.unsaved),
        ]
        return "\n\n".join(filter(None, parts))


def _part(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)]) if lines else ""


def answers(panel: Panel, by: Definition | None = None) -> Answers:
    """Both answers for a model; by Sr2 where there is one, unless a definition is named."""
    kind = by or defined(panel)[0]
    return Answers(
        model=panel.model,
        by=kind,
        rate=tuple(conclusion(panel, verdict) for verdict in verdicts(panel, kind)),
        size=tuple(conclusion(panel, verdict) for _, verdict in equal_size(panel, kind)),
        unsaved=unsaved_bytes(panel),
    )


def unsaved_bytes(panel: Panel) -> tuple[str, ...]:
    """One sentence for each set of cells whose pruning saves no byte as served."""
    return tuple(_unsaved(panel, one) for one in unsaved(panel))


def _unsaved(panel: Panel, one: Unsaved) -> str:
    names = labels(panel)
    like = names[one.like] if one.like is not None else "the same cell without pruning"
    size = f" ({megabytes(one.size)})" if one.size == one.size else ""
    shown = listed([names[row] for row in one.rows], between=", ")
    return (
        f"Pruning saves no byte as served: {shown}, with files as large as those of {like}{size}."
    )
