"""Tries every method on tiny random models of real architectures and writes docs/models.md.

    python benchmarks/architectures.py [--only llama,opt] [--methods rtn,gptq] [--write]

Each model has two layers and a tokenizer of 384 entries; nothing is downloaded. A cell is `exact`
if planning takes it, its stages succeed, `measure` proves its label on the files, everything
beside the treated matrices (and the norms that a method smooths) is the dense model's, and the
logits of the reloaded checkpoint are finite.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

from tests.tiny import SIZES  # noqa: E402

METHODS: Mapping[str, tuple[str, ...]] = {
    "magnitude": ("prune=magnitude", "prune.sparsity=50", "quant=none"),
    "wanda": ("prune=wanda", "prune.sparsity=50", "quant=none"),
    "sparsegpt": ("prune=sparsegpt", "prune.pattern=2:4", "quant=none"),
    "jsq": ("prune=jsq", "prune.sparsity=50", "prune.strengths=[0]", "quant=none"),
    "svd_llm": ("prune=svd_llm", "prune.sparsity=25", "prune.dampening=0.1", "quant=none"),
    "asvd": ("prune=asvd", "prune.sparsity=25", "quant=none"),
    "shortgpt": ("prune=shortgpt", "prune.blocks=1", "quant=none"),
    "sleb": ("prune=sleb", "prune.blocks=1", "quant=none"),
    "rtn": ("prune=none", "quant=rtn", "quant.bits=4"),
    "gptq": ("prune=none", "quant=gptq", "quant.bits=4", "quant.dampening=0.1"),
    "joint": ("prune.sparsity=50", "quant=joint", "quant.bits=4", "quant.dampening=0.1"),
    "awq": ("prune=none", "quant=awq", "quant.bits=4"),
    "smoothquant": ("prune=none", "quant=smoothquant", "quant.bits=8"),
    "nf4": ("prune=none", "quant=nf4"),
    "llm_int8": ("prune=none", "quant=llm_int8"),
}
_GEMMA = {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES: Mapping[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 16},
    "qwen2": {},
    "qwen3": {"head_dim": 32},
    "gemma": {"head_dim": 16},
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA | {"layer_types": ["sliding_attention", "full_attention"]},
    "phi": {},
    "phi3": {"sliding_window": None},
    "granite": {},
    "smollm3": {},
    "olmo2": {},
    "cohere": {},
    "stablelm": {},
    "starcoder2": {},
    "opt": {"ffn_dim": 128, "word_embed_proj_dim": 64},
    "opt with projections": {"ffn_dim": 128, "word_embed_proj_dim": 32},
    "gpt_neox": {},
    "gptj": {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8},
    "gpt_neo": {
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
    },
    "bloom": {"n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 512},
    "falcon": {},
    "mamba": {"state_size": 8},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "gemma3 with images": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": _EXPERTS | {"moe_intermediate_size": 64, "shared_expert_intermediate_size": 64},
    "qwen3_moe": _EXPERTS | {"moe_intermediate_size": 64, "head_dim": 16},
    "olmoe": _EXPERTS,
}


@dataclass(frozen=True)
class Outcome:
    """What came of one method on one architecture."""

    word: str
    reason: str = ""


def config_of(name: str) -> Any:
    from transformers import AutoConfig, Gemma3Config

    if name == "gemma3 with images":
        text = {**SIZES, **ARCHITECTURES["gemma3_text"]}
        vision = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        }
        return Gemma3Config(
            text_config=text,
            vision_config=vision,
            mm_tokens_per_image=4,
            image_token_index=5,
            boi_token_index=6,
            eoi_token_index=7,
        )
    return AutoConfig.for_model(name.split()[0], **{**SIZES, **ARCHITECTURES[name]})


def make(name: str, path: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    from tests import tiny

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(name))
    with torch.no_grad():
        for own, parameter in model.named_parameters():
            if parameter.ndim == 1 and "norm" in own:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.to(torch.bfloat16).save_pretrained(path)
    return tiny.tokenizer(path)


def tried(model: Path, words: tuple[str, ...], home: Path) -> Outcome:
    from sweeper.errors import BadInput, StageFailure
    from sweeper.planning.plan import lineage
    from sweeper.planning.sweep import nested, plan_json
    from sweeper.store.store import Store
    from sweeper.worker.runner import run_stage
    from tests.planned import plan_of

    try:
        plan = plan_of(model, *words)
    except BadInput as refused:
        return Outcome("refused", f"{refused.valid} {refused.hint}".strip())
    store, specs = Store(home), nested(plan_json(plan)["stages"])
    (cell,) = plan.cells
    assert lineage(cell.all_stages()) <= set(specs)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            for spec in specs.values():
                run_stage(spec, store)
    except StageFailure as failure:
        return Outcome("fails", str(failure))
    except Exception as error:
        return Outcome("fails", f"{type(error).__name__}: {error}")
    last = [stage for kind, stage in cell.stages.items() if kind != "measure"][-1]
    try:
        wrong = differing(model, store.path(specs[last.key]) / "checkpoint")
    except Exception as error:
        where = str(store.path(specs[last.key]) / "checkpoint")
        why = f"{type(error).__name__}: {error}".replace(where, "the checkpoint")
        return Outcome("fails", f"it cannot be loaded again: {why}")
    return Outcome("differs", wrong) if wrong else Outcome("exact")


def differing(model: Path, made: Path) -> str:
    """What is not as it should be in a checkpoint that was made of a model; "" if all is."""
    import torch

    from sweeper.modeling import directory, low_rank_format, matrices
    from sweeper.stages.evaluate import hf_backend

    loaded = hf_backend.load(made, dtype="float32", device="cpu").model
    with torch.no_grad():
        logits = loaded(torch.arange(5, 45).reshape(1, -1)).logits
    if not torch.isfinite(logits).all():
        return "logits are not finite"
    if low_rank_format.is_factored(made) or shortened(model, made):
        return ""
    dense = matrices.on_meta(model)
    treated = matrices.listed(dense).treated
    smoothed = {name for name in dense.state_dict() if "norm" in name or ".ln" in name}
    before, after = dict(tensors(directory.weights(model))), dict(tensors(directory.weights(made)))
    names = matrices.module_names(dense, before)
    for name, tensor in before.items():
        path = names[name].rpartition(".")[0]
        if path in treated or names[name] in smoothed:
            continue
        if name not in after or not torch.equal(after[name], tensor):
            return f"{name} is another one"
    return ""


def shortened(model: Path, made: Path) -> bool:
    from sweeper.modeling import matrices

    return len(matrices.layers(matrices.on_meta(model))) != len(
        matrices.layers(matrices.on_meta(made))
    )


def tensors(files: list[Path]) -> Iterator[tuple[str, Any]]:
    from safetensors.torch import load_file

    for file in files:
        yield from load_file(file).items()


def facts(model: Path) -> str:
    """How many matrices are treated, and what stays dense beside embeddings, head and norms."""
    from sweeper.inputs import look

    seen = look.at(model)
    if seen.refusal:
        return seen.refusal
    beside = f"; dense: {len(seen.outside)} linear layers beside them" if seen.outside else ""
    return f"{len(seen.matrices)} matrices{beside}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join(ARCHITECTURES))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--results", type=Path, help="JSON file to add to; parts can be run apart")
    parser.add_argument("--write", action="store_true", help="write docs/models.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    names = [name for name in given.only.split(",") if name]
    methods = given.methods.split(",")
    found: dict[str, dict[str, Outcome]] = {}
    treated: dict[str, str] = {}
    if given.results and given.results.exists():
        known = json.loads(given.results.read_text())
        treated |= known["treated"]
        for name, each in known["found"].items():
            found[name] = {method: Outcome(*outcome) for method, outcome in each.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            model = make(name, Path(folder) / name.replace(" ", "_") / "model")
            treated[name] = facts(model)
            found.setdefault(name, {})
            for method in methods:
                outcome = tried(model, METHODS[method], Path(folder) / "home")
                found[name][method] = outcome
                print(f"{name:22} {method:12} {outcome.word:8} {outcome.reason[:150]}", flush=True)
    if given.results:
        plain = {n: {m: [o.word, o.reason] for m, o in each.items()} for n, each in found.items()}
        given.results.write_text(json.dumps({"found": plain, "treated": treated}, indent=1))
    if given.write:
        found = {name: found[name] for name in ARCHITECTURES if name in found}
        (ROOT / "docs" / "models.md").write_text(page(found, treated, methods), encoding="utf-8")


def page(
    found: Mapping[str, Mapping[str, Outcome]], treated: Mapping[str, str], methods: list[str]
) -> str:
    from importlib.metadata import version

    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("transformers", "llmcompressor", "torch")
    )
    marks = {"exact": "exact", "refused": "refused", "fails": "**fails**", "differs": "**differs**"}
    head = f"| architecture | {' | '.join(methods)} |\n|---|{'---|' * len(methods)}"
    rows = [
        f"| {name} | {' | '.join(marks[each[m].word] for m in methods)} |"
        for name, each in found.items()
    ]
    reasons: dict[str, list[str]] = {}
    for name, each in found.items():
        for method, outcome in each.items():
            if outcome.reason:
                reasons.setdefault(outcome.reason.replace("\n", " "), []).append(
                    f"{name} with {method}"
                )
    listed = [f"- {', '.join(whose)}: {why}" for why, whose in reasons.items()]
    matrices = [f"| {name} | {treated[name]} |" for name in found]
    return PAGE.format(
        libraries=libraries,
        table="\n".join([head, *rows]),
        reasons="\n".join(listed),
        matrices="\n".join(["| architecture | treated |", "|---|---|", *matrices]),
    )


PAGE = """# Which models were tried

Written by `python benchmarks/architectures.py --write` with {libraries}: a tiny random model of
each architecture (two layers, nothing downloaded), once with every method. An architecture that
is not in the table is untried.

- **exact**: planned, made, reloaded; `measure` proved its label on the files; everything beside
  the treated matrices (and the norms that SmoothQuant and AWQ scale) is the dense model's.
- **refused**: `isorate plan` says so, with the reason (below), before anything starts.
- **fails**: the cell ends with the reason below, when it is made or loaded again; it never counts.

{table}

## Why not

{reasons}

## What is treated

The linear layers inside of the decoder layers. Embeddings, output head, norms, routers, projections
into and out of the embedding, and vision towers stay dense and count among the weights that do.
Models with experts (MoE) are refused: transformers holds their experts as one tensor. Their dense
models can be scored and measured.

{matrices}
"""

if __name__ == "__main__":
    main()
