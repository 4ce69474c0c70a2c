"""``python -m sweeper.results.bundle FILE...``: `isorate verify` without the command line."""

from __future__ import annotations

import sys
from pathlib import Path

from sweeper.errors import IsorateError
from sweeper.results.bundle.telling import text
from sweeper.results.bundle.verify import verify


def main(paths: list[str]) -> int:
    """Check each bundle; 0 if all hold, 1 if one does not, 2 if one is no bundle."""
    if not paths:
        print("usage: python -m sweeper.results.bundle FILE...", file=sys.stderr)
        return 2
    try:
        found = [(Path(one), verify(Path(one))) for one in paths]
    except IsorateError as refused:
        print(f"isorate: {refused}", file=sys.stderr)
        return 2
    print("\n\n".join(text(path, one) for path, one in found))
    return 0 if all(one.holds for _, one in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
