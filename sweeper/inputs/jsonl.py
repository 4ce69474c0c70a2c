"""JSON lines as they are: a line ends with a newline, and with nothing else.

`str.splitlines` also ends lines at U+2028, U+0085 and others, which JSON allows inside of strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(number of the line, its value) of every line that is not empty; a BOM is no part of it.

    Raises:
        ValueError: it is not UTF-8, or a line is no JSON; names the line.
    """
    with path.open(encoding="utf-8-sig", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number} is no JSON ({error})") from error


def texts(path: Path, field: str) -> Iterator[str]:
    """The texts of a column; a row that has none (null) is left out.

    Raises:
        ValueError: a row is no object, lacks the column or has something else in it.
    """
    for number, row in rows(path):
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no object but {row!r:.40}")
        if field not in row:
            raise ValueError(f"line {number} has {', '.join(map(repr, row)) or 'nothing'}")
        if (found := row[field]) is None:
            continue
        if not isinstance(found, str):
            raise ValueError(f"line {number} has {found!r:.40} in it")
        yield found
