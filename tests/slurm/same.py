"""Whether two homes hold the same sweep, to the byte: results, checkpoints, answers and tables.

    python -m tests.slurm.same HERE THERE [--sweep demo]

Left out is what a clock said (seconds and rates), in results and in the report's tables.
Prints what was compared and ends with 1 if a result, a file or a table differs.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLOCK = ("seconds", "elapsed")
"""Columns and keys of a clock, beside those that end in ``_per_s``."""


def results(home: Path) -> dict[str, Any]:
    """Every result of a home, without what a clock has said."""
    found = {}
    for path in sorted((home / "store").glob("*/*/result.json")):
        told = {k: v for k, v in json.loads(path.read_text()).items() if not _of_a_clock(k)}
        found[f"{path.parent.parent.name}/{path.parent.name}"] = told
    return found


def contents(home: Path) -> dict[str, str]:
    """SHA-256 of every other file that a stage has made, dropped checkpoints included."""
    found = {}
    for path in (home / "store").glob("*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        for name, file in manifest["files"].items():
            if name != "result.json":
                found[f"{manifest['kind']}/{manifest['key']}/{name}"] = file["sha256"]
    return found


def tables(home: Path, sweep: str) -> dict[str, Any]:
    """The report's data and tables: rows of each CSV file without a clock's columns, else text."""
    report = home / "sweeps" / sweep / "report"
    paths = sorted([*report.glob("data/*"), *report.glob("tables/*")])
    return {str(path.relative_to(report)): _table(path) for path in paths}


def different(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What only one of them has, or both but not alike."""
    return sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))


def scores(found: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Value and standard error of every metric of every evaluation."""
    return {
        f"{key}/{name}": (metric["value"], metric["stderr"])
        for key, result in found.items()
        for name, metric in result.get("metrics", {}).items()
    }


def _of_a_clock(name: str) -> bool:
    return name in CLOCK or name.endswith("_per_s")


def _table(path: Path) -> Any:
    text = path.read_text()
    if path.suffix != ".csv":
        return text
    rows = list(csv.DictReader(io.StringIO(text)))
    return [{k: v for k, v in row.items() if not _of_a_clock(k)} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("here", type=Path)
    parser.add_argument("there", type=Path)
    parser.add_argument("--sweep", default="demo")
    asked = parser.parse_args()
    wrong = 0
    both = [results(home) for home in (asked.here, asked.there)]
    for what, (here, there) in {
        "scores with their standard errors": tuple(map(scores, both)),
        "results": tuple(both),
        "files of stages": (contents(asked.here), contents(asked.there)),
        "tables": (tables(asked.here, asked.sweep), tables(asked.there, asked.sweep)),
    }.items():
        unlike = different(here, there)
        wrong += len(unlike)
        print(f"{what}: {len(here)} and {len(there)}, {len(unlike)} differ")
        print("".join(f"  {key}\n" for key in unlike), end="")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
