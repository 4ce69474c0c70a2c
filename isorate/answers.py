"""What the commands answer, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One point of a grid.

    Attributes:
        key: its identity, in every home.
        model: its short name.
        label: as "25% + 4bit".
        tcr: theoretical compression rate in percent (arXiv:2505.07289, eq. 9).
        sparsity: percent of the weights that are pruned.
        pattern: "unstructured", "2:8", ...; "" where nothing is pruned.
        bits: of a quantized weight; 16 where it is not quantized.
        prune, quant: the methods; "" for none.
    """

    key: str
    model: str
    label: str
    tcr: float
    sparsity: float
    pattern: str
    bits: float
    prune: str
    quant: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        name: of the sweep.
        home: where everything is kept.
        cells: all of them, those that are done too.
        dropped: combinations that are no cell of their own: reason -> how many.
        notes: what one should know before it starts.
        stages: how many there are of all cells together, each once.
        stages_done: how many of them need no work.
        work_s: expected seconds of one worker for the rest.
        wall_s: the same with all workers of this machine.
        disk_bytes: checkpoints at the peak.
        document: all that the command says (``isorate plan output=json``).
    """

    name: str
    home: Path
    cells: tuple[PlannedCell, ...]
    dropped: Mapping[str, int]
    notes: tuple[str, ...]
    stages: int
    stages_done: int
    work_s: float
    wall_s: float
    disk_bytes: int
    document: Json = field(repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """The cells, one row each."""
        import pandas as pd

        return pd.DataFrame([vars(cell) for cell in self.cells]).drop(columns="key")


@dataclass(frozen=True, kw_only=True)
class CellState:
    """What became of one cell.

    Attributes:
        key, model, label: which one.
        tcr: theoretical compression rate in percent.
        status: "done", "failed", "missing", or "running" and "queued" on a cluster.
        reason: why it is not done; "" if it is.
    """

    key: str
    model: str
    label: str
    tcr: float
    status: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a sweep says.

    Attributes:
        name: of the sweep.
        verdicts: in words.
        files: name below the report's directory -> path: the page, tables, figures and data.
    """

    name: str
    verdicts: tuple[str, ...]
    files: Mapping[str, Path] = field(repr=False)

    @property
    def page(self) -> Path | None:
        """The self-contained HTML page; None where nothing has a score yet."""
        return self.files.get("report.html")


@dataclass(frozen=True, kw_only=True)
class Run(Report):
    """What came of carrying out a plan; as a report, for the whole sweep.

    Attributes:
        cells: those that were asked for.
        ended: stage -> why its attempts ended for a reason outside of its cell; run again.
    """

    cells: tuple[CellState, ...]
    ended: Mapping[str, str]

    @property
    def done(self) -> bool:
        """Whether every cell that was asked for is."""
        return all(cell.status == "done" for cell in self.cells)


def plan(document: Json) -> Plan:
    """From the JSON of ``isorate plan``."""
    dropped: dict[str, int] = {}
    for each in document["dropped"]:
        dropped[each["reason"]] = dropped.get(each["reason"], 0) + 1
    cost, stages = document["cost"], document["stages"]
    return Plan(
        name=document["name"],
        home=Path(document["home"]),
        cells=tuple(map(_planned, document["cells"])),
        dropped=dropped,
        notes=tuple(document["notes"]),
        stages=stages["total"],
        stages_done=stages["done"],
        work_s=cost["seconds"],
        wall_s=cost["wall_seconds"],
        disk_bytes=cost["peak_checkpoint_bytes"],
        document=document,
    )


def run(document: Json) -> Run:
    """From the JSON of ``isorate run``."""
    return Run(
        name=document["name"],
        verdicts=tuple(document["verdicts"]),
        files={name: Path(path) for name, path in document["report"].items()},
        cells=tuple(map(_state, document["cells"])),
        ended=dict(document["ended"]),
    )


def report(document: Json) -> Report:
    """From the JSON of ``isorate report``."""
    return Report(
        name=document["name"],
        verdicts=tuple(document["verdicts"]),
        files={name: Path(path) for name, path in document["report"].items()},
    )


def _planned(cell: Json) -> PlannedCell:
    return PlannedCell(
        key=cell["key"],
        model=cell["model"],
        label=cell["label"],
        tcr=_percent(cell["tcr"]),
        sparsity=_percent(cell["sparsity"]),
        pattern=cell["pattern"],
        bits=cell["bits"],
        prune=cell["prune_method"],
        quant=cell["quant_method"],
    )


def _state(cell: Json) -> CellState:
    return CellState(
        key=cell["key"],
        model=cell["model"],
        label=cell["label"],
        tcr=_percent(cell["tcr"]),
        status=cell["status"],
        reason=cell["reason"],
    )


def _percent(share: float) -> float:
    return round(100 * share, 9)
