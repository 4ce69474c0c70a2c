"""The functions of `isorate`: each is one command of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isorate import answers
from isorate.answers import Plan, Report, Run
from isorate.command import Refused, answer
from isorate.overrides import quoted

if TYPE_CHECKING:
    import pandas as pd

Value = str | int | float | bool | None | Path
Grid = Mapping[str, Value | Sequence[Value]]
"""Key -> value; a list is an axis of the grid, as ``{"quant.bits": [16, 4]}``."""

_PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z_][a-z0-9_.-]*", re.IGNORECASE)


def plan(
    *overrides: str,
    grid: Grid | None = None,
    name: str | None = None,
    home: str | Path | None = None,
) -> Plan:
    """What a grid means and costs; touches nothing.

    Args:
        overrides: as on the command line: ``"experiment=demo"``, ``"quant.bits=16,4"``.
        grid: the same as values of Python.
        name: of the sweep. Alone it means what was recorded under it; without one the sweep is
            named after experiment or model.
        home: the directory of everything; ``$ISORATE_HOME``, else ``outputs``, if None.

    Raises:
        Refused: a value that cannot mean anything.
        CommandFailed: the command ended without an answer.
    """
    return answers.plan(answer("plan", [*overrides, *_words(grid), *_about(name, home)]))


def run(
    *overrides: str,
    grid: Grid | None = None,
    name: str | None = None,
    home: str | Path | None = None,
) -> Run:
    """Carry out a plan, log it to MLflow and report; again: goes on where it was.

    On a cluster (``"hydra/launcher=slurm"``) it submits and is back at once; ``"wait=true"``
    waits for the sweep. Arguments and errors are those of `plan`. A cell that failed is no
    error: `Run.cells` has the reason.
    """
    return answers.run(answer("run", [*overrides, *_words(grid), *_about(name, home)], live=True))


def results(name: str | None = None, *, home: str | Path | None = None) -> pd.DataFrame:
    """Every cell's numbers, one row a cell, by model, TCr and Sr.

    Columns: ``cell`` (the label), ``model``, ``status``, ``reason``, ``kind``, ``prune``,
    ``pattern``, ``sparsity`` (%), ``quant``, ``bits``, ``mask``, ``seed``, ``tcr`` (%), ``size_mb``
    (10^6 bytes on disk), ``bits_per_weight`` (with mask and scales), ``mask_kept`` (% of the
    pruned weights that are still 0, in the worst matrix), ``sr`` (Sr2 of arXiv:2505.07289),
    ``sr1``, ``srcr_p``, ``srcr_q``, ``srcr_j``, ``collapsed``, ``unproved``, ``why_no_sr`` and
    ``key``; for every task ``score/<task>`` and ``kept/<task>`` (share of the dense model's score).
    ``*_stderr`` is one standard error. What is not known is NaN.

    Args:
        name: of the sweep; the one that was planned last if None.
        home: as for `plan`.

    Raises:
        Refused: no such sweep.
        CommandFailed: the command ended without an answer.
    """
    import pandas as pd

    frame = pd.DataFrame(answer("results", _about(name, home))["cells"])
    unknown = [column for column in frame if frame[column].isna().all()]
    return frame.astype(dict.fromkeys(unknown, float))


def report(
    name: str | None = None,
    *,
    home: str | Path | None = None,
    compare: Sequence[str] = (),
) -> Report:
    """Write tables, figures and the page of a sweep.

    Args:
        name: of the sweep; the one that was planned last if None.
        home: as for `plan`.
        compare: the labels of two cells to lay side by side, document by document.

    Raises:
        Refused: no such sweep or cell, or nothing to report.
        CommandFailed: the command ended without an answer.
    """
    pair = [f"compare=[{','.join(map(quoted, compare))}]"] if compare else []
    return answers.report(answer("report", [*_about(name, home), *pair]))


def _about(name: str | None, home: str | Path | None) -> list[str]:
    given = {"name": name, "home": home}
    return [f"{key}={_text(value)}" for key, value in given.items() if value is not None]


def _words(grid: Grid | None) -> Iterator[str]:
    for key, value in (grid or {}).items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            if not value:
                raise Refused(f"grid[{key!r}] is empty: an axis has one value or more.")
            yield f"{key}={','.join(map(_text, value))}"
        else:
            yield f"{key}={_text(value)}"


def _text(value: Value) -> str:
    """A value in the grammar of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return text if _PLAIN.fullmatch(text) else quoted(text)
