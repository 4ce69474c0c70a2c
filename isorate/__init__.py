"""Which mix of pruning and quantization keeps the most of a model: from a notebook or a script.

As in::

    import isorate

    isorate.plan("experiment=demo")            # touches nothing
    isorate.run("experiment=demo")             # carries it out; again: goes on where it was
    cells = isorate.results("demo")            # a pandas DataFrame, one row a cell
    isorate.report("demo").verdicts

Each call is one command of the command line in a process of its own, so it means what it means
there, leaves no state behind, and no package of the caller is in its way. Arguments are the
command line's: ``isorate --help`` and docs/configuration.md list them.
"""

from isorate.answers import CellState, Plan, PlannedCell, Report, Run
from isorate.api import plan, report, results, run
from isorate.command import CommandFailed, Refused

__all__ = [
    "CellState",
    "CommandFailed",
    "Plan",
    "PlannedCell",
    "Refused",
    "Report",
    "Run",
    "plan",
    "report",
    "results",
    "run",
]
