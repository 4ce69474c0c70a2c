"""The checkpoint as lm-eval's `hf` model, loaded once for all tasks that score it in turn."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers import CompressedTensorsConfig

from sweeper.modeling import devices, directory, low_rank_format, model_cache
from sweeper.modeling import tokenizer as tokenizers
from sweeper.modeling.checkpoint import cast, dtype_of, require_complete, require_rows, trusted
from sweeper.stages.evaluate import shared_prefix
from sweeper.stages.evaluate.shared_prefix import Answer, Row
from sweeper.store.files import sha256

# lm-eval sums log-likelihoods in the dtype of the softmax: in bfloat16 a sum near -1000 is
# rounded to a multiple of 4, and choices that differ by 1 % tie.
SOFTMAX_DTYPE = "float32"

Encoded = tuple[tuple[int, ...], tuple[int, ...]]  # context, continuation


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model with its tokenizer, and what identifies the way that the latter splits text."""

    model: Any
    tokenizer: Any
    tokenizer_sha256: str

    @cached_property
    def shares(self) -> bool:
        """Whether the model honours rows whose choices share a context; tried once."""
        return shared_prefix.fits(self.model)


def fingerprint(checkpoint: Path) -> str:
    """Changes whenever a file of the checkpoint is replaced (names, sizes, modification times)."""
    files = directory.files(checkpoint, code=True)
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def checkpoint_sha256(checkpoint: Path, *, code: bool = False) -> str:
    """Hash of the content of the model's files, wherever they lie; read once while they stay.

    ``code``: with those of its own code, which is run.
    """
    return _content(checkpoint, fingerprint(checkpoint), code)


@cache
def _content(checkpoint: Path, stamp: str, code: bool) -> str:
    whole = hashlib.sha256()
    for path in directory.files(checkpoint, code=code):
        whole.update(f"{path.name}\0{sha256(path)}\n".encode())
    return whole.hexdigest()


def vocabulary(checkpoint: Path, *, trust_remote_code: bool) -> int:
    """Entries of the vocabulary, without loading the model."""
    config = low_rank_format.config_of(checkpoint, trust_remote_code=trust_remote_code)
    return int(config.get_text_config().vocab_size)


def load(checkpoint: Path, *, dtype: str, device: str, trust_remote_code: bool = False) -> Loaded:
    """Model and tokenizer of ``checkpoint``; the last one loaded is held for the next call."""
    trust = trust_remote_code
    key = (str(checkpoint.resolve()), fingerprint(checkpoint), dtype, device, trust)

    def both() -> Loaded:
        model = _model(checkpoint, dtype, device, trust)
        tokenizer = tokenizer_of(checkpoint, trust_remote_code=trust)
        return Loaded(
            model=model, tokenizer=tokenizer, tokenizer_sha256=tokenizer_sha256(tokenizer)
        )

    found: Loaded = model_cache.get(key, both)
    return found


def tokenizer_of(checkpoint: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer that lies beside the weights."""
    return tokenizers.load(checkpoint, trust_remote_code=trust_remote_code)


def tokenizer_sha256(tokenizer: Any) -> str:
    """Hash of all that decides how text becomes tokens: the same for cells of one model."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    template = tokenizer.chat_template
    meaning = json.dumps([type(tokenizer).__name__, rules, special, template], sort_keys=True)
    return hashlib.sha256(meaning.encode()).hexdigest()


def _model(checkpoint: Path, dtype: str, device: str, trust: bool = False) -> Any:
    """Compressed weights are decompressed here, once, to what the stock loader computes with."""
    how: dict[str, Any] = {
        "dtype": dtype,
        "local_files_only": True,
        "trust_remote_code": trust,
    }
    config = low_rank_format.config_of(checkpoint, trust_remote_code=trust)
    stored = getattr(config, "quantization_config", None) or {}
    if stored.get("quant_method") == "compressed-tensors":
        how["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    if stored.get("quant_method") == "bitsandbytes":
        how["device_map"] = {"": device}  # else it takes a GPU where there is one
        # at every matrix of every forward: that LLM.int8 computes in float16
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    elif device != "cpu":
        how["device_map"] = "auto" if devices.gpus() > 1 else device
    model, found = low_rank_format.load(checkpoint, output_loading_info=True, **how)
    if not stored:  # what compressed weights become has other names than what is stored
        require_complete(found, checkpoint)
    cast(model, dtype_of(dtype))
    require_rows(model)
    return model.eval()


class ScoringLM(HFLM):  # type: ignore[misc]  # lm-eval is not typed
    """lm-eval's own model class, silent, with one forward pass for choices that share a context.

    Attributes:
        shared: whether it has; False where the model does not honour such rows.
        tokenizer_sha256: what identifies its tokenizer.
        request_tokens: tokens (context and continuation) of each log-likelihood request that
            lm-eval split by itself (running text), in the order of the calls.
    """

    def __init__(
        self, loaded: Loaded, *, batch_size: int, shared: bool, add_bos_token: bool | None
    ) -> None:
        super().__init__(
            pretrained=loaded.model,
            tokenizer=loaded.tokenizer,
            batch_size=batch_size,
            softmax_dtype=SOFTMAX_DTYPE,
            add_bos_token=add_bos_token,
        )
        self.shared = shared and loaded.shares
        self.tokenizer_sha256 = loaded.tokenizer_sha256
        self.request_tokens: list[int] = []
        self._encoded: list[Encoded] | None = None

    @property
    def requests_at_once(self) -> int:
        """Generations per call."""
        return int(self.batch_size)

    @property
    def windows_at_once(self) -> int:
        """Windows of running text per forward pass; on a CPU batching long texts saves nothing."""
        return 1 if self.device.type == "cpu" else int(self.batch_size)

    def encode(self, instances: Sequence[Any]) -> list[Encoded]:
        """Tokens of log-likelihood requests, split as lm-eval itself splits them."""
        self._encoded = []
        try:
            self.loglikelihood(instances, disable_tqdm=True)
            encoded: list[Encoded] = self._encoded
            return encoded
        finally:
            self._encoded = None

    def likelihoods(self, rows: Sequence[Row]) -> list[list[Answer]]:
        """Per row, per continuation, its answer; one forward pass (or lm-eval's own way)."""
        if self.shared and all(self._fits(row) for row in rows):
            return shared_prefix.likelihoods(self.model, rows)
        pairs = [(("", ""), list(row.context), list(c)) for row in rows for c in row.continuations]
        found = iter(self._plainly(pairs))
        return [[next(found) for _ in row.continuations] for row in rows]

    def _fits(self, row: Row) -> bool:
        longest = max(len(c) for c in row.continuations)
        return len(row.context) + longest <= int(self.max_length) + 1

    def _plainly(self, pairs: Sequence[Any], override_bs: int | None = None) -> list[Answer]:
        found: list[Answer] = super()._loglikelihood_tokens(
            pairs, disable_tqdm=True, override_bs=override_bs
        )
        return found

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Windows of running text; lm-eval does not sort them by length before it pads."""
        pinned: int = self.batch_size
        self.batch_size_per_gpu = self.windows_at_once
        try:
            found: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self.batch_size_per_gpu = pinned
        return found

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Answer]:
        if self._encoded is not None:
            self._encoded += [(tuple(context), tuple(rest)) for _, context, rest in requests]
            return [(0.0, False)] * len(requests)
        self.request_tokens.extend(len(context) + len(rest) for _, context, rest in requests)
        if not self.shared:
            return self._plainly(requests, override_bs)
        size, found = override_bs or int(self.batch_size), []
        for start in range(0, len(requests), size):
            rows = [
                Row(context=tuple(context), continuations=(tuple(rest),))
                for _, context, rest in requests[start : start + size]
            ]
            found += [answers[0] for answers in self.likelihoods(rows)]
        return found


def lm(checkpoint: Path, device: str, params: Mapping[str, Any]) -> ScoringLM:
    """The model of a checkpoint, ready to be asked."""
    if device == "cpu":
        torch.set_num_threads(1)  # the number of threads changes the last digits
    loaded = load(
        checkpoint, dtype=params["dtype"], device=device, trust_remote_code=trusted(params)
    )
    return ScoringLM(
        loaded,
        batch_size=params["batch_size"],
        shared=params["shared_context"],
        add_bos_token=params["add_bos_token"],
    )
