"""The verbs: one module each, with one function ``perform(request) -> exit status``."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from sweeper.cli import standard_output
from sweeper.cli.config_errors import explain
from sweeper.cli.request import Request
from sweeper.errors import BadInput, IsorateError, one_of
from sweeper.redaction import Formatter, redact

VERBS: Mapping[str, str] = {
    "run": "plan the grid, carry it out, log it and report; run again to resume",
    "plan": "cells, what was left out and why, stages, cost and disk; touches nothing",
    "status": "every cell: done, running, failed (with the reason) or missing",
    "prefetch": "fetch and pin what the plan needs from the hub, for nodes without a network",
    "results": "every cell's rate, real size, Sr and scores, for programs with output=json",
    "report": "tables, figures and verdicts from what is done",
    "reproduce": "the tables and figures of arXiv:2505.07289; source=published needs no run",
    "bundle": "a finished sweep as one file that anyone can check: isorate bundle NAME",
    "verify": "every score, table and verdict of a bundle from its records: isorate verify FILE",
    "import": "lm-eval's scores, checkpoints, MLflow runs from elsewhere: cell='4bit' path=DIR",
    "sync": "replay the store into MLflow; changes nothing the second time",
    "retry": "forget the failures of a sweep and run it again",
    "logs": "what the stages of one cell printed: cell='25% + 4bit'",
    "export": "a cell's checkpoint for transformers and vLLM: cell=4bit to=./exported",
    "gc": "show what dead attempts left and checkpoints nobody needs; yes=true deletes",
    "work": "take ready stages of a sweep, one after the other, on any machine that has its home",
    "cancel": "stop what is queued or running of a sweep on a cluster; run goes on",
    "forget": "the plans of a sweep; plan=... yes=true takes one back, outputs stay",
    "list": "the sweeps of this home",
}

NAMED = (
    "status",
    "results",
    "report",
    "bundle",
    "sync",
    "logs",
    "work",
    "retry",
    "cancel",
    "export",
    "forget",
)
"""Verbs about a recorded sweep, which may be given by its bare name: `isorate status demo`."""

_MODULES = {verb: verb for verb in VERBS} | {"import": "import_results"}
"""Verb -> its module here; ``import`` is no name of Python's."""


def overview() -> str:
    """Every verb and what it does, a line each, for the help."""
    width = max(map(len, VERBS)) + 2
    return "\n".join(f"  {verb:{width}}{does}" for verb, does in VERBS.items())


class Exit(SystemExit):
    """The verb ended with this exit status."""


def perform(request: Request) -> NoReturn:
    """Carry out the verb of a request and end the process with its exit status."""
    # Hydra was made to raise (see sweeper.cli.main); what runs from here on is ours.
    os.environ.pop("HYDRA_FULL_ERROR", None)
    _log_to_stderr()
    try:
        _check(request)
        module = importlib.import_module(f"{__name__}.{_MODULES[request.config.action]}")
        with standard_output.reserved() as out:
            status: int = module.perform(replace(request, out=out))
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
