"""Worker processes at work on a schedule: each stage's events become states and retries."""

from __future__ import annotations

import selectors
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launchers.base import Observer, StageOutcome, State
from launchers.local import devices
from launchers.local.process import Command, Event, WorkerProcess
from launchers.schedule import Schedule, Task
from sweeper.store.store import Spec
from sweeper.worker.runner import name

_GRACE_S = 10.0


@dataclass(kw_only=True)
class Seat:
    """A place for one worker, whose process may come and go.

    Attributes:
        number: from 1.
        gpu: the device it has for itself, if any.
        process: the worker that sits here now.
        task: what it does now.
        held: the checkpoint that it has loaded or written last.
    """

    number: int
    gpu: str | None = None
    process: WorkerProcess | None = None
    task: Task | None = None
    held: str = ""


class Pool:
    """Carries out a schedule with as many workers as there are seats."""

    def __init__(
        self,
        schedule: Schedule,
        command: Command,
        gpus: Sequence[str | None],
        *,
        observer: Observer,
        retries: int,
        on_done: Callable[[Spec], None],
    ) -> None:
        """One seat for each entry of ``gpus`` (None: a CPU worker)."""
        self._schedule, self._command, self._observer = schedule, command, observer
        self._retries, self._on_done = retries, on_done
        self._seats = [Seat(number=n, gpu=gpu) for n, gpu in enumerate(gpus, 1)]
        self._limit = len(self._seats)
        self._attempts: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._oom_kills = devices.oom_kills()
        self.outcomes: dict[str, StageOutcome] = {}

    def run(self) -> None:
        """Until every stage has an outcome. Sleeps while nothing happens."""
        while self._schedule.open:
            self._fill()
            for ready, _ in self._selector.select():
                self._hear(ready.data)

    def stop(self) -> None:
        """End all workers: idle ones leave, busy ones drop their unfinished stage."""
        processes = [seat.process for seat in self._seats if seat.process]
        for seat in self._seats:
            if seat.process:
                seat.process.interrupt() if seat.task else seat.process.dismiss()
        try:
            for process in processes:
                if process.wait(_GRACE_S) is None:
                    self._observer.say(f"worker process {process.pid} does not stop: killing it")
        finally:  # a second Ctrl-C ends the grace
            for process in processes:
                process.kill()
                process.close()
            self._selector.close()

    def give_up(self, spec: Spec, outcome: StageOutcome) -> None:
        """A stage will not come about, nor will what depends on it."""
        self._settle(spec, outcome)
        reason = f"its {spec['kind']} stage ({name(spec)[1]}) {outcome.state}: {outcome.reason}"
        for blocked in self._schedule.give_up(spec["key"]):
            self._settle(blocked, StageOutcome(state="blocked", reason=reason))

    def _settle(self, spec: Spec, outcome: StageOutcome) -> None:
        self.outcomes[spec["key"]] = outcome
        self._observer.ended(spec, outcome)

    # --- giving out work -----------------------------------------------------------

    def _fill(self) -> None:
        """Give every idle seat a stage, as long as there are some that could start."""
        for seat in self._seats:
            busy = sum(seat.task is not None for seat in self._seats)
            if seat.task is None and busy < self._limit:
                self._start(seat)

    def _start(self, seat: Seat) -> None:
        others = {s.task.makes if s.task else s.held for s in self._seats if s is not seat}
        task = self._schedule.take(seat.held, self._limit, others)
        if task is None:
            # Nothing is ready, but something will be: pay for the imports in the meantime.
            if seat.process is None and self._schedule.waiting:
                self._hire(seat)
            return
        if seat.process is None:
            self._hire(seat)
        assert seat.process is not None
        seat.task = task
        self._attempts[task.key] += 1
        seat.process.send(task)

    def _hire(self, seat: Seat) -> None:
        seat.process = WorkerProcess(self._command, seat.number, seat.gpu)
        self._selector.register(seat.process, selectors.EVENT_READ, seat)

    # --- hearing what became of it ---------------------------------------------------

    def _hear(self, seat: Seat) -> None:
        assert seat.process is not None
        events = seat.process.read()
        if events is None:
            self._mourn(seat)
            return
        for event in events:
            self._handle(seat, event)

    def _handle(self, seat: Seat, event: Event) -> None:
        assert seat.task is not None
        assert seat.process is not None
        task = seat.task
        match event["event"]:
            case "started":
                self._observer.started(task.spec, f"worker {seat.number}")
            case "progress":
                self._observer.progress(task.spec, event["fraction"], event["note"])
            case "warning":
                self._observer.say(f"{' '.join(name(task.spec))}: {event['message']}")
            case "done":
                seat.task, seat.held = None, task.makes
                self._schedule.finish(task.key)
                self._settle(task.spec, _outcome("done", event))
                self._on_done(task.spec)
            case "failed":
                seat.task, seat.held = None, ""
                self.give_up(task.spec, _outcome("failed", event))
            case "attempt_ended":
                seat.task, seat.held = None, ""
                if event["error"] in ("MemoryError", "OutOfMemoryError"):
                    self._spare_memory()
                self._ended(task, _outcome("ended", event), again=event["again"])

    def _ended(self, task: Task, outcome: StageOutcome, *, again: bool) -> None:
        """An attempt did not commit for a reason outside the cell."""
        left = self._retries + 1 - self._attempts[task.key]
        if again and left > 0:
            stage = " ".join(name(task.spec))
            self._observer.say(f"{stage}: {outcome.reason}. Trying again ({left} attempts left)")
            self._schedule.again(task.key)
            return
        self.give_up(task.spec, outcome)

    def _mourn(self, seat: Seat) -> None:
        """A worker's stream closed: it is dead. Its seat is taken anew when there is work."""
        process, task = seat.process, seat.task
        assert process is not None
        self._selector.unregister(process)
        status = process.wait(_GRACE_S)
        process.kill()
        process.close()
        seat.process, seat.task, seat.held = None, None, ""
        if task is not None:
            outcome = StageOutcome(state="ended", reason=self._cause(status, seat))
            self._ended(task, outcome, again=True)

    def _cause(self, status: int | None, seat: Seat) -> str:
        if status is None or status >= 0:
            log = self._command.logs / f"worker-{seat.number}.log"
            return f"its worker left with status {status}: see {log}"
        known = f"its worker was killed by signal {-status} ({signal.Signals(-status).name})"
        if -status != signal.SIGKILL:
            return known
        if devices.oom_kills() == self._oom_kills:
            return f"{known}: out of memory?"
        self._oom_kills = devices.oom_kills()
        self._spare_memory()
        return f"{known}: the system ran out of memory"

    def _spare_memory(self) -> None:
        """The stages that run at once do not fit: run one fewer from now on."""
        if self._limit > 1:
            self._limit -= 1
            self._observer.say(f"memory is short: going on with {self._limit} worker(s) at a time")


def _outcome(state: State, event: Event) -> StageOutcome:
    return StageOutcome(
        state=state,
        reason=event.get("message", ""),
        lasting=event.get("lasting", False),
        seconds=event["seconds"],
        cpu_seconds=event["cpu_seconds"],
    )
