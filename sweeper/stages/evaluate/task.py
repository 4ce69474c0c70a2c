"""A task with all its requests in one seeded order, made once for all the cells of a process.

The documents of a task are worked off in one order that is the same for every model, so
the first n of it are the same paired sample everywhere, and n can grow. All prompts are
built first and in the order of the data set, as lm-eval does it: few-shot examples are
drawn from one stream of random numbers, and would differ if they were drawn per block.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager

from sweeper.errors import StageFailure
from sweeper.inputs import datasets
from sweeper.inputs.tasks import index

SEED = 1234  # lm-eval's own default, for few-shot examples and sampling
MOST_HELD = 64  # tasks; the three suites of the paper have 48
_FEWEST_PER_STRATUM = 5  # a target that names no class (a number, a sentence) divides nothing
Requests = dict[int, list[Instance]]  # document id -> its requests
_held: OrderedDict[Hashable, Prepared] = OrderedDict()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What all cells ask.

    Attributes:
        task: lm-eval's task.
        requests: the requests of every document.
        order: all document ids, in the order in which they are worked off.
        data_revisions: hub id -> commit of the data sets that it read.
        encoded: (tokenizer, document) -> the tokens of its requests, filled as they are needed.
    """

    task: Task
    requests: Requests
    order: list[int]
    data_revisions: Mapping[str, str] = field(default_factory=dict)
    encoded: dict[tuple[str, int], list[Any]] = field(default_factory=dict)


def prepare(
    params: Mapping[str, Any], directory: Path | None, checkpoint: Path, chat: Chat | None
) -> Prepared:
    """The task that ``params`` name, from what is held, else loaded.

    Args:
        params: those of the evaluate stage.
        directory: a folder of task files, which win over lm-eval's own.
        checkpoint: told to the few tasks whose data depend on the tokenizer.
        chat: how prompts are wrapped, None for not at all.
    """
    names = ("task", "task_sha256", "num_fewshot", "max_gen_toks", "order_seed")
    wrapped = None if chat is None else chat.tokenizer_sha256
    pins: Mapping[str, str] = params.get("data_revisions", {})
    key = (*(params[name] for name in names), str(directory), wrapped, *sorted(pins.items()))
    if key not in _held:
        with datasets.pinned(pins) as loads:
            task = load_task(params["task"], directory, checkpoint)
        configure(task, params)
        requests = build_requests(task, chat)
        order = document_order(strata(task, requests), params["order_seed"])
        _held[key] = Prepared(task=task, requests=requests, order=order, data_revisions=loads.seen)
        while len(_held) > MOST_HELD:
            _held.popitem(last=False)
    _held.move_to_end(key)
    return _held[key]


def forget() -> None:
    """Drop all that is held."""
    _held.clear()


def load_task(name: str, directory: Path | None, checkpoint: Path) -> Task:
    """The task called ``name``, from ``directory`` or else lm-eval's own, without its slow index.

    Raises:
        StageFailure: there is no such task, or it needs what this stage cannot do.
    """
    where = [str(directory)] if directory else []
    metadata: dict[str, Any] = {"pretrained": str(checkpoint)}  # as lm-eval's command line
    manager = TaskManager(include_defaults=False, include_path=where, metadata=metadata)
    known: str | Path | None = name if name in manager.task_index else index.path_of(name)
    if known is None:
        raise StageFailure(f"no lm-eval task is called {name}; check tasks.names")
    tasks = manager.load([str(known)])["tasks"]
    if list(tasks) != [name]:
        raise StageFailure(f"{name} is a group of lm-eval tasks; an evaluation scores one task")
    task: Task = tasks[name]
    if getattr(task, "UNSAFE_CODE", False):
        raise StageFailure(f"{name} runs code that the model wrote, which is never done here")
    if getattr(task, "MULTIMODAL", False):
        raise StageFailure(f"{name} needs images or sound; choose a text task")
    return task


def configure(task: Task, params: Mapping[str, Any]) -> None:
    """Shots, seed and length of answers, by the same rules as lm-eval's `simple_evaluate`."""
    shots, own = params["num_fewshot"], task.get_config("num_fewshot")
    if shots is not None and own != 0:  # a task that says 0 means it
        task.set_config("num_fewshot", shots)
    elif own is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(SEED)
    if params["max_gen_toks"] is not None and task.OUTPUT_TYPE == "generate_until":
        limit = {"max_gen_toks": params["max_gen_toks"]}
        task.set_config("generation_kwargs", limit, update=True)


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A model's chat template.

    Attributes:
        apply: lm-eval's `apply_chat_template` of a model.
        tokenizer_name: what lm-eval calls its tokenizer.
        tokenizer_sha256: what identifies it.
    """

    apply: Callable[..., str]
    tokenizer_name: str
    tokenizer_sha256: str


def build_requests(task: Task, chat: Chat | None) -> Requests:
    """The requests of all documents of the task."""
    task.build_all_requests(
        apply_chat_template=chat is not None,
        fewshot_as_multiturn=True,
        chat_template=chat.apply if chat else None,
        tokenizer_name=chat.tokenizer_name if chat else "",
    )
    requests: Requests = {}
    for instance in task.instances:
        requests.setdefault(instance.doc_id, []).append(instance)
    for group in requests.values():
        group.sort(key=lambda instance: instance.idx)
    return requests


def strata(task: Task, requests: Requests) -> list[str]:
    """Per document, the part of the task that every prefix of the order should hold its share of.

    A task names the columns itself (``metadata: {strata: [category]}``); else it is the right
    answer of a multiple-choice task where that is one of a few classes.
    """
    columns = (task.get_config("metadata") or {}).get("strata")
    documents = [requests[d][0].doc for d in sorted(requests)]
    if columns:
        return [repr([document[column] for column in columns]) for document in documents]
    if task.OUTPUT_TYPE != "multiple_choice":
        return [""] * len(documents)
    targets = [repr(task.doc_to_target(document)) for document in documents]
    few = len(set(targets)) * _FEWEST_PER_STRATUM <= len(targets)
    return targets if few else [""] * len(targets)


def document_order(groups: Sequence[str], seed: int) -> list[int]:
    """All documents in an order that ``seed`` alone decides.

    They are shuffled within their strata, and the strata interleaved in proportion, so that
    every prefix has its share of each.
    """

    def drawn(document: int) -> bytes:
        return hashlib.sha256(f"{seed}/{document}".encode()).digest()

    shuffled = sorted(range(len(groups)), key=drawn)
    sizes, ranks = Counter(groups), Counter[str]()
    place: dict[int, float] = {}
    for document in shuffled:
        group = groups[document]
        place[document] = (ranks[group] + 0.5) / sizes[group]
        ranks[group] += 1
    return sorted(shuffled, key=place.__getitem__)  # stable: ties stay shuffled
