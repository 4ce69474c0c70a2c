"""From what the store holds to what people look at: the report, MLflow, and a few lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import redaction
from sweeper.cli.request import Request
from sweeper.errors import IsorateError, several
from sweeper.planning.record import SweepRecord
from sweeper.results import cluster_status, formatting, provenance, questions, tables
from sweeper.results import outcomes as cell_outcomes
from sweeper.results.importers import scores
from sweeper.results.outcomes import CellOutcome
from sweeper.results.race import advance, telling
from sweeper.results.race.reported import with_race
from sweeper.store.progress import Headway

if TYPE_CHECKING:
    from analysis.data.results import Results
    from sweeper.planning.sweep import Sweep

MLFLOW = "http://127.0.0.1:5000"
"""Where `make mlflow` serves the runs of a home's own database."""
_UNDER_WAY = ("queued", "running")
"""A cell in a cluster's hands."""
ENDED = ("done", "failed")
"""A cell of which nothing more comes by itself."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A report, and what of it belongs on a terminal.

    Attributes:
        files: name of each file -> its path.
        verdicts: in words.
        table: every cell with its rate, its size and what it keeps, as text; "" without scores.
        answers: what to choose at equal TCr, and at equal size, as text.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    verdicts: Sequence[str] = ()
    table: str = ""
    answers: str = ""

    @property
    def text(self) -> str:
        """The table, then the answers."""
        return "\n\n".join(filter(None, [self.table, self.answers]))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A stage whose attempts ended for a reason outside the cell.

    Attributes:
        key: of the stage.
        stage: what people call it.
        reason: why.
        lasting: whether another run ends in the same way, until something is changed.
    """

    key: str
    stage: str
    reason: str
    lasting: bool


def conclude(request: Request, *, keys: Collection[str], ended: Sequence[Ended]) -> int:
    """Report and log a sweep, and say how the cells that were asked for fared.

    While a cluster works on them it only says so: the last job reports and logs.

    Args:
        request: the command.
        keys: the cells that were asked for.
        ended: stages whose attempts ended for reasons outside the cell.

    Returns:
        The exit status: 0 if all of these cells are done or in a cluster's hands, else 1.
    """
    record = request.sweep.load()
    outcomes = current(request, record, cluster_status.jobs(request.sweep.path))
    asked = [outcome for outcome in outcomes if outcome.key in keys]
    later = any(outcome.status in _UNDER_WAY for outcome in asked)
    scored = any(outcome.scores for outcome in outcomes) and not later
    written = report(request, outcomes) if scored else Written()
    race = advance.under_way(request.sweep)
    enabled = bool(request.config.tracking.enabled)
    tracked = {"enabled": enabled, "later": True} if later else sync(request, record)
    request.answer(
        {
            "name": request.sweep.name,
            "cells": [cell_state(outcome) for outcome in asked],
            "ended": {stage.key: stage.reason for stage in ended},
            "verdicts": list(written.verdicts),
            "report": {name: str(path) for name, path in written.files.items()},
            "tracking": tracked,
            **({"race": telling.document(race, asked)} if race else {}),
        },
        _text(asked, ended, written, tracked, telling.text(race, asked) if race else ""),
    )
    return 0 if all(outcome.status in ("done", *_UNDER_WAY) for outcome in asked) else 1


def current(
    request: Request, record: SweepRecord, jobs: cluster_status.Jobs | None
) -> list[CellOutcome]:
    """Every cell of a sweep: what the store holds, a cluster works on, and was imported."""
    outcomes = cluster_status.overlaid(cell_outcomes.collect(record, request.store), jobs)
    return cell_outcomes.joined(outcomes, scores.outcomes(request.sweep))


_IDLE_S = 60.0
"""A sweep without a cluster of which no stage is at work for so long is not being run."""
_EVERY_S = 5.0


class Watch:
    """Tells when nothing more will happen to a sweep by itself.

    That is so when every cell is done or has failed and no race goes on, or nothing is left that
    could work on the others: no job and no round of repair in a cluster's queue, no stage at work
    here.
    """

    def __init__(self, request: Request) -> None:
        self._request, self._quiet_since = request, time.monotonic()

    def over(self, outcomes: Sequence[CellOutcome], jobs: cluster_status.Jobs | None) -> bool:
        """Whether it is over; asked again and again, since a pause between stages is short."""
        race = advance.under_way(self._request.sweep)
        if all(outcome.status in ENDED for outcome in outcomes) and (race is None or race.over):
            return True
        if jobs is not None and jobs.known:
            return not jobs.to_come
        if jobs is not None or self._request.store.running():
            self._quiet_since = time.monotonic()
        return time.monotonic() - self._quiet_since > _IDLE_S

    def look(self) -> bool:
        """Whether it is over, as plan, store and cluster are now."""
        jobs = cluster_status.jobs(self._request.sweep.path)
        return self.over(current(self._request, self._request.sweep.load(), jobs), jobs)


def wait(request: Request) -> None:
    """Until nothing more happens to a sweep by itself; an interruption leaves its jobs alone."""
    watch = Watch(request)
    while cluster_status.jobs(request.sweep.path) is not None and not watch.look():
        time.sleep(_EVERY_S)


def report(request: Request, outcomes: Sequence[CellOutcome]) -> Written:
    """Write the sweep's report.

    Raises:
        IsorateError: the results cannot be reported, and why.
    """
    from analysis.data.results import BadResults

    try:
        results = with_race(tables.results(outcomes), request.sweep)
    except BadResults as refused:
        raise IsorateError(f"no report: {refused}") from refused
    sweep = request.sweep
    return write(
        results,
        sweep.report,
        sweep.name,
        provenance.of(sweep, outcomes),
        sweep=sweep,
        links=links(request),
    )


def links(request: Request) -> dict[str, str]:
    """Where a reader of the report finds the runs: MLflow's address, as far as one may be told."""
    if not request.config.tracking.enabled:
        return {}
    uri = str(request.config.tracking.uri or "")
    if uri.startswith(("http://", "https://")):
        return {"MLflow": redaction.redact(uri, uri)}
    return {"MLflow, after make mlflow": MLFLOW}


def write(
    results: Results,
    out: Path,
    title: str,
    origin: Mapping[str, Any],
    compare: Sequence[str] = (),
    *,
    sweep: Sweep | None = None,
    links: Mapping[str, str] | None = None,
) -> Written:
    """Write a report of any results; as `report`.

    Args:
        results: checked.
        out: the directory.
        title: of the page.
        origin: provenance.
        compare: two cells to be laid side by side.
        sweep: the recorded sweep that the results are of, whose questions are looked up.
        links: words -> address.
    """
    from analysis.comparison.disagreements import asked
    from analysis.data.panel import panels
    from analysis.data.results import BadResults
    from analysis.data.task_groups import pooled
    from analysis.output.render import printed
    from analysis.report.contents import conclusions, spoken
    from analysis.report.headline import headline_table
    from analysis.report.report import write_report

    try:
        whole = pooled(results)
        groups = panels(whole)
        found = questions.known(sweep, asked(groups)) if sweep and sweep.planned else {}
        files = write_report(
            results,
            out,
            title=title,
            provenance=origin,
            compare=compare,
            links=links,
            questions=found,
        )
        table = headline_table(groups)
        head = [column.title for column in table.columns]
        return Written(
            files=files,
            verdicts=conclusions(whole, groups),
            table=_headline(head, printed(table), table.notes) if len(table.rows) else "",
            answers=spoken(whole, groups),
        )
    except BadResults as refused:
        raise IsorateError(f"no report: {refused}") from refused


def _headline(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """The table of every cell as text, with what has to be known of it below."""
    return "\n\n".join((formatting.table(head, rows), *notes))


def sync(request: Request, record: SweepRecord, *, quiet: bool = False) -> dict[str, Any]:
    """Bring MLflow up to date; what was done, for people and scripts.

    Args:
        request: the command.
        record: the recorded plans of its sweep.
        quiet: a problem is not said in the log once more.
    """
    if not request.config.tracking.enabled:
        return {"enabled": False}
    from sweeper.results.mlflow import sync as syncs

    done = syncs.sync(
        record,
        request.store,
        home=request.home,
        uri=request.config.tracking.uri,
        report=request.sweep.report if request.sweep.report.is_dir() else None,
        imported=scores.outcomes(request.sweep),
        running=request.store.running(),
        quiet=quiet,
    )
    counts = {name: getattr(done, name) for name in ("created", "updated", "unchanged", "removed")}
    return {
        "enabled": True,
        "uri": done.uri,
        "view": done.view,
        "problem": done.problem,
        **counts,
    }


def cell_state(
    outcome: CellOutcome, running: Mapping[str, Headway] | None = None
) -> dict[str, Any]:
    """One cell's state as JSON data; ``running`` as `Store.running` tells it."""
    cell = outcome.cell
    status, reason = _status(outcome, running or {})
    return {
        "key": outcome.key,
        "model": cell["model"],
        "label": cell["label"],
        "tcr": cell["tcr"],
        "status": status,
        "reason": reason,
        "scores": {task: result["metrics"] for task, result in outcome.scores.items()},
        "stopped": [task for task, result in outcome.scores.items() if result.get("stopped")],
    }


def _status(outcome: CellOutcome, running: Mapping[str, Headway]) -> tuple[str, str]:
    """(state, why): a cell that lacks something is running if one of its stages is."""
    stages = outcome.at_work(running)
    if outcome.status == "missing" and stages:
        return "running", "; ".join(_how_far(s.name, running[s.key]) for s in stages)
    if outcome.status == "running" and (notes := [running[s.key].note for s in stages]):
        return outcome.status, "; ".join([outcome.reason, *filter(None, notes)])
    return outcome.status, outcome.reason


def _how_far(stage: str, said: Headway) -> str:
    """As "evaluate cloze on node7: 40/200 documents, 3.1/s, 95 tokens/s, 0:00:52 left"."""
    return f"{stage} on {said.host}" + (f": {said.note}" if said.note else "")


def states(
    outcomes: Sequence[CellOutcome],
    running: Mapping[str, Headway] | None = None,
    gpu_hours: Sequence[float] = (),
) -> str:
    """All cells with their states, as a table and a count; with GPU hours where any are given."""
    found = _once([_status(outcome, running or {}) for outcome in outcomes], outcomes)
    hours = [[f"{spent:.2f}"] for spent in gpu_hours] or [[] for _ in found]
    lines = [
        (o.cell["model"], o.cell["label"], state, *spent, why)
        for o, (state, why), spent in zip(outcomes, found, hours, strict=True)
    ]
    count = Counter(state for state, _ in found)
    total = ", ".join(f"{number} {state}" for state, number in count.items())
    columns = ["model", "cell", "state", *(["GPU hours"] if gpu_hours else []), "why"]
    return f"{formatting.table(columns, lines)}\n\n{total}"


_ENDED = {
    False: "Ended for a reason outside the cell; run again to go on:",
    True: "Ended by an error that another run would meet again; mend it, then run again:",
}


def _once(
    found: Sequence[tuple[str, str]], outcomes: Sequence[CellOutcome]
) -> list[tuple[str, str]]:
    """The same with each cause of a failure said in full once, of the first cell that has it."""
    first: dict[str, CellOutcome] = {}
    told = []
    for (state, why), outcome in zip(found, outcomes, strict=True):
        if state != "failed" or first.setdefault(why, outcome) is outcome:
            told.append((state, why))
        else:
            cell = first[why].cell
            model = "" if cell["model"] == outcome.cell["model"] else f"{cell['model']}: "
            told.append((state, f"as {model}{cell['label']}"))
    return told


def _text(
    asked: Sequence[CellOutcome],
    ended: Sequence[Ended],
    written: Written,
    tracked: Mapping[str, Any],
    race: str,
) -> str:
    lines = [states(asked)]
    for lasting, head in _ENDED.items():
        causes: dict[str, list[str]] = {}
        for each in ended:
            if each.lasting == lasting:
                causes.setdefault(each.reason, []).append(each.stage)
        if causes:
            lines += ["", head]
            lines += [f"  {several(whose, 3)}: {why}" for why, whose in sorted(causes.items())]
    if written.text:
        lines += ["", written.text]
    if race:
        lines += ["", race]
    if "report.html" in written.files:
        lines += ["", f"Report: {written.files['report.html']}"]
    if tracked.get("later"):
        lines += ["", "Reported and logged by the last job; before, by isorate report and sync"]
    elif tracked.get("problem"):
        lines += [f"MLflow: not up to date ({tracked['problem']}); isorate sync writes it later"]
    elif tracked["enabled"]:
        lines += [f"MLflow: {tracked['uri']}", f"        {_address(tracked['view'])}"]
    return "\n".join(lines)


def _address(view: str) -> str:
    """Where to look; a database has no server of its own, `make mlflow` starts one."""
    return f"make mlflow, then http://127.0.0.1:5000{view}" if view.startswith("/") else view
