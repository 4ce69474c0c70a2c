"""``python -P -m isorate.start MODULE [ARGUMENT ...]``: a program of ours, with our packages.

The module is imported and its ``main()`` called; it does not become ``__main__``, since a process
that multiprocessing spawns imports that first and needs the same packages.
"""

from __future__ import annotations

import importlib
import sys

from isorate import pinning

pinning.pin()


def main() -> None:
    """Run what the first argument names; a package means its ``__main__``."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -P -m isorate.start MODULE [ARGUMENT ...]")
    module = importlib.import_module(sys.argv[1])
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{sys.argv[1]}.__main__")
    sys.argv[:2] = [str(module.__file__)]
    sys.exit(module.main())


if __name__ == "__main__":
    main()
