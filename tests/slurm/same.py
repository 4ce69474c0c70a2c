"""Whether two homes hold the same sweep, to the byte: results, checkpoints, answers and tables.

    python -m tests.slurm.same HERE THERE [--sweep demo]

Left out is what a clock said: seconds, hours, GPU hours and rates. Prints what was compared
and ends with 1 if anything differs, or if there is nothing to compare.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

CLOCK = re.compile(r"(\w+_)?seconds|elapsed|(gpu_)?hours|\w+_per_s")
"""Keys and columns of a clock."""


def results(home: Path) -> dict[str, Any]:
    """Every result of a home."""
    found = {}
    for path in sorted((home / "store").glob("*/*/result.json")):
        told = {k: v for k, v in json.loads(path.read_text()).items() if not CLOCK.fullmatch(k)}
        found[f"{path.parent.parent.name}/{path.parent.name}"] = told
    return found


def scores(home: Path) -> dict[str, Any]:
    """Value and standard error of every metric of every evaluation."""
    return {
        f"{key}/{name}": (metric["value"], metric["stderr"])
        for key, result in results(home).items()
        for name, metric in result.get("metrics", {}).items()
    }


def answers(home: Path) -> dict[str, Any]:
    """What was answered to each document of every evaluation."""
    found = {}
    for path in sorted((home / "store").glob("*/*/documents.parquet")):
        table = parquet.read_table(path)
        kept = [name for name in table.column_names if not CLOCK.fullmatch(name)]
        found[path.parent.name] = table.select(kept).to_pylist()
    return found


def files(home: Path) -> dict[str, str]:
    """SHA-256 of every other file that a stage has made, dropped checkpoints included."""
    found = {}
    for path in (home / "store").glob("*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        for name, file in manifest["files"].items():
            if name not in ("result.json", "documents.parquet"):
                found[f"{manifest['kind']}/{manifest['key']}/{name}"] = file["sha256"]
    return found


def tables(home: Path, sweep: str) -> dict[str, Any]:
    """The report's data and tables: rows of each CSV file, else the text of those without a clock.

    A table for reading has the columns of the CSV file of its name.
    """
    report, found = home / "sweeps" / sweep / "report", {}
    for path in sorted([*report.glob("data/*.csv"), *report.glob("tables/*.csv")]):
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        timed = any(CLOCK.fullmatch(name) for row in rows for name in row)
        found[f"{path.parent.name}/{path.name}"] = [
            {name: value for name, value in row.items() if not CLOCK.fullmatch(name)}
            for row in rows
        ]
        for other in path.parent.glob(f"{path.stem}.[!c]*"):
            if not timed:
                found[f"{path.parent.name}/{other.name}"] = other.read_text()
    return found


def different(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What only one of them has, or both but not alike."""
    return sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("here", type=Path)
    parser.add_argument("there", type=Path)
    parser.add_argument("--sweep", default="demo")
    asked, wrong = parser.parse_args(), 0
    for home in (asked.here, asked.there):
        if not results(home):
            sys.exit(f"{home} holds no results")
    for what, of in {
        "scores with their standard errors": scores,
        "results": results,
        "answers of evaluations": answers,
        "other files of stages": files,
        "tables of the report": lambda home: tables(home, asked.sweep),
    }.items():
        here, there = of(asked.here), of(asked.there)
        unlike = different(here, there)
        wrong += len(unlike)
        print(f"{what}: {len(here)} and {len(there)}, {len(unlike)} differ")
        print("".join(f"  {key}\n" for key in unlike), end="")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
