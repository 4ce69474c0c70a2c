"""What our own code never does: load pickles, evaluate text, build shell commands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweeper

ROOT = Path(sweeper.__file__).parent.parent
FILES = sorted(
    p for part in ("sweeper", "launchers", "analysis") for p in (ROOT / part).rglob("*.py")
)
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "torch.load",
    "numpy.load",
    "joblib.load",
    "pandas.read_pickle",
    "yaml.unsafe_load",
    "yaml.full_load",
    "marshal.loads",
    "dill.load",
    "cloudpickle.load",
}
FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}


def found_in(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS:
                yield called
            yield from (k.arg for k in node.keywords if k.arg == "shell")
            if called.endswith("yaml.load") and "Loader" not in {k.arg for k in node.keywords}:
                yield called
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            yield from FORBIDDEN_IMPORTS & {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "eval(x)",
        "run('ls', shell=True)",
        "torch.load(p)",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert list(found_in(text))


def test_no_pickle_no_eval_no_shell() -> None:
    assert len(FILES) > 80
    bad = {str(f.relative_to(ROOT)): list(found_in(f.read_text(encoding="utf-8"))) for f in FILES}
    assert not {file: names for file, names in bad.items() if names}
