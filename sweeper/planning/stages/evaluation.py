"""The stages that score one checkpoint: one a task, or several parts and what joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from sweeper.config.section import Frozen
from sweeper.errors import BadInput, one_of
from sweeper.inputs import resolve
from sweeper.inputs.tasks.catalog import LeafTask
from sweeper.planning.plan import PART, Params, Stage
from sweeper.store.hashing import library

BACKENDS = ("hf", "vllm")
_LIBRARY = ("lm-eval", "transformers")
# What an answer to one document depends on ...
_MEANING = (
    "backend",
    "dtype",
    "batch_size",
    "num_fewshot",
    "apply_chat_template",
    "add_bos_token",
    "max_gen_toks",
    "order_seed",
    "block",
    "shared_context",
    "keep_text",
)
# ... also on vLLM, where memory decides what is scheduled together ...
_MEANING_VLLM = ("max_model_len", "gpu_memory_utilization")
# ... and which documents are asked.
_SHARE = ("limit", "stop_collapsed")
DOCUMENTS = 1000  # of a task that does not say how many it has; for estimates only
# A text of some hundred words takes as long as so many short questions; for estimates only.
_WEIGHTS = {"loglikelihood_rolling": 28}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the evaluation of a task means, whatever the checkpoint.

    Attributes:
        leaf: the task.
        whole: the parameters of the stage that scores it.
        parts: those of the stages that share the work; none if one stage does it all.
        answers: the parameters but for the share of the documents.
    """

    leaf: LeafTask
    whole: Params
    parts: tuple[Params, ...]
    answers: Params

    @cached_property
    def documents(self) -> int:
        """How many are asked, as far as that is known; for estimates only."""
        known = [n for n in (self.leaf.documents, self.whole["limit"]) if n is not None]
        return min(known, default=DOCUMENTS)


@dataclass(frozen=True, kw_only=True)
class Reads:
    """The checkpoint that is scored: its stage or where it is, its size, what people call it."""

    parents: Mapping[str, Stage]
    sources: Mapping[str, str]
    parameters: float
    label: str


def check(section: Frozen) -> None:
    """Refuse what no evaluation can do.

    Raises:
        BadInput: naming the key.
    """
    resolve.check_choice("tasks.backend", section["backend"], BACKENDS)
    resolve.check_choice("tasks.dtype", section["dtype"], resolve.DTYPES)
    for name in ("batch_size", "limit", "block", "max_gen_toks", "parts", "max_model_len"):
        if section[name] is not None and section[name] < 1:
            raise BadInput(f"tasks.{name}", section[name], "at least 1 is needed.")
    _check_limits(section)
    share = section["gpu_memory_utilization"]
    if not 0 < share <= 1:
        raise BadInput("tasks.gpu_memory_utilization", share, "a share above 0, at most 1.")
    if section["backend"] == "vllm" and find_spec("vllm") is None:
        raise BadInput(
            "tasks.backend",
            "vllm",
            "vLLM is not installed here.",
            'Install it: pip install "isorate[vllm]", or use tasks.backend=hf.',
        )


def _check_limits(section: Frozen) -> None:
    for name, limit in section["limits"].items():
        if name not in section["names"]:
            raise BadInput(f"tasks.limits.{name}", limit, one_of(section["names"]) + ".")
        if limit < 1:
            raise BadInput(f"tasks.limits.{name}", limit, "at least 1 is needed.")


def asked(
    leaf: LeafTask,
    section: Frozen,
    model: Mapping[str, Any],
    data: Mapping[str, str],
    rerun: int = 0,
) -> Asked:
    """What scoring one task means.

    Args:
        leaf: the task.
        section: the `tasks` section.
        model: what the model is, where no other stage says so.
        data: hub id -> pinned commit of the task's data; empty if nothing is pinned.
        rerun: 1, 2, ... where the same is to be scored once more, and no answer taken over.

    Raises:
        BadInput: the backend cannot score it.
    """
    if section["backend"] == "vllm" and leaf.output_type not in ("generate_until", None):
        raise BadInput(
            "tasks.backend",
            "vllm",
            f"{leaf.name} compares log-likelihoods; vllm scores generated answers only.",
            "Use tasks.backend=hf for it, in a sweep of its own.",
        )
    names = _MEANING + (_MEANING_VLLM if section["backend"] == "vllm" else ())
    answer = {
        **{name: section[name] for name in names},
        "task": leaf.name,
        "task_sha256": leaf.sha256,
        "model": model,
        **({"data_revisions": dict(data)} if data else {}),
        **({"rerun": rerun} if rerun else {}),
    }
    share = {name: section[name] for name in _SHARE} | {"limit": leaf.limit(section)}
    parts = min(section["parts"], _blocks(leaf, share["limit"], section))
    divided = [[i, parts] for i in range(parts)] if parts > 1 else []
    whole = Params(**answer, **share, part=None)
    return Asked(
        leaf=leaf,
        whole=whole,
        parts=tuple(Params(**answer, **share, part=part) for part in divided),
        answers=answered_by(whole),
    )


def answered_by(params: Mapping[str, Any]) -> Params:
    """Of the parameters of an evaluation those that an answer to one document depends on."""
    return Params({name: v for name, v in params.items() if name not in (*_SHARE, "part")})


def _blocks(leaf: LeafTask, limit: int | None, section: Frozen) -> int:
    """The most blocks that the documents can fill, as far as that is known."""
    if leaf.output_type == "token_perplexity":
        return 1  # one text, a few hundred windows
    known = [n for n in (leaf.documents, limit) if n is not None]
    return -(-min(known) // section["block"]) if known else int(section["parts"])


def stage(each: Asked, reads: Reads, *, add: Callable[..., Stage]) -> Stage:
    """The stage that scores a task of a checkpoint; parts, if any, are its parents.

    ``add`` makes a stage of the plan from its fields.
    """
    folder = each.leaf.folder
    fields: dict[str, Any] = {
        "kind": "evaluate",
        "library": library(_LIBRARY),
        "sources": {**reads.sources, "tasks": str(folder)} if folder else reads.sources,
        "label": reads.label,
        "answers": each.answers,
    }
    work = reads.parameters * each.documents * _WEIGHTS.get(each.leaf.output_type or "", 1)
    if not each.parts:
        return add(**fields, params=each.whole, parents=reads.parents, work=work)
    parts = {
        f"{PART}{i}": add(
            **fields, params=params, parents=reads.parents, work=work / len(each.parts)
        )
        for i, params in enumerate(each.parts)
    }
    return add(**fields, params=each.whole, parents={**reads.parents, **parts}, work=0.0)
