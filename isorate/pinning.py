"""Which `sweeper`, `launchers`, `analysis` and `conf` a process imports: this installation's own.

In a checkout they lie beside this package, in an installed wheel below it. Whatever else has such
a name (a project's own ``conf/`` on PYTHONPATH) is not looked at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("sweeper", "launchers", "analysis", "conf")
_HERE = Path(__file__).resolve().parent
_INSTALLED = _HERE / "_packages"
ROOT = _INSTALLED if _INSTALLED.is_dir() else _HERE.parent
"""Where they are."""


class Finder:
    """Finds them there, and nothing else."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder.find_spec`."""
        if path is None and name in PACKAGES:
            return PathFinder.find_spec(name, [str(ROOT)])
        return None


def pin() -> None:
    """From here on the names in PACKAGES mean ours in this process; safe to repeat.

    Isorate's own processes begin with it. In a notebook it makes ``analysis`` and the others
    importable, at the price that a project's own of the same name are not.

    Raises:
        ImportError: another package of that name was imported before.
    """
    for name in PACKAGES:
        known = sys.modules.get(name)
        places = [Path(one).resolve() for one in getattr(known, "__path__", [])]
        if known is not None and ROOT / name not in places:
            raise ImportError(
                f"{name} was imported from {', '.join(map(str, places)) or known} before; Isorate "
                f"has a package of that name, and one process can have one of them."
            )
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


def search_path() -> str:
    """PYTHONPATH for a program of ours: where this package is, then what it is here."""
    return os.pathsep.join(filter(None, [str(_HERE.parent), os.environ.get("PYTHONPATH", "")]))


def program(module: str) -> list[str]:
    """The command that runs a module of ours in a process of its own, wherever it is started."""
    return [sys.executable, "-P", "-m", "isorate.start", module]
