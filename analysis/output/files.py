"""The files of a report: tables and figures in each format, replaced whole, none left over."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.output import render
from analysis.output.figure import Figure
from analysis.output.table import Table

INDEX = "report.json"


def contents(tables: Sequence[Table], figures: Sequence[Figure]) -> dict[str, bytes]:
    """The files of tables (CSV, Markdown, LaTeX) and figures (SVG, PDF) by their name."""
    files: dict[str, bytes] = {}
    for table in tables:
        files[f"tables/{table.name}.csv"] = table.csv().encode()
        files[f"tables/{table.name}.md"] = render.to_markdown(table).encode()
        files[f"tables/{table.name}.tex"] = render.to_latex(table).encode()
    for figure in figures:
        files[f"figures/{figure.name}.svg"] = figure.svg
        files[f"figures/{figure.name}.pdf"] = figure.pdf
    return files


def index(title: str, provenance: Mapping[str, object], files: Sequence[str]) -> bytes:
    """The list of a report's files with their provenance: the content of `INDEX`."""
    content = {"title": title, "provenance": provenance, "files": list(files)}
    return json.dumps(content, indent=1, sort_keys=True, default=str).encode() + b"\n"


def put(files: Mapping[str, bytes], out: Path) -> dict[str, Path]:
    """Put files into a directory in their order, each whole or not at all; name -> path."""
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(content)
        temporary.replace(path)
    return {name: out / name for name in sorted(files)}


def written(files: Mapping[str, bytes], out: Path) -> dict[str, Path]:
    """`put` all files of a report, and remove those of an earlier index.

    Args:
        files: name relative to `out` -> content, in order; `INDEX` among them.
        out: the directory.
    """
    stale = _earlier(out) - set(files)
    paths = put(files, out)
    for name in stale:
        (out / name).unlink(missing_ok=True)
    return paths


def _earlier(out: Path) -> set[str]:
    """The files that an earlier report put here, as its index says."""
    try:
        listed = json.loads((out / INDEX).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # no index or not ours: then there is nothing that we may remove
    inside = out.resolve()
    return {str(n) for n in listed if (inside / str(n)).resolve().is_relative_to(inside)}
