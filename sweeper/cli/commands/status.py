"""``isorate status``: what became of every cell of a recorded sweep."""

from __future__ import annotations

import time

from sweeper.cli import reporting
from sweeper.cli.request import Request
from sweeper.results import cluster_status
from sweeper.results.race import advance, telling

_EVERY_S = 5.0


def perform(request: Request) -> int:
    """Print the state of every cell, and of a race; 0 if all are done and it is over, else 1."""
    watch = reporting.Watch(request)
    while True:
        table = cluster_status.jobs(request.sweep.path)
        outcomes = reporting.current(request, request.sweep.load(), table)
        spent = [cluster_status.cell_document(outcome, table) for outcome in outcomes]
        running = request.store.running()
        document = {
            "name": request.sweep.name,
            "cells": [
                reporting.cell_state(outcome, running) | own
                for outcome, own in zip(outcomes, spent, strict=True)
            ],
            "cluster": cluster_status.document(table),
        }
        race = advance.under_way(request.sweep)
        if race is not None:
            document["race"] = telling.document(race, outcomes)
        if request.config.watch and not request.as_json:
            print("\033[2J\033[H", end="", file=request.out)
        hours = [own["gpu_hours"] for own in spent if own]
        text = f"{reporting.states(outcomes, running, hours)}\n{cluster_status.footer(table)}"
        if race is not None:
            text = f"{text.rstrip()}\n\n{telling.text(race, outcomes)}"
        request.answer(document, text)
        if not request.config.watch or watch.over(outcomes, table):
            whole = all(outcome.status == "done" for outcome in outcomes)
            return 0 if whole and (race is None or race.over) else 1
        time.sleep(_EVERY_S)
