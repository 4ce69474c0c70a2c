"""What a person sees of a plan under way: a live display on a terminal, else plain lines."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launchers.base import Observer, StageOutcome
from launchers.schedule import estimate
from sweeper.store.store import Spec

log = logging.getLogger("isorate")


@dataclass(kw_only=True)
class Running:
    """A stage under way: when it began and how far it says it is."""

    spec: Spec
    where: str
    since: float
    fraction: float = 0.0
    note: str = ""


class Tally:
    """The numbers behind both displays, kept up to date event by event."""

    def __init__(self, cells: Mapping[str, Iterable[str]]) -> None:
        """``cells``: cell -> keys of the stages that it consists of."""
        self._left_of = {cell: set(keys) for cell, keys in cells.items()}
        self._cells_of: dict[str, list[str]] = defaultdict(list)
        for cell, keys in self._left_of.items():
            for key in keys:
                self._cells_of[key].append(cell)
        self.cells_done = 0
        self.states: Counter[str] = Counter()
        self.running: dict[str, Running] = {}
        self.total = 0
        self._open_s: dict[str, float] = defaultdict(float)
        self._planned_s: dict[str, float] = defaultdict(float)
        self._spent_s: dict[str, float] = defaultdict(float)

    def begin(self, stages: Sequence[Spec], known: Mapping[str, StageOutcome]) -> None:
        """Take over the plan."""
        self.total = len(stages)
        for spec in stages:
            self._open_s[spec["kind"]] += estimate(spec)
        for spec in stages:
            if spec["key"] in known:
                self.settle(spec, known[spec["key"]])

    def settle(self, spec: Spec, outcome: StageOutcome) -> None:
        """A stage has its outcome; what it cost corrects the estimates of its kind."""
        kind, key = spec["kind"], spec["key"]
        self.running.pop(key, None)
        self.states[outcome.state] += 1
        self._open_s[kind] -= estimate(spec)
        if outcome.state == "done":
            self._advance_cells(key)
        if outcome.state == "done" and outcome.seconds:
            self._planned_s[kind] += estimate(spec)
            self._spent_s[kind] += outcome.seconds

    def _advance_cells(self, key: str) -> None:
        for cell in self._cells_of.pop(key, ()):
            self._left_of[cell].discard(key)
            self.cells_done += not self._left_of[cell]

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self._left_of)

    @property
    def settled(self) -> int:
        """How many stages have their outcome."""
        return self.states.total()

    def _factor(self, kind: str) -> float:
        """Measured over estimated seconds of a kind; 1 while it has none.

        What one kind took says nothing of another: the first is mostly imports.
        """
        planned, spent = self._planned_s[kind], self._spent_s[kind]
        return spent / planned if planned else 1.0

    def left_s(self, now: float, workers: int) -> float:
        """Seconds until all is done: the work left, shared by the workers."""
        work = sum(open_s * self._factor(kind) for kind, open_s in list(self._open_s.items()))
        for running in list(self.running.values()):
            whole = estimate(running.spec) * self._factor(running.spec["kind"])
            work -= whole - self._rest_s(running, whole, now)
        return max(0.0, work) / max(1, workers)

    def _rest_s(self, running: Running, whole: float, now: float) -> float:
        spent = now - running.since
        if running.fraction > 0.05:
            return spent * (1 - running.fraction) / running.fraction
        return max(0.0, whole - spent)


class Lines:
    """An observer that logs a line per event; for files, pipes and batch systems."""

    def __init__(self, title: str = "", cells: Mapping[str, Iterable[str]] | None = None) -> None:
        """``title`` heads it; ``cells``: cell -> keys of the stages that it consists of."""
        self.title = title
        self.tally = Tally(cells or {})
        self._workers = 1
        self._causes: dict[str, str] = {}

    def begin(self, stages: Sequence[Spec], known: Mapping[str, StageOutcome]) -> None:
        """Say how much there is to do."""
        self.tally.begin(stages, known)
        todo = len(stages) - len(known)
        log.info("%s: %d stages, %d are done, %d to do", self.title, len(stages), len(known), todo)

    def started(self, spec: Spec, where: str) -> None:
        """Say it."""
        key = spec["key"]
        self.tally.running[key] = Running(spec=spec, where=where, since=time.monotonic())
        self._workers = max(self._workers, len(self.tally.running))
        log.info("started  %s (%s)", stage_name(spec), where)

    def progress(self, spec: Spec, fraction: float, note: str) -> None:
        """Keep it for the estimate of the time left; a line each would drown the rest."""
        if running := self.tally.running.get(spec["key"]):
            running.fraction, running.note = fraction, note

    def ended(self, spec: Spec, outcome: StageOutcome) -> None:
        """Say how, at which cost, and how much is left."""
        self.tally.settle(spec, outcome)
        if outcome.state == "done":
            log.info(
                "done     %s in %s; %s", stage_name(spec), _clock(outcome.seconds), self.summary()
            )
        else:
            log.error("%-8s %s: %s", outcome.state, stage_name(spec), self._why(spec, outcome))

    def _why(self, spec: Spec, outcome: StageOutcome) -> str:
        """The reason, in full where it was not said of another stage before."""
        for cause, first in self._causes.items():
            if outcome.reason == cause:
                return f"for the same reason as {first}"
            if outcome.reason.endswith(f": {cause}"):
                return outcome.reason.removesuffix(f": {cause}")
        self._causes[outcome.reason] = stage_name(spec)
        return outcome.reason

    def say(self, message: str) -> None:
        """Log it as a warning."""
        log.warning("%s", message)

    def close(self) -> None:
        """Say what came out."""
        log.info("%s", self.summary())

    def summary(self) -> str:
        """Cells, stages, troubles and the time left, in one line."""
        tally = self.tally
        parts = [f"{tally.settled}/{tally.total} stages"]
        if tally.cells:
            parts.insert(0, f"{tally.cells_done}/{tally.cells} cells")
        parts += [f"{n} {state}" for state, n in sorted(tally.states.items()) if state != "done"]
        if tally.settled < tally.total:
            parts.append(f"about {_clock(tally.left_s(time.monotonic(), self._workers))} left")
        return ", ".join(parts)


class Display(Lines):
    """The same as a live table at the bottom of a terminal; troubles scroll by above it."""

    def __init__(
        self,
        console: Console,
        title: str = "",
        cells: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        """Draws on ``console`` (stderr)."""
        super().__init__(title, cells)
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=4, transient=True
        )

    def begin(self, stages: Sequence[Spec], known: Mapping[str, StageOutcome]) -> None:
        """Start to draw."""
        self.tally.begin(stages, known)
        self._live.start()

    def started(self, spec: Spec, where: str) -> None:
        """A new line of the table."""
        running = Running(spec=spec, where=where, since=time.monotonic())
        self.tally.running[spec["key"]] = running
        self._workers = max(self._workers, len(self.tally.running))

    def ended(self, spec: Spec, outcome: StageOutcome) -> None:
        """Its line goes; a trouble is printed for good."""
        self.tally.settle(spec, outcome)
        if outcome.state in ("failed", "ended"):
            why = self._why(spec, outcome)
            self._print(f"{outcome.state} {stage_name(spec)}: {why}", "red")

    def say(self, message: str) -> None:
        """Print it above the table."""
        self._print(message, "yellow")

    def close(self) -> None:
        """Leave one line with what came out."""
        self._live.stop()
        self._print(self.summary(), "bold")

    def _print(self, message: str, style: str) -> None:
        self._live.console.print(Text(message, style=style))

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 1))
        for running in list(self.tally.running.values()):
            spent = time.monotonic() - running.since
            table.add_row(
                Text(stage_name(running.spec)),
                ProgressBar(total=1.0, completed=running.fraction, width=20),
                _clock(spent),
                Text(running.note, style="dim"),
            )
        tally = self.tally
        bar = ProgressBar(total=max(1, tally.total), completed=tally.settled, width=40)
        return Group(Text(self.title, style="bold"), table, bar, Text(self.summary()))


def observer(title: str = "", cells: Mapping[str, Iterable[str]] | None = None) -> Observer:
    """The display that suits stderr: live on a terminal, else lines."""
    console = Console(stderr=True)
    return Display(console, title, cells) if console.is_terminal else Lines(title, cells)


def stage_name(spec: Spec) -> str:
    """A stage as people call it: "25% + 4bit: evaluate cloze"."""
    params = spec.get("params", {})
    what = " ".join(filter(None, (str(spec["kind"]), params.get("task"))))
    if part := params.get("part"):
        what += f", part {part[0] + 1} of {part[1]}"
    return f"{spec.get('label') or spec['key']}: {what}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
