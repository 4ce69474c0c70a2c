"""What is used of Hydra that it does not call public is in one module, read in these versions."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import sweeper
from sweeper.config import hydra_internals

ROOT = Path(sweeper.__file__).parent
PRIVATE = re.compile(
    r"hydra\._internal|\._(get_node|set_value|value|get_value_element_as_str|set_flag)\("
)


def test_the_versions_whose_source_was_read() -> None:
    """With others: read what the module uses there, then write the new version into it."""
    found = {name: version(name) for name in hydra_internals.READ_IN}
    assert found == hydra_internals.READ_IN


def test_no_other_module_uses_them() -> None:
    sources = [*ROOT.rglob("*.py"), *(ROOT.parent / "launchers").rglob("*.py")]
    using = {path.name for path in sources if PRIVATE.search(path.read_text(encoding="utf-8"))}
    assert using == {"hydra_internals.py"}
