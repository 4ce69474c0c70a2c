"""The process of a SLURM job: submitit's own, which leaves as soon as its result is written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sweeper.worker import fast_exit


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Imports of a module fail meanwhile; what had it before keeps it."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]  # what Python's import takes as absent
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before


# submitit loads numpy for the sake of pickles that hold arrays. Ours hold keys and paths, and a
# third of the CPU seconds before the first stage were numpy's.
with _without("numpy"):
    from submitit.core.submission import submitit_main


def main() -> None:
    """Run the job whose folder is the only argument; see `submitit.core._submit`."""
    fast_exit.at_once()
    fast_exit.with_status(1)
    try:
        submitit_main()
    except SystemExit as requeued:
        fast_exit.with_status(requeued.code if isinstance(requeued.code, int) else 1)
        raise
    fast_exit.with_status(0)


if __name__ == "__main__":
    main()
