"""The verbs: one module each, with one function ``perform(request) -> exit status``."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from sweeper.errors import BadInput, IsorateError, one_of
from sweeper.misconfigured import explain
from sweeper.redact import Formatter, redact

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from omegaconf import DictConfig

    from sweeper.cost import Cost
    from sweeper.pins import Pins
    from sweeper.plan import Plan
    from sweeper.store import Store
    from sweeper.sweep import Sweep

VERBS: Mapping[str, str] = {
    "run": "plan the grid, carry it out, log it and report; run again to resume",
    "plan": "cells, what was left out and why, stages, cost and disk; touches nothing",
    "status": "every cell: done, running, failed (with the reason) or missing",
    "prefetch": "fetch and pin what the plan needs from the hub, for nodes without a network",
    "report": "tables, figures and verdicts from what is done",
    "reproduce": "the tables and figures of arXiv:2505.07289; source=published needs no run",
    "import": "lm-eval's scores, checkpoints, MLflow runs from elsewhere: cell='4bit' path=DIR",
    "sync": "replay the store into MLflow; changes nothing the second time",
    "retry": "forget the failures of a sweep and run it again",
    "logs": "what the stages of one cell printed: cell='25% + 4bit'",
    "export": "a cell's checkpoint for transformers and vLLM: cell=4bit to=./exported",
    "gc": "show what dead attempts left and checkpoints nobody needs; yes=true deletes",
    "work": "take ready stages of a sweep, one after the other, on any machine that has its home",
    "cancel": "stop what is queued or running of a sweep on a cluster; run goes on",
    "list": "the sweeps of this home",
}


class Exit(SystemExit):
    """The verb ended with this exit status."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One command.

    Attributes:
        config: the configuration that Hydra composed, without swept values.
        loader: composes further configurations.
        launcher: Hydra's launcher plugin, chosen by ``hydra/launcher``.
        arguments: the overrides: the experiment's axes, then the command line's.
    """

    config: DictConfig
    loader: ConfigLoaderImpl
    launcher: Any
    arguments: list[str]

    @cached_property
    def home(self) -> Path:
        """The directory of everything."""
        return Path(self.config.home).expanduser().absolute()

    @cached_property
    def store(self) -> Store:
        """The outputs of stages."""
        from sweeper.store import Store

        return Store(self.home)

    @cached_property
    def sweep(self) -> Sweep:
        """The sweep that is meant, by name."""
        from sweeper.sweep import Sweep

        return Sweep(self.home, self.config.name or self.config.model.name.split("/")[-1])

    @cached_property
    def plan(self) -> Plan:
        """The plan that the grid means now."""
        from sweeper.planning import plan

        with _no_garbage_yet():
            known = self.sweep.elsewhere
            return plan(self.config, self.loader, self.arguments, self.pins, known)

    @cached_property
    def pins(self) -> Pins:
        """The revisions that `isorate prefetch` recorded with the sweep."""
        from sweeper.pins import read

        return read(self.sweep.path)

    @cached_property
    def todo(self) -> Plan:
        """The plan without the cells whose scores were imported."""
        from sweeper.imported import remaining

        return remaining(self.plan, self.sweep)

    @cached_property
    def cost(self) -> Cost:
        """What carrying out the plan costs from here on."""
        from sweeper.cost import cost

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

    @property
    def as_json(self) -> bool:
        """Whether stdout is one JSON document."""
        return bool(self.config.output == "json")

    def answer(self, document: Mapping[str, Any], text: str) -> None:
        """Print the outcome on stdout, as JSON or as text."""
        if self.as_json:
            json.dump(document, sys.stdout, indent=1, allow_nan=False)
            print()
        else:
            print(text.rstrip())


@contextmanager
def _no_garbage_yet() -> Iterator[None]:
    """A plan is a large graph that stays: looking for garbage in it costs a third of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def perform(request: Request) -> NoReturn:
    """Carry out the verb of a request and end the process with its exit status."""
    # Hydra was made to raise (see cli.py); what runs from here on is ours.
    os.environ.pop("HYDRA_FULL_ERROR", None)
    _log_to_stderr()
    try:
        _check(request)
        module = importlib.import_module(f"sweeper.actions.{request.config.action}")
        status: int = module.perform(request)
    except IsorateError as error:
        print(redact(f"isorate: {error}"), file=sys.stderr)
        status = 2
    except (HydraException, OmegaConfBaseException) as error:
        print(redact(f"isorate: {explain(error)}"), file=sys.stderr)
        status = 2
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # nobody reads any more
        status = 0
    except OSError as error:
        print(redact(f"isorate: {error} (home={request.home})"), file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("isorate: interrupted; run again to go on.", file=sys.stderr)
        status = 130
    raise Exit(status)


def _log_to_stderr() -> None:
    """Messages of the front end, one plain line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter("isorate: %(message)s"))
    ours = [logging.getLogger(name) for name in ("isorate", "sweeper", "launchers", "analysis")]
    for logger in ours:
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _check(request: Request) -> None:
    config = request.config
    for key, valid in (
        ("action", list(VERBS)),
        ("output", ["text", "json"]),
        ("checkpoints", ["keep", "pruned", "drop"]),
    ):
        if config[key] not in valid:
            raise BadInput(key, config[key], one_of(valid) + ".")
