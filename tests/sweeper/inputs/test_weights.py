"""What the headers of a model's files reveal beside its config.json is said while planning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeper.errors import BadInput
from sweeper.modeling import integrity
from tests import tiny
from tests.planned import plan_of

Weights = dict[str, torch.Tensor]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.make(tmp_path / "model")


def rewritten(model: Path, change: Callable[[Weights], Any]) -> None:
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def configured(model: Path, **changes: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))


def of_codes(weights: Weights) -> None:
    """As repositories of GPTQ had it, with the configuration in a file of its own."""
    for name in [n for n in weights if n.endswith("proj.weight")]:
        rows, columns = weights.pop(name).shape
        codes = torch.zeros(columns // 8, rows, dtype=torch.int32)
        weights[name.replace(".weight", ".qweight")] = codes


def in_8_bits(weights: Weights) -> None:
    for name in [n for n in weights if n.endswith("proj.weight")]:
        weights[name] = weights[name].to(torch.float8_e4m3fn)


def one_gone(weights: Weights) -> None:
    del weights["model.layers.1.mlp.up_proj.weight"]


def one_narrow(weights: Weights) -> None:
    weights["model.layers.1.mlp.up_proj.weight"] = torch.zeros(100, 64, dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (of_codes, r"quantized already \(model\.layers\.0\.\w+\.\w+\.qweight, of GPTQ or AWQ\)"),
        (in_8_bits, r"quantized already \(F8_E4M3\)"),
        (one_gone, r"its files lack weights .*: model\.layers\.1\.mlp\.up_proj\.weight\."),
        (one_narrow, r"another size than its config\.json says: model\.layers\.1\.mlp\.up_proj"),
    ],
)
def test_weights_that_do_not_fit(model: Path, change: Callable[[Weights], Any], why: str) -> None:
    rewritten(model, change)
    with pytest.raises(BadInput, match=why):
        plan_of(model, "prune.sparsity=50")


def test_more_layers_than_the_files_have(model: Path) -> None:
    configured(model, num_hidden_layers=3)
    with pytest.raises(BadInput, match=r"model\.layers\.2\..* and \d+ more"):
        plan_of(model, "prune.sparsity=50")


def test_what_the_model_leaves_out_of_its_files_is_noted(model: Path) -> None:
    configured(model, num_hidden_layers=1)
    (note,) = plan_of(model, "prune.sparsity=50").notes
    assert "no part of the model, and left out: model.layers.1.input_layernorm.weight" in note


def test_files_of_another_user_are_refused_by_name(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path / "model.safetensors"))

    monkeypatch.setattr(integrity, "trouble", closed)
    with pytest.raises(BadInput, match=r"may not read .*/model\.safetensors\. Have its owner run"):
        plan_of(model, "prune.sparsity=50")


def test_a_tied_head_need_not_be_stored(model: Path) -> None:
    names = load_file(model / "model.safetensors")
    assert "lm_head.weight" not in names
    assert plan_of(model, "prune.sparsity=50").notes == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.jsonl", b'{"text": null}\n' * 60),
        ("few.jsonl", b'{"text": "the river"}\n' * 3),
    ],
)
def test_rows_with_too_little_text_are_counted(model: Path, name: str, content: bytes) -> None:
    text = model.parent / name
    text.write_bytes(content)
    with pytest.raises(BadInput, match=rf"4 samples of 32 tokens need 128 .* {name} has only"):
        plan_of(model, "prune=wanda", "prune.sparsity=50", f"calibration.path={text}")


def test_a_table_with_too_little_text_is_counted(model: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = model.parent / "few.parquet"
    pq.write_table(pa.table({"body": ["the river", None]}), text)
    words = [f"calibration.path={text}", "calibration.field=body"]
    with pytest.raises(BadInput, match=r"few\.parquet has only"):
        plan_of(model, "prune=wanda", "prune.sparsity=50", *words)
