"""Cuts the held-out text (`pydoc.jsonl`) and the calibration text out of CPython's pydoc topics.

Both were written with CPython 3.11.7; the topics differ between versions, so the files
are what counts and this script only says how they were made.

Usage: python3.11 excerpt.py [DIRECTORY]
"""

from __future__ import annotations

import json
import pydoc_data.topics
import sys
from collections.abc import Iterator
from pathlib import Path

# No topic on one side repeats a passage of one on the other (topics do quote each other).
HELD_OUT = ("comparisons", "execmodel", "import")
CALIBRATION = (
    "specialnames",
    "compound",
    "types",
    "formatstrings",
    "string-methods",
    "typesseq",
    "debugger",
    "typesmapping",
    "assignment",
    "strings",
)
DOCUMENT_CHARS = 700


def documents(text: str) -> Iterator[str]:
    """Whole paragraphs, joined until a document has `DOCUMENT_CHARS` characters."""
    document = ""
    for paragraph in text.strip().split("\n\n"):
        document += ("\n\n" if document else "") + paragraph.strip("\n")
        if len(document) >= DOCUMENT_CHARS:
            yield document
            document = ""


def held_out() -> str:
    """JSON lines, one document each."""
    topics = pydoc_data.topics.topics
    docs = [(name, text) for name in HELD_OUT for text in documents(topics[name])]
    return "".join(json.dumps({"topic": name, "text": text}) + "\n" for name, text in docs)


def calibration() -> str:
    """Plain text, topic after topic."""
    topics = pydoc_data.topics.topics
    return "\n\n".join(topics[name].strip("\n") for name in CALIBRATION) + "\n"


if __name__ == "__main__":
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    (data / "tasks" / "pydoc.jsonl").write_text(held_out(), encoding="utf-8")
    (data / "calibration" / "pydoc.txt").write_text(calibration(), encoding="utf-8")
