"""Which architectures llm-compressor has an AWQ mapping for, read without importing it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
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


@cache
def known() -> frozenset[str]:
    """Classes of models; importing their table takes as long as importing llm-compressor."""
    spec = find_spec("llmcompressor")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "modifiers" / "transform" / "awq"
    return frozenset(
        key.value
        for file, table in _FILES.items()
        for node in ast.walk(ast.parse((folder / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.AnnAssign | ast.Assign) and table in _targets(node)
        if isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    )


def _targets(node: ast.AnnAssign | ast.Assign) -> set[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
    return {target.id for target in targets if isinstance(target, ast.Name)}
