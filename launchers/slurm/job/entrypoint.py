"""The process of a SLURM job: submitit's own, which leaves as soon as its result is written."""

from __future__ import annotations

from submitit.core.submission import submitit_main

from sweeper.worker import fast_exit


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
