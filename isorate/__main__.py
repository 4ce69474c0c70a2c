"""The console command: ``isorate``, or ``python -P -m isorate``."""

from __future__ import annotations

from isorate import pinning

pinning.pin()


def main() -> None:
    """Entry point of the console command; see `sweeper.cli.main`."""
    from sweeper.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
