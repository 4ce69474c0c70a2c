"""What the architecture of a model rules out is said while planning, with what can be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.errors import BadInput
from sweeper.methods.depth.shortgpt import METHOD as SHORTGPT
from sweeper.methods.quantization import mappings
from tests import tiny
from tests.planned import plan_of

UNREAD = "takes the weights of dt_proj without calling the layer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("architectures")
    for kind in ("bloom", "mamba", "gpt2", "gemma2", "llama"):
        tiny.architecture(folder / kind, kind)
    return folder


@pytest.mark.parametrize(
    ("kind", "words", "why"),
    [
        ("bloom", "prune=none quant=awq quant.bits=4", "scales gelu_impl, which has no weights"),
        ("mamba", "prune=wanda prune.sparsity=50", UNREAD),
        ("mamba", "prune=sparsegpt prune.pattern=2:4", UNREAD),
        ("mamba", "prune=svd_llm prune.sparsity=25", UNREAD),
        ("mamba", "prune=none quant=nf4", UNREAD),
        ("mamba", "prune=none quant=rtn quant.bits=4 model.group_size=-1", UNREAD),
        ("gpt2", "prune=shortgpt prune.blocks=1", "its matrices are Conv1D"),
        ("gpt2", "prune=sleb prune.sparsity=50", "its matrices are Conv1D"),
    ],
)
def test_refused(folder: Path, kind: str, words: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        plan_of(folder / kind, *words.split())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("mamba", "prune=magnitude prune.sparsity=50"),
        ("mamba", "prune=shortgpt prune.blocks=1"),
        ("bloom", "prune=sleb prune.blocks=1"),
        ("gemma2", "prune=none quant=awq quant.bits=4"),
    ],
)
def test_planned(folder: Path, kind: str, words: str) -> None:
    assert len(plan_of(folder / kind, *words.split()).cells) == 1


def test_layers_that_are_not_called_in_order_are_not_taken_out() -> None:
    known = {"method": "shortgpt", "architecture": "LoopForCausalLM", "shapes": {}}
    refusal = SHORTGPT.refusal({**known, "in_order": False})
    assert "LoopForCausalLM are not called one after the other" in str(refusal)
    assert SHORTGPT.refusal({**known, "in_order": None}) is None, "it is checked at run time"


def test_the_loss_of_models_that_cap_their_logits_is_another_than_before(folder: Path) -> None:
    """Older releases took it from the output head as it is."""

    def said(kind: str, *words: str) -> list[bool]:
        stages = plan_of(folder / kind, *words).stages.values()
        return ["logits" in s.params for s in stages if s.kind in ("prune", "sensitivity")]

    sleb = ("prune=sleb", "prune.blocks=1")
    felt = ("prune=sparsegpt", "prune.sparsity=50", "prune.profile=allocated", "prune.errors=loss")
    assert (said("gemma2", *sleb), said("llama", *sleb)) == ([True], [False])
    assert sorted(said("gemma2", *felt)) == [False, True]
    assert said("llama", *felt) == [False, False]
    assert said("gemma2", "prune=wanda", "prune.sparsity=50") == [False]


def test_what_a_mapping_scales_is_read_from_its_source() -> None:
    norms = {"h.0.input_layernorm": ["h.0.query_key_value"], "h.0.post_attention_layernorm": []}
    matrices = ["h.0.query_key_value", "h.0.dense_4h_to_h"]
    assert mappings.unscalable("BloomForCausalLM", norms, matrices) == "gelu_impl"
    assert mappings.unscalable("UnknownForCausalLM", norms, matrices) == ""
