"""What a verb of the command line is given, and how it answers."""

from __future__ import annotations

import gc
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TextIO

from omegaconf import OmegaConf

from sweeper.errors import BadInput

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sweeper.config.hydra_internals import ConfigLoaderImpl
    from sweeper.inputs.pins import Pins
    from sweeper.planning.estimate.cost import Cost
    from sweeper.planning.plan import Plan
    from sweeper.planning.sweep import Sweep
    from sweeper.results.sources import Reading
    from sweeper.store.store import Store


log = logging.getLogger(__name__)

_ABOUT_THE_LATEST = ("status", "results", "report", "sync", "logs")
"""Verbs that change no results: without a name they take the sweep that was planned last."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One command.

    Attributes:
        config: the configuration that Hydra composed, without swept values.
        loader: composes further configurations.
        launcher: Hydra's launcher plugin, chosen by ``hydra/launcher``.
        arguments: the overrides: the experiment's axes, then the command line's.
        out: takes the answer.
    """

    config: DictConfig
    loader: ConfigLoaderImpl
    launcher: Any
    arguments: list[str]
    out: TextIO = field(default_factory=lambda: sys.stdout)

    @cached_property
    def home(self) -> Path:
        """The directory of everything."""
        return Path(self.config.home).expanduser().absolute()

    @cached_property
    def store(self) -> Store:
        """The outputs of stages."""
        from sweeper.store.store import Store

        return Store(self.home)

    @cached_property
    def sweep(self) -> Sweep:
        """The sweep that is meant: by name, else the latest, else as the model is called."""
        from sweeper.planning.sweep import Sweep, latest

        asked = any(word.startswith(("model", "experiment")) for word in self.arguments)
        if self.config.action in _ABOUT_THE_LATEST and not self.config.name and not asked:
            found = latest(self.home)
            if found is not None:
                log.info("%s, the sweep that was planned last", found.name)
                return found
        return Sweep(self.home, self.config.name or self._model())

    def _model(self) -> str:
        """The name of the only model, as a sweep can have it.

        Raises:
            BadInput: there are several.
        """
        if OmegaConf.is_missing(self.config.model, "id") and self._sweeps("model.id"):
            raise BadInput(
                "name",
                "null",
                "several models are swept, so the sweep needs a name of its own.",
                "Add name=NAME.",
            )
        last = PurePosixPath(self.config.model.name).name  # also of DIR/
        return re.sub(r"[^A-Za-z0-9._+-]+", "-", last).strip("-.")[:100] or "model"

    def _sweeps(self, key: str) -> bool:
        return any(argument.startswith(f"{key}=") for argument in self.arguments)

    @cached_property
    def plan(self) -> Plan:
        """The plan that the grid means now."""
        from sweeper.planning.builder import plan

        with _no_garbage_yet():
            known = self.sweep.elsewhere
            return plan(self.config, self.loader, self.arguments, self.pins, known)

    @cached_property
    def pins(self) -> Pins:
        """The revisions that `isorate prefetch` recorded with the sweep."""
        from sweeper.inputs.pins import read

        return read(self.sweep.path)

    @cached_property
    def todo(self) -> Plan:
        """The plan without the cells whose scores were imported."""
        from sweeper.results.importers.scores import remaining

        return remaining(self.plan, self.sweep)

    @cached_property
    def cost(self) -> Cost:
        """What carrying out the plan costs from here on."""
        from sweeper.planning.estimate.cost import cost

        plan = self.todo
        seats = self.launcher.seats(len(plan.stages))
        with _no_garbage_yet():
            return cost(
                plan,
                self.store,
                device="cpu" if seats[0] is None else "cuda",
                workers=len(seats),
                keep="keep" if self.launcher.drops_at_end else self.config.checkpoints,
            )

    def read(self) -> Reading:
        """The results that ``source`` and ``sweeps`` name, see `sweeper.results.sources.read`."""
        from sweeper.results import sources

        return sources.read(
            self.config.source,
            self.sweep,
            self.store,
            joined=list(self.config.sweeps),
            name=self.config.name,
            tracking_uri=self.config.tracking.uri,
            bundles=list(self.config.bundles),
        )

    @property
    def as_json(self) -> bool:
        """Whether stdout is one JSON document."""
        return bool(self.config.output == "json")

    def answer(self, document: Mapping[str, Any], text: str) -> None:
        """Print the outcome on stdout, as JSON or as text."""
        if self.as_json:
            json.dump(document, self.out, indent=1, allow_nan=False)
            print(file=self.out, flush=True)
        else:
            print(text.rstrip(), file=self.out, flush=True)


@contextmanager
def _no_garbage_yet() -> Iterator[None]:
    """A plan is a large graph that stays: looking for garbage in it costs a third of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
