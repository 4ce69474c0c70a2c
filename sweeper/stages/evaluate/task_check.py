"""Loads a task as an evaluation does and lets it score one made-up answer."""

from __future__ import annotations

from pathlib import Path

from sweeper.inputs import datasets
from sweeper.stages.evaluate import perplexity
from sweeper.stages.evaluate import task as tasks

ANSWER = "the answer is 1"


def load(name: str, folder: Path | None, checkpoint: Path, find: datasets.Find) -> dict[str, str]:
    """Hub id -> commit of every data set that the task loads.

    The answer is scored because some tasks fetch what their metrics need only then.

    Args:
        name: the task.
        folder: where its file is, None for one of lm-eval's own.
        checkpoint: told to the few tasks whose data depend on the tokenizer.
        find: which commit of a data set to take.

    Raises:
        StageFailure: there is no such task, or it needs what evaluations cannot do.
    """
    windows = perplexity.find(name, folder)
    with datasets.pinned(find) as loads:
        if windows is not None:
            perplexity.text(windows)
            return loads.seen
        task = tasks.load_task(name, folder, checkpoint)
        if task.OUTPUT_TYPE == "generate_until":
            scored = task.process_results(next(iter(task.eval_docs)), [ANSWER])
            for metric, item in scored.items():
                if metric in task.aggregation():
                    task.aggregation()[metric]([item])
    return loads.seen
