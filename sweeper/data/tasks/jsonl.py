"""Loads the JSON lines beside the task files, from whatever directory lm-eval was started in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets


def load(file: str, **_metadata: Any) -> dict[str, datasets.Dataset]:
    """The documents of ``file`` as lm-eval's ``test`` split.

    A path in ``dataset_kwargs.data_files`` would be relative to the working directory,
    and would leave a copy in the cache of `datasets`.
    """
    lines = (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}
