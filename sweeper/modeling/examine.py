"""Looks at a checkpoint directory with transformers, without its weights; prints what is found.

A program of its own (``python -m sweeper.modeling.examine DIRECTORY``), so that planning needs
none of what it imports. What it prints is a `sweeper.inputs.look.Look` as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from sweeper.modeling import directory


def examined(folder: Path, *, trust_remote_code: bool) -> dict[str, Any]:
    """What a `Look` is made of; ``trouble`` alone where the model cannot be built."""
    import transformers

    from sweeper.modeling import matrices

    transformers.logging.set_verbosity_error()
    try:
        model = matrices.on_meta(folder, trust_remote_code=trust_remote_code)
    except Exception as error:
        return {"trouble": _why(error, folder)}
    found = matrices.listed(model)
    stored = {name: prod(info["shape"]) for name, info in directory.tensors(folder)}
    names = matrices.module_names(model, stored)
    held = matrices.held(model, {name: (names[name], size) for name, size in stored.items()})
    text = model.config.get_text_config()
    return {
        "architecture": type(model).__name__,
        "kinds": sorted(found.kinds),
        "refusal": found.refusal,
        "matrices": {
            tensor: parameter.removesuffix(".weight")
            for tensor, parameter in sorted(names.items())
            if parameter.endswith(".weight") and parameter.removesuffix(".weight") in found.treated
        },
        "outside": matrices.outside(model),
        **held,
        **_traced(model),
        "rows": int(model.get_input_embeddings().weight.shape[0]),
        "positions": getattr(text, "max_position_embeddings", None),
        **_tokenizer(folder, trust_remote_code=trust_remote_code),
    }


def _traced(model: Any) -> dict[str, Any]:
    from sweeper.modeling import trace

    try:
        return asdict(trace.of(model.eval()))
    except Exception:  # an architecture that looks at values while it runs
        return {}


def _tokenizer(folder: Path, *, trust_remote_code: bool) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from sweeper.modeling import tokenizer

    how = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        found = AutoTokenizer.from_pretrained(folder, **how)
        by_file = not tokenizer.agrees(found, folder)
        if by_file:
            found = tokenizer.load(folder, trust_remote_code=trust_remote_code)
    except Exception as error:
        return {"tokenizer_trouble": _first_line(error)}
    return {"tokenizer_by_file": by_file, "chat_template": bool(found.chat_template)}


def _why(error: Exception, folder: Path) -> str:
    if "trust_remote_code" in str(error):
        code = ", ".join(path.name for path in sorted(folder.glob(directory.CODE)))
        return f"it needs code of its own ({code or 'which is not in it'}), which is not trusted"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def main() -> None:
    """Prints one JSON object on stdout; whatever libraries say goes to stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trust-remote-code", action="store_true")
    given = parser.parse_args()
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no part of the answer
    with contextlib.redirect_stdout(sys.stderr):
        found = examined(given.folder, trust_remote_code=given.trust_remote_code)
    with os.fdopen(out, "w", encoding="utf-8") as answer:
        json.dump(found, answer)


if __name__ == "__main__":
    main()
