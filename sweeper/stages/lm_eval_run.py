"""Asks a model every request of a task, block by block, so that a killed run loses one block.

The documents of a task are worked off in one seeded order that is the same for every
model, so the first n of it are the same paired sample everywhere. All prompts are
built first and in the order of the data set, as lm-eval does it: few-shot examples are
drawn from one stream of random numbers, and would differ if they were drawn per block.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager

from sweeper import task_index
from sweeper.errors import StageFailure
from sweeper.stages.lm_eval_model import CountingLM

SEED = 1234  # lm-eval's own default, for few-shot examples and sampling
Requests = dict[int, list[Instance]]  # document id -> its requests


@dataclass(frozen=True, kw_only=True)
class Block:
    """The answers to a block of documents, as they are kept on disk.

    Attributes:
        identity: what the answers depend on beside the stage itself.
        responses: per document, per request, per repeat: what the model answered.
        tokens: per document, the tokens of its requests and generated answers.
        seconds: wall clock the model took.
    """

    identity: str
    documents: list[int]
    responses: list[list[list[Any]]]
    tokens: list[int]
    seconds: float


def load_task(name: str, directory: Path | None, checkpoint: Path) -> Task:
    """The task called ``name``, from ``directory`` or else lm-eval's own, without its slow index.

    Raises:
        StageFailure: there is no such task, or it needs what this stage cannot do.
    """
    where = [str(directory)] if directory else []
    metadata: dict[str, Any] = {"pretrained": str(checkpoint)}  # as lm-eval's command line
    manager = TaskManager(include_defaults=False, include_path=where, metadata=metadata)
    known: str | Path | None = name if name in manager.task_index else task_index.path_of(name)
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


def build_requests(task: Task, lm: CountingLM, *, chat: bool) -> Requests:
    """The requests of all documents of the task."""
    task.build_all_requests(
        apply_chat_template=chat,
        fewshot_as_multiturn=True,
        chat_template=lm.apply_chat_template if chat else None,
        tokenizer_name=lm.tokenizer_name if chat else "",
    )
    requests: Requests = {}
    for instance in task.instances:
        requests.setdefault(instance.doc_id, []).append(instance)
    for group in requests.values():
        group.sort(key=lambda instance: instance.idx)
    return requests


def document_order(count: int, seed: int, limit: int | None) -> list[int]:
    """The first ``limit`` of ``count`` documents, in an order that only ``seed`` decides."""

    def place(document: int) -> bytes:
        return hashlib.sha256(f"{seed}/{document}".encode()).digest()

    return sorted(range(count), key=place)[:limit]


def run_blocks(
    lm: CountingLM,
    requests: Requests,
    order: Sequence[int],
    *,
    size: int,
    identity: str,
    scratch: Path,
    progress: Callable[..., None],
) -> list[Block]:
    """All documents of ``order`` in blocks of ``size``; blocks found in ``scratch`` are reused."""
    blocks = []
    starts = range(0, len(order), size)
    for number, start in enumerate(starts):
        documents = list(order[start : start + size])
        prompts = [[instance.arguments for instance in requests[d]] for d in documents]
        asked = json.dumps([identity, documents, prompts], default=str)
        expected = hashlib.sha256(asked.encode()).hexdigest()
        path = scratch / f"block-{number:05d}.json"
        block = _read(path, expected)
        if block is None:
            block = _ask(lm, requests, documents, expected)
            _write(path, block)
        blocks.append(block)
        progress((number + 1) / len(starts), f"block {number + 1}/{len(starts)}")
    return blocks


def _read(path: Path, identity: str) -> Block | None:
    """A block that an earlier attempt finished, unless it is damaged or answers something else."""
    try:
        block = Block(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # a lost power supply can leave it empty
        return None
    return block if block.identity == identity else None


def _write(path: Path, block: Block) -> None:
    """Whole or not at all; Python's JSON keeps NaN and infinity, which the scores need."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(block)), encoding="utf-8")
    os.replace(partial, path)


def _ask(lm: CountingLM, requests: Requests, documents: list[int], identity: str) -> Block:
    """Puts the requests of a block to the model."""
    began = time.perf_counter()
    random.seed(SEED)
    numpy.random.seed(SEED)
    torch.manual_seed(SEED)
    flat = [instance for document in documents for instance in requests[document]]
    answers = _answers(lm, flat)
    tokens = _tokens(lm, flat, answers)
    responses, spent, at = [], [], 0
    for document in documents:
        end = at + len(requests[document])
        responses.append(answers[at:end])
        spent.append(sum(tokens[at:end]))
        at = end
    return Block(
        identity=identity,
        documents=documents,
        responses=responses,
        tokens=spent,
        seconds=time.perf_counter() - began,
    )


def _answers(lm: CountingLM, instances: Sequence[Instance]) -> list[list[Any]]:
    """Per request its responses, one for each of its repeats."""
    kind = instances[0].request_type
    repeated = [instance for instance in instances for _ in range(instance.repeats or 1)]
    lm.request_tokens.clear()
    try:
        found = list(getattr(lm, kind)(repeated, disable_tqdm=True))
    except RuntimeError as error:
        # Sampling from NaN is the one way in which a broken model stops lm-eval.
        if kind != "generate_until" or "probability tensor contains" not in str(error):
            raise
        found = [""] * len(repeated)
    answers, at = [], 0
    for instance in instances:
        repeats = instance.repeats or 1
        answers.append(found[at : at + repeats])
        at += repeats
    return answers


def _tokens(
    lm: CountingLM, instances: Sequence[Instance], answers: Sequence[Sequence[Any]]
) -> list[int]:
    """Tokens read and written per request; contexts that lm-eval shares count every time."""
    kind = instances[0].request_type
    if kind == "loglikelihood":
        return list(lm.request_tokens)
    texts = [[instance.arguments[0]] for instance in instances]
    if kind == "generate_until":
        texts = [[*text, *map(str, found)] for text, found in zip(texts, answers, strict=True)]
    return [sum(len(lm.tok_encode(text)) for text in group) for group in texts]
