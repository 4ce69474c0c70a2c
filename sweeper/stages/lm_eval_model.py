"""The checkpoint as lm-eval's `hf` model, loaded once for all tasks that score it in turn."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.models.huggingface import HFLM
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    CompressedTensorsConfig,
)

from sweeper.stages import held

# lm-eval sums log-likelihoods in the dtype of the softmax: in bfloat16 a sum near -1000 is
# rounded to a multiple of 4, and choices that differ by 1 % tie.
SOFTMAX_DTYPE = "float32"


def fingerprint(checkpoint: Path) -> str:
    """Changes whenever a file of the checkpoint is replaced (names, sizes, modification times)."""
    files = sorted(p for p in checkpoint.iterdir() if p.is_file())
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def load(checkpoint: Path, *, dtype: str, device: str) -> tuple[Any, Any]:
    """Model and tokenizer of ``checkpoint``; the last one loaded is held for the next call."""
    key = (str(checkpoint.resolve()), fingerprint(checkpoint), dtype, device)

    def both() -> tuple[Any, Any]:
        return _model(checkpoint, dtype, device), AutoTokenizer.from_pretrained(checkpoint)

    found: tuple[Any, Any] = held.get(key, both)
    return found


def _model(checkpoint: Path, dtype: str, device: str) -> Any:
    """Compressed weights are decompressed here, once, to what the stock loader computes with."""
    how: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    stored = getattr(AutoConfig.from_pretrained(checkpoint), "quantization_config", None) or {}
    if stored.get("quant_method") == "compressed-tensors":
        how["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    if stored.get("quant_method") == "bitsandbytes":
        how["device_map"] = {"": device}  # else it takes a GPU where there is one
        # at every matrix of every forward: that LLM.int8 computes in float16
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    elif device != "cpu":
        how["device_map"] = device
    return AutoModelForCausalLM.from_pretrained(checkpoint, **how).eval()


class CountingLM(HFLM):  # type: ignore[misc]  # lm-eval is not typed
    """lm-eval's own model class, silent, which remembers how many tokens each request had.

    Attributes:
        request_tokens: tokens (context and continuation) of each log-likelihood request,
            in the order of the calls.
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            softmax_dtype=SOFTMAX_DTYPE,
        )
        self.request_tokens: list[int] = []

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Windows of running text; lm-eval does not sort them by length before it pads.

        On a CPU, where batching long texts saves nothing, they go one by one.
        """
        pinned: int = self.batch_size
        self.batch_size_per_gpu = 1 if self.device.type == "cpu" else pinned
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
    ) -> list[tuple[float, bool]]:
        self.request_tokens.extend(len(context) + len(rest) for _, context, rest in requests)
        found: list[tuple[float, bool]] = super()._loglikelihood_tokens(
            requests, disable_tqdm=True, override_bs=override_bs
        )
        return found
