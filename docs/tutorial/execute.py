"""Executes the manual's notebook, in an empty directory or where the tutorial was followed.

    python docs/tutorial/execute.py [--write] [--place DIRECTORY]

Without ``--write`` nothing is changed: every cell must run, and its outputs must read as those that
are stored. Numbers and verdicts are not compared: each processor trains the model to other digits.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE / "notebook.ipynb"
_VERDICT = re.compile(r"(At [\d.]+ (?:% TCr|MB)), .*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def executed(notebook: Any, place: Path) -> Any:
    """The notebook with fresh outputs; its progress lines are left out, they are times.

    Args:
        notebook: whose cells are run.
        place: the directory they are run in; the model is made there unless it is.
    """
    from nbclient import NotebookClient

    if not (place / "my-model").is_dir():
        make = [sys.executable, str(HERE / "make_checkpoint.py"), "my-model"]
        subprocess.run(make, cwd=place, check=True)
    os.environ.pop("ISORATE_HOME", None)
    resources = {"metadata": {"path": str(place)}}
    NotebookClient(notebook, timeout=1800, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if output.get("name") != "stderr"]
            cell.outputs = kept
    return notebook


def texts(notebook: Any) -> list[str]:
    """What its code cells print and show, as plain text."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" not in data:
                found.append(str(output.get("text") or data.get("text/plain", "")))
    return found


def differences(stored: list[str], fresh: list[str]) -> list[str]:
    """What reads differently; of numbers only the rates and sizes that verdicts are about."""
    told = [] if len(stored) == len(fresh) else [f"{len(stored)} outputs became {len(fresh)}"]
    for one, other in zip(stored, fresh, strict=False):
        if _words(one) != _words(other) or _VERDICT.findall(one) != _VERDICT.findall(other):
            told.append(f"stored:\n{one}\nnow:\n{other}")
    return told


def _words(text: str) -> str:
    """Text without numbers, verdicts, and the alignment that depends on their width."""
    return " ".join(_NUMBER.sub("N", _VERDICT.sub(r"\1", text)).split())


def main() -> None:
    """Check, or write."""
    import nbformat

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="store the fresh outputs")
    parser.add_argument("--place", type=Path, help="a directory with the tutorial's model and home")
    given = parser.parse_args()
    stored = nbformat.read(NOTEBOOK, as_version=4)
    before = texts(stored)
    if given.place:
        fresh = executed(stored, given.place)
    else:
        with tempfile.TemporaryDirectory() as place:
            fresh = executed(stored, Path(place))
    if given.write:
        nbformat.write(fresh, NOTEBOOK)
    elif told := differences(before, texts(fresh)):
        sys.exit("\n\n".join(["The notebook says something else now; make notebook", *told]))


if __name__ == "__main__":
    main()
