"""The process of a SLURM job: submitit's own, which leaves as soon as its result is written."""

from __future__ import annotations

from submitit.core.submission import submitit_main

from sweeper import leaving


def main() -> None:
    """Run the job whose folder is the only argument; see `submitit.core._submit`."""
    leaving.at_once()
    leaving.with_status(1)
    try:
        submitit_main()
    except SystemExit as requeued:
        leaving.with_status(requeued.code if isinstance(requeued.code, int) else 1)
        raise
    leaving.with_status(0)


if __name__ == "__main__":
    main()
