"""Which stage next: a pure model of a plan under way, without processes, clocks or disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

from sweeper.store.store import Spec

_LAST = 4.0
"""The end of a sweep: that many times its longest chain is left for each worker."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A stage that has to run.

    Attributes:
        spec: the stage.
        bulk: run even though its result is there, because its dropped bulk is needed.
        chain_s: seconds from its start to the end of the longest chain that begins with it.
        depth: how many stages lie between it and what is outside the store.
        loads: the checkpoint it reads: key of a parent, else the name of its source.
        makes: the checkpoint a worker holds after it: its own output if others read that,
            else what it has read.
    """

    spec: Spec
    bulk: bool
    chain_s: float
    depth: int
    loads: str
    makes: str

    @property
    def key(self) -> str:
        """The key of the stage."""
        return str(self.spec["key"])

    @property
    def estimate_s(self) -> float:
        """Seconds it is expected to take."""
        return estimate(self.spec)


def estimate(spec: Spec) -> float:
    """Seconds a stage is expected to take; 1 where the plan does not say."""
    return float(spec.get("estimate_s") or 1.0)


def missing(
    stages: Iterable[Spec],
    present: Callable[[Spec, bool], bool],
) -> dict[str, bool]:
    """What has to run for ``stages`` to be done: key -> whether for its bulk alone.

    Args:
        stages: the stages wanted.
        present: whether the output of a stage is there (second argument: with its bulk).

    A parent matters only to a stage that has to run, and then with its bulk.
    """
    needed: dict[str, bool] = {}
    seen: set[tuple[str, bool]] = set()
    queue = [(spec, False) for spec in stages]
    while queue:
        spec, bulk = queue.pop()
        key = spec["key"]
        if (key, bulk) in seen:
            continue
        seen.add((key, bulk))
        if present(spec, bulk):
            continue
        needed[key] = bulk or needed.get(key, False)
        queue += [(parent, True) for parent in spec.get("parents", {}).values()]
    return needed


def closure(stages: Iterable[Spec]) -> dict[str, Spec]:
    """All stages and their embedded ancestors, each once, parents before children."""
    found: dict[str, Spec] = {}
    for spec in stages:
        if spec["key"] not in found:
            found.update(closure(spec.get("parents", {}).values()))
            found[spec["key"]] = spec
    return found


class Schedule:
    """The stages that have to run, which are ready, and what each result sets free."""

    def __init__(self, specs: Mapping[str, Spec], needed: Mapping[str, bool]) -> None:
        """``specs`` in the order of `closure`; ``needed`` as `missing` tells."""
        self._parents = {
            key: {p["key"] for p in specs[key].get("parents", {}).values()} & set(needed)
            for key in specs
            if key in needed
        }
        self._children: dict[str, set[str]] = defaultdict(set)
        for key, parents in self._parents.items():
            for parent in parents:
                self._children[parent].add(key)
        self.tasks: dict[str, Task] = {}
        for key in reversed(list(self._parents)):
            self.tasks[key] = self._task(specs[key], bulk=needed[key])
        self._open = set(self.tasks)
        self._unstarted_s = sum(task.estimate_s for task in self.tasks.values())
        self._ready = {key for key, parents in self._parents.items() if not parents}
        self._running: set[str] = set()

    def _task(self, spec: Spec, *, bulk: bool) -> Task:
        after = max((self.tasks[c].chain_s for c in self._children[spec["key"]]), default=0.0)
        loads = _loaded(spec)
        return Task(
            spec=spec,
            bulk=bulk,
            chain_s=estimate(spec) + after,
            depth=_depth(spec),
            loads=loads,
            makes=spec["key"] if self._children[spec["key"]] else loads,
        )

    @property
    def open(self) -> frozenset[str]:
        """Keys that are neither finished nor given up."""
        return frozenset(self._open)

    @property
    def waiting(self) -> int:
        """How many stages are neither finished, given up nor running."""
        return len(self._open) - len(self._running)

    @property
    def ready(self) -> list[Task]:
        """What could start now, in no particular order."""
        return [self.tasks[key] for key in self._ready]

    def take(self, held: str, workers: int, others: Set[str] = frozenset()) -> Task | None:
        """The task that a worker should start now.

        Args:
            held: the checkpoint that it has loaded or written last.
            workers: how many there are.
            others: the checkpoints that the other workers hold.

        The longest chain first, with one exception: if that chain can wait without making
        the whole longer (the unstarted work keeps all workers busy at least as long), the
        worker goes on with the checkpoint it holds, or else with the deepest task that
        continues nobody else's, so that it begins no new tree of checkpoints while an old
        one can be finished. So models are loaded once, and few lie on the disk at a time.
        """
        ready = self.ready
        if not ready:
            return None
        chosen = min(ready, key=_longest_first)
        near = min(
            ready,
            key=lambda t: (t.loads != held, t.loads in others, -t.depth, *_longest_first(t)),
        )
        if self._can_wait(chosen, near, workers):
            chosen = near
        self.start(chosen.key)
        return chosen

    def ranked(self, held: str, workers: int) -> list[Task]:
        """All that could start now, in the order in which `take` would choose among them.

        Args:
            held: the checkpoint that this worker has loaded or written last.
            workers: how many there are.
        """
        longest = sorted(self.ready, key=_longest_first)
        near = sorted(longest, key=lambda task: (task.loads != held, -task.depth))
        if not longest or not self._can_wait(longest[0], near[0], workers):
            return longest
        # Towards the end short stages are kept back: they fill what the last long ones leave.
        left = self._unstarted_s / workers
        short = near[0].estimate_s < longest[0].estimate_s / 2
        return longest if short and left < _LAST * longest[0].chain_s else near

    def start(self, key: str) -> None:
        """A ready task begins, here or in another process."""
        self._ready.remove(key)
        self._running.add(key)
        self._unstarted_s -= self.tasks[key].estimate_s

    def below(self, key: str) -> set[str]:
        """Open tasks that rest on this one, at any depth."""
        found: set[str] = set()
        queue = [key]
        while queue:
            for child in self._children[queue.pop()] & self._open - found:
                found.add(child)
                queue.append(child)
        return found

    def _can_wait(self, longest: Task, instead: Task, workers: int) -> bool:
        return instead.estimate_s + longest.chain_s <= self._unstarted_s / workers

    def finish(self, key: str) -> None:
        """A running task is done: its children may become ready."""
        self._running.remove(key)
        self._open.remove(key)
        for child in self._children[key]:
            self._parents[child].discard(key)
            if child in self._open and not self._parents[child]:
                self._ready.add(child)

    def again(self, key: str) -> None:
        """A running task's attempt ended: it is ready once more."""
        self._running.remove(key)
        self._ready.add(key)
        self._unstarted_s += self.tasks[key].estimate_s

    def give_up(self, key: str) -> list[Spec]:
        """A task will not come about: it and its open descendants leave the schedule.

        Returns:
            The descendants, nearest first.
        """
        if key not in self._running:
            self._unstarted_s -= self.tasks[key].estimate_s
        self._running.discard(key)
        self._ready.discard(key)
        self._open.remove(key)
        blocked: list[Spec] = []
        for child in sorted(self._children[key]):
            if child in self._open:
                blocked += [self.tasks[child].spec, *self.give_up(child)]
        return blocked


def _longest_first(task: Task) -> tuple[float, str]:
    return (-task.chain_s, task.key)


def _depth(spec: Spec) -> int:
    return max((1 + _depth(parent) for parent in spec.get("parents", {}).values()), default=0)


def _loaded(spec: Spec) -> str:
    parents: Mapping[str, Spec] = spec.get("parents", {})
    sources: Mapping[str, str] = spec.get("sources", {})
    if "model" in parents:
        return str(parents["model"]["key"])
    if "model" in sources:
        return str(sources["model"])
    return next((str(p["key"]) for p in parents.values()), "")
