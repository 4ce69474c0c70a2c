"""What llm-compressor's AWQ mappings say of an architecture, read without importing it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_FILES = {
    "mappings.py": "AWQ_MAPPING_REGISTRY",
    "dynamic_mappings.py": "AWQ_DYNAMIC_MAPPING_REGISTRY",
}
# What it takes for any architecture that it does not know.
_DEFAULT = {
    "input_layernorm": {"q_proj", "k_proj", "v_proj"},
    "post_attention_layernorm": {"gate_proj", "up_proj"},
}


def fits_awq(architecture: str, norms: Mapping[str, Sequence[str]]) -> bool:
    """Whether there is a mapping for an architecture, or the default one is right for it.

    Args:
        architecture: class of the model.
        norms: norm in a decoder layer -> the matrices that read its output.
    """
    return architecture in known() or all(
        any(
            name.rpartition(".")[2] == norm and {r.rpartition(".")[2] for r in by} == readers
            for name, by in norms.items()
        )
        for norm, readers in _DEFAULT.items()
    )


def unscalable(
    architecture: str, norms: Mapping[str, Sequence[str]], matrices: Iterable[str]
) -> str:
    """What an architecture's mapping would scale that has no weights (an activation); "" if none.

    Args:
        architecture: class of the model.
        norms: norm in a decoder layer -> the matrices that read its output.
        matrices: names of the treated matrices.
    """
    names = [*norms, *matrices]
    for pattern in smoothed().get(architecture, ()):
        found = re.compile(pattern.removeprefix("re:"))
        if not any(found.match(name) for name in names):
            return pattern.removeprefix("re:").strip(".*$")
    return ""


def known() -> frozenset[str]:
    """Classes of models that have a mapping."""
    return frozenset(smoothed())


@cache
def smoothed() -> dict[str, tuple[str, ...]]:
    """Class of a model -> patterns of what its mapping scales; () where that is made at run time.

    Importing the table takes as long as importing llm-compressor, so its source is read.
    """
    spec = find_spec("llmcompressor")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "modifiers" / "transform" / "awq"
    found: dict[str, tuple[str, ...]] = {}
    for file, table in _FILES.items():
        tree = ast.parse((folder / file).read_text(encoding="utf-8"))
        assigned = [n for n in ast.walk(tree) if isinstance(n, ast.AnnAssign | ast.Assign)]
        lists = {target: _first_words(n.value) for n in assigned for target in _targets(n)}
        for node in assigned:
            if table in _targets(node) and isinstance(node.value, ast.Dict):
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        own = lists.get(value.id, ()) if isinstance(value, ast.Name) else ()
                        found[key.value] = own
    return found


def _first_words(value: ast.expr | None) -> tuple[str, ...]:
    """The first argument of each call in a list: of a mapping, what it scales."""
    calls = value.elts if isinstance(value, ast.List) else []
    firsts = [call.args[0] for call in calls if isinstance(call, ast.Call) and call.args]
    return tuple(str(first.value) for first in firsts if isinstance(first, ast.Constant))


def _targets(node: ast.AnnAssign | ast.Assign) -> set[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
    return {target.id for target in targets if isinstance(target, ast.Name)}
