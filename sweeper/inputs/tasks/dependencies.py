"""Python packages that a task's own code needs: which one lacks, and how to install it.

The code is read, not run, so that a missing package is refused before anything starts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from sweeper.errors import BadInput
from sweeper.inputs.tasks import index

_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)")
_STOCK = "lm_eval.tasks."
# Distributions that bring a module of another name.
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "antlr4": "antlr4-python3-runtime"}


def check(key: str, name: str, path: Path) -> None:
    """Refuse a task whose code imports what is not installed.

    Args:
        key: the configuration key to name.
        name: the task.
        path: its file.

    Raises:
        BadInput: naming the package and the command that installs it.
    """
    for module in sorted({top for file in _code(path) for top in _imports(file)}):
        if find_spec(module) is None:
            raise BadInput(
                key,
                name,
                f"its code needs the Python package {module}, which is not installed.",
                f"Install it: {install(module)}",
            )


def install(module: str) -> str:
    """The command that brings a module: by an extra of Isorate or lm-eval that lists it."""
    wanted = _DISTRIBUTIONS.get(module, module).replace("_", "-").lower()
    for distribution in ("isorate", "lm-eval"):
        try:
            listed = requires(distribution) or []
        except PackageNotFoundError:  # run from a checkout
            continue
        for line in listed:
            extra = _EXTRA.search(line)
            if extra and re.split(r"[\s<>=!~;\[]", line)[0].replace("_", "-").lower() == wanted:
                return f'pip install "{distribution}[{extra[1]}]"'
    return f"pip install {wanted}"


def _code(path: Path) -> Iterator[Path]:
    """The modules beside a task file that its ``!function`` values name."""
    for match in re.finditer(rb"!function\s+([\w.]+)\.\w+", _text(path)):
        yield from _file(path.parent, match[1].decode())


@cache
def _text(path: Path) -> bytes:
    """The task file and, after it, the files that it includes."""
    text = path.read_bytes()
    for name in re.findall(rb"^include:\s*(\S+)", text, flags=re.MULTILINE):
        included = path.parent / name.decode().strip("'\"")
        if included.is_file() and included.parent == path.parent:
            text += _text(included)
    return text


def _file(folder: Path, module: str) -> Iterator[Path]:
    file = folder / f"{module.replace('.', '/')}.py"
    if file.is_file():
        yield file


@cache
def _imports(file: Path, within: tuple[Path, ...] = ()) -> frozenset[str]:
    """Top-level packages that importing ``file`` needs; other task modules are followed."""
    found: set[str] = set()
    for module in _needed(ast.parse(file.read_bytes()).body):
        if module.startswith(_STOCK):
            relative = module.removeprefix(_STOCK)
            for other in _file(index.directory(), relative):
                if other not in within:
                    found |= _imports(other, (*within, file))
        elif module and not any(_file(file.parent, module.partition(".")[0])):
            found.add(module.partition(".")[0])
    return frozenset(found)


def _needed(body: list[ast.stmt]) -> Iterator[str]:
    """Modules imported at the top of a file; those of a ``try`` only if its failure is raised."""
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from (name.name for name in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            module = statement.module or ""
            yield module
            if f"{module}.".startswith(_STOCK):  # `from lm_eval.tasks.ifeval import instructions`
                yield from (f"{module}.{name.name}" for name in statement.names)
        elif isinstance(statement, ast.Try) and all(
            isinstance(handler.body[-1], ast.Raise) for handler in statement.handlers
        ):
            yield from _needed(statement.body)
