"""The checkpoint as lm-eval's `vllm` model, for tasks that generate; imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.errors import StageFailure
from sweeper.modeling import devices, model_cache
from sweeper.modeling import tokenizer as tokenizers
from sweeper.modeling.checkpoint import trusted
from sweeper.stages.evaluate import hf_backend
from sweeper.stages.evaluate.shared_prefix import Row
from sweeper.stages.evaluate.task import SEED


class GeneratingLM:
    """lm-eval's own vLLM class behind `sweeper.stages.evaluate.requests`; no log-likelihoods.

    vLLM schedules by itself, so a whole block goes to it in one call.
    """

    shared = False
    requests_at_once = 1_000_000
    windows_at_once = 1
    batch_size = 1

    def __init__(self, model: Any) -> None:
        """``model``: an `lm_eval.models.vllm_causallms.VLLM`."""
        self._model = model
        self.tokenizer_sha256 = hf_backend.tokenizer_sha256(model.tokenizer)
        self.request_tokens: list[int] = []

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval calls the tokenizer."""
        return str(self._model.tokenizer_name)

    def apply_chat_template(self, history: list[dict[str, str]], **how: Any) -> str:
        """lm-eval's own."""
        return str(self._model.apply_chat_template(history, **how))

    def tok_encode(self, string: str) -> list[int]:
        """Tokens of a text."""
        found: list[int] = self._model.tok_encode(string)
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The answers, in the order of the requests."""
        found: list[str] = self._model.generate_until(list(requests), disable_tqdm=disable_tqdm)
        return found

    def encode(self, instances: Sequence[Any]) -> list[Any]:
        """Refused: see `likelihoods`."""
        raise _no_likelihoods()

    def likelihoods(self, rows: Sequence[Row]) -> list[list[Any]]:
        """Refused: scores of two backends never meet in one ratio, and hf has these."""
        raise _no_likelihoods()

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
        """Refused: see `likelihoods`."""
        raise _no_likelihoods()


def _no_likelihoods() -> StageFailure:
    return StageFailure(
        "tasks.backend=vllm scores generated answers only; use tasks.backend=hf for this task"
    )


def lm(checkpoint: Path, device: str, params: Mapping[str, Any]) -> GeneratingLM:
    """The model of a checkpoint, held until another one is asked for.

    Raises:
        StageFailure: the stage runs on a CPU; vLLM wants GPUs.
    """
    if device == "cpu":
        raise StageFailure("tasks.backend=vllm needs a GPU; use tasks.backend=hf on a CPU")
    names = ("dtype", "max_model_len", "gpu_memory_utilization", "add_bos_token")
    options = {name: params[name] for name in names} | {"trust_remote_code": trusted(params)}
    stamp = hf_backend.fingerprint(checkpoint)
    key = ("vllm", str(checkpoint.resolve()), stamp, *options.values())
    found: GeneratingLM = model_cache.get(key, lambda: _load(checkpoint, options))
    return found


def _load(checkpoint: Path, options: Mapping[str, Any]) -> GeneratingLM:
    from lm_eval.models.vllm_causallms import VLLM

    model = VLLM(
        pretrained=str(checkpoint),
        batch_size="auto",
        seed=SEED,
        tensor_parallel_size=max(1, devices.gpus()),
        enable_prefix_caching=True,
        **options,
    )
    if not tokenizers.agrees(model.tokenizer, checkpoint):
        raise StageFailure(
            "vLLM splits text in another way than the model's tokenizer.json says, because of "
            "the class that its tokenizer_config.json names. Use tasks.backend=hf."
        )
    return GeneratingLM(model)
