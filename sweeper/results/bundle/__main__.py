"""`isorate verify` without Hydra: ``python -m isorate.start sweeper.results.bundle FILE...``."""

from __future__ import annotations

import sys
from pathlib import Path

from sweeper.errors import IsorateError
from sweeper.results.bundle.telling import text
from sweeper.results.bundle.verify import verify


def main(given: list[str] | None = None) -> int:
    """Check each bundle; 0 if all hold, 1 if one does not, 2 if one is no bundle."""
    paths = sys.argv[1:] if given is None else given
    if not paths:
        print("usage: python -m isorate.start sweeper.results.bundle FILE...", file=sys.stderr)
        return 2
    try:
        found = [(Path(one), verify(Path(one))) for one in paths]
    except IsorateError as refused:
        print(f"isorate: {refused}", file=sys.stderr)
        return 2
    print("\n\n".join(text(path, one) for path, one in found))
    return 0 if all(one.holds for _, one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
