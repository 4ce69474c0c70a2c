"""Bits and ranks by measured errors, through sensitivity, prune, quantize, measure and evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from sweeper.errors import StageFailure
from sweeper.methods.allocation.bits import bits
from sweeper.methods.allocation.pruning_error import TruncatedError
from sweeper.methods.low_rank.rank import rank_of
from sweeper.methods.low_rank.svd import truncated, whitening
from sweeper.modeling import checkpoint, low_rank_format
from sweeper.stages import evaluate, prune, quantize
from sweeper.stages.measure.tensors import Files
from sweeper.stages.sensitivity import stage

from .conftest import CALIBRATION, PRUNE, QUANTIZE
from .removal import LINEAR, logits
from .test_sensitivity import inputs_of

WIDTHS = [2, 3, 4, 8]
MIXED = {"profile": "allocated", "widths": WIDTHS}
READ = {"calibration": CALIBRATION, "model": {}, "compute_dtype": "float32"}
GRID = {
    "widths": WIDTHS,
    "errors": "unit",
    "group_size": 64,
    "symmetric": True,
    "save_dtype": "bfloat16",
}
METHODS = {"svd_llm": {"dampening": 1e-6}, "asvd": {"alpha": 0.5}}
LABEL = {"bits": 5, "widths": WIDTHS}


class Tables:
    """Sensitivity stages, each run once."""

    def __init__(self, workshop: Any) -> None:
        self._workshop = workshop
        self._made: dict[str, Path] = {}

    def of(self, params: dict[str, Any], model: Path | None = None) -> Path:
        key = f"{params} {model}"
        if key not in self._made:
            shop = self._workshop
            sources = {"calibration": shop.text} | ({} if model else {"model": shop.dense})
            job = shop.job(READ | params, inputs={"model": model} if model else {}, sources=sources)
            stage.run(job)
            self._made[key] = job.out
        return self._made[key]


@pytest.fixture(scope="module")
def tables(workshop: Any) -> Tables:
    return Tables(workshop)


def rows(table: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((table / stage.FILE).read_text())["matrices"]
    return found


def quantized(
    workshop: Any, table: Path, model: Path | None = None, **params: Any
) -> tuple[Path, dict[str, int]]:
    inputs = {"sensitivity": table} | ({"model": model} if model else {})
    sources = {"calibration": workshop.text} | ({} if model else {"model": workshop.dense})
    job = workshop.job(QUANTIZE | {"bits": 5} | MIXED | params, inputs=inputs, sources=sources)
    quantize.run(job)
    return job.out, json.loads((job.out / "allocation.json").read_text())


@pytest.fixture(scope="module")
def by_rtn(workshop: Any, tables: Tables) -> tuple[Path, dict[str, int]]:
    return quantized(workshop, tables.of(GRID), method="rtn")


@pytest.fixture(scope="module")
def by_gptq(workshop: Any, tables: Tables) -> tuple[Path, dict[str, int]]:
    return quantized(workshop, tables.of(GRID))


@pytest.mark.parametrize("symmetric", [True, False])
def test_errors_of_bits_are_those_of_the_quantizer(
    workshop: Any, tables: Tables, symmetric: bool
) -> None:
    table = rows(tables.of(GRID | {"symmetric": symmetric}))
    name = "model.layers.0.self_attn.k_proj"
    weight, inputs = inputs_of(workshop, name)
    for option, width in ((1, 3), (2, 4)):
        out = workshop.quantize(method="rtn", bits=width, symmetric=symmetric)
        served = AutoModelForCausalLM.from_pretrained(
            out / "checkpoint",
            dtype=torch.float32,
            quantization_config=CompressedTensorsConfig(dequantize=True),
        )
        unit = functional.normalize(inputs)
        lost = (served.get_submodule(name).weight - weight) @ unit.T
        expected = float(lost.square().sum() / (weight @ unit.T).square().sum())
        # what is served is a code times a scale, rounded to bfloat16
        assert table[name]["errors"][option] == pytest.approx(expected, rel=0.02)
    assert table[name]["errors"] == sorted(table[name]["errors"], reverse=True)


@pytest.mark.parametrize("method", METHODS)
def test_errors_of_ranks_are_those_of_the_factors(
    workshop: Any, tables: Tables, method: str
) -> None:
    found = rows(tables.of({"method": method, "levels": 10, "errors": "unit"} | METHODS[method]))
    for name in ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"):
        weight, inputs = inputs_of(workshop, name)
        gram = inputs.double().T @ inputs.double()
        scale = inputs.abs().mean(0).double() ** 0.5
        if method == "svd_llm":
            scale = whitening(gram, 1e-6)
        row = found[name]
        assert row["shape"] == list(weight.shape)
        assert row["errors"][0] == 0
        for level in (1, 4, 9):
            factors = truncated(weight, scale, rank_of(*weight.shape, level / 10))
            unit = functional.normalize(inputs)
            lost = (factors.outer @ factors.inner - weight.double()) @ unit.T.double()
            expected = float(lost.square().sum() / (weight @ unit.T).square().sum())
            assert row["errors"][level] == pytest.approx(expected, rel=2e-3)


def test_a_rank_without_loss_has_no_error() -> None:
    weight, gram = torch.ones(4, 4), torch.eye(4)
    layer = torch.nn.Linear(4, 4, bias=False)
    layer.weight = torch.nn.Parameter(weight)
    measure = TruncatedError(params={"levels": 4, "dampening": 1e-9}, names={layer: "layer"})
    measure.listen(layer, gram)
    errors, _ = measure.of(layer, gram)
    assert errors == pytest.approx([0, 0, 0, 0], abs=1e-9)


@pytest.mark.parametrize("made", ["by_rtn", "by_gptq"])
def test_each_matrix_has_its_bits_on_the_files(
    request: pytest.FixtureRequest, workshop: Any, tables: Tables, made: str
) -> None:
    out, given = request.getfixturevalue(made)
    table = json.loads((tables.of(GRID) / stage.FILE).read_text())
    assert given == bits(table, 5)
    assert set(given.values()) == {4, 8}
    with Files(out / "checkpoint") as files:
        assert {m.name: m.bits for m in files.matrices()} == given
    found = workshop.measure(out, **LABEL)
    sizes = {name: row["weights"] for name, row in table["matrices"].items()}
    mean = sum(given[name] * size for name, size in sizes.items()) / LINEAR
    assert mean <= 5
    assert found["bits_per_weight"]["codes"] == mean
    assert found["bits_per_weight"]["stored"] == pytest.approx(mean + 0.25, abs=0.02)
    assert found["rate"]["nominal"] == 1 - 5 / 16
    assert found["rate"]["achieved"] == pytest.approx(1 - mean / 16)


@pytest.mark.parametrize("made", ["by_rtn", "by_gptq"])
def test_plain_transformers_loads_what_is_stored(request: pytest.FixtureRequest, made: str) -> None:
    out, given = request.getfixturevalue(made)
    served = AutoModelForCausalLM.from_pretrained(
        out / "checkpoint", quantization_config=CompressedTensorsConfig(dequantize=True)
    )
    stored = load_file(out / "checkpoint" / "model.safetensors")
    with Files(out / "checkpoint") as files:
        for matrix in files.matrices():
            limit = 2 ** (given[matrix.name] - 1)
            codes = matrix.symbols.float()
            assert codes.min() >= -limit
            assert codes.max() < limit
            scale = stored[f"{matrix.name}.weight_scale"].float()
            exact = (codes * scale.repeat_interleave(64, dim=1)).bfloat16()
            assert torch.equal(served.get_submodule(matrix.name).weight, exact), matrix.name


def test_gptq_of_a_mix_is_gptq_of_each_width_in_the_first_layer(
    workshop: Any, tables: Tables, tmp_path: Path
) -> None:
    table = json.loads((tables.of(GRID) / stage.FILE).read_text())
    for name, row in table["matrices"].items():
        if "k_proj" in name:
            row["errors"] = [100 * error for error in row["errors"]]
    (tmp_path / stage.FILE).write_text(json.dumps(table))
    out, given = quantized(workshop, tmp_path, bits=4)
    # later layers are calibrated on other weights
    first = {name: width for name, width in given.items() if ".0.self_attn." in name}
    shared = {first[f"model.layers.0.self_attn.{n}_proj"] for n in "qkv"}
    assert len(shared) == 2, "one Hessian has to serve two widths"
    mixed = load_file(out / "checkpoint" / "model.safetensors")
    alone = {
        w: load_file(workshop.quantize(bits=w) / "checkpoint" / "model.safetensors")
        for w in set(first.values())
    }
    for name, width in first.items():
        part = f"{name}.weight_packed"
        # Stacked with other rows a product is rounded otherwise: a weight in the middle of two
        # codes (one in 50,000, `tests/sweeper/methods/test_gptq.py`) takes the rest of its row
        # along.
        assert (mixed[part] != alone[width][part]).any(1).sum() <= 2, name


def test_a_pruned_model_keeps_its_mask_under_a_mix(workshop: Any, tables: Tables) -> None:
    pruned = workshop.prune(sparsity=0.25)
    out, given = quantized(workshop, tables.of(GRID, pruned), pruned, mask="keep")
    assert len(set(given.values())) > 1
    found = workshop.measure(out, pruned, sparsity=0.25, mask="keep", **LABEL)
    assert found["containment"]["min"] == 1
    assert found["rate"]["achieved"] == pytest.approx(1 - 5 / 16 * 0.75, abs=0.002)


def test_a_mix_can_be_pruned_afterwards(workshop: Any, by_rtn: tuple[Path, dict[str, int]]) -> None:
    out, given = by_rtn
    job = workshop.job(
        PRUNE | {"method": "wanda", "sparsity": 0.25},
        inputs={"model": out},
        sources={"calibration": workshop.text},
    )
    prune.run(job)
    found = workshop.measure(job.out, sparsity=0.25, **LABEL)
    assert found["containment"]["min"] == 1
    with Files(out / "checkpoint") as before, Files(job.out / "checkpoint") as after:
        for old, new in zip(before.matrices(), after.matrices(), strict=True):
            assert new.bits == given[new.name]
            assert torch.equal(new.symbols[~new.zero], old.symbols[~new.zero])


def test_factors_can_have_a_mix_of_bits(workshop: Any, tables: Tables) -> None:
    pruned = workshop.prune(method="svd_llm", sparsity=0.2, pattern="low-rank", dampening=1e-6)
    rows_of = GRID | {"group_size": -1}
    out, given = quantized(
        workshop, tables.of(rows_of, pruned), pruned, method="rtn", group_size=-1
    )
    assert len(given) == 28
    found = workshop.measure(out, pruned, sparsity=0.2, pattern="low-rank", **LABEL)
    assert found["rate"]["nominal"] == 1 - 5 / 16 * 0.8
    assert found["rate"]["nominal"] <= found["rate"]["achieved"] < found["rate"]["nominal"] + 0.02


def test_a_label_that_is_not_that_of_the_files_is_refused(
    workshop: Any, by_rtn: tuple[Path, dict[str, int]]
) -> None:
    out, _ = by_rtn
    for label in ({"bits": 4}, {"bits": 6}):
        with pytest.raises(StageFailure, match=r"have 5\.0000 bits in the mean, the label says"):
            workshop.measure(out, **(LABEL | label))
    with pytest.raises(StageFailure, match="not stored with one of 2, 3, 4 bits"):
        workshop.measure(out, bits=3, widths=[2, 3, 4])
    with pytest.raises(StageFailure, match="not stored with 5 bits"):
        workshop.measure(out, bits=5)


@pytest.fixture(scope="module", params=METHODS)
def by_rank(request: pytest.FixtureRequest, workshop: Any, tables: Tables) -> Path:
    method = request.param
    own = {"method": method, "levels": 20, "errors": "unit"} | METHODS[method]
    job = workshop.job(
        PRUNE | own | {"sparsity": 0.4, "pattern": "low-rank", "profile": "allocated"},
        inputs={"sensitivity": tables.of(own)},
        sources={"model": workshop.dense, "calibration": workshop.text},
    )
    workshop.results[job.out] = prune.run(job)
    out: Path = job.out
    return out


LOW = {"sparsity": 0.4, "pattern": "low-rank", "bits": 16}


def test_each_matrix_has_its_rank_or_stays_whole(workshop: Any, by_rank: Path) -> None:
    given = json.loads((by_rank / "allocation.json").read_text())
    ranks = workshop.results[by_rank]["ranks"]
    tensors = load_file(by_rank / "checkpoint" / "model.safetensors")
    assert 0 < len(ranks) < len(given)
    assert len(set(ranks.values())) > 2
    for name, share in given.items():
        if not share:
            assert f"{name}.weight" in tensors
            continue
        inner, outer = (tensors[f"{name}.{i}.weight"].shape for i in (0, 1))
        assert inner[0] == outer[1] == ranks[name] == rank_of(outer[0], inner[1], share)
    found = workshop.measure(by_rank, **LOW, profile="allocated")
    linear = sum(t.numel() for n, t in tensors.items() if "proj" in n)
    assert found["achieved_sparsity"] == 1 - linear / LINEAR
    uniform = workshop.prune(method="svd_llm", sparsity=0.4, pattern="low-rank", dampening=1e-6)
    alike = workshop.measure(uniform, **LOW)
    assert 0 <= found["achieved_sparsity"] - alike["achieved_sparsity"] < 96 / LINEAR
    with pytest.raises(StageFailure, match="30% removed are"):
        workshop.measure(by_rank, **(LOW | {"sparsity": 0.3}), profile="allocated")


def test_whole_matrices_beside_factors_reload_and_can_be_scored(
    workshop: Any, by_rank: Path, make_job: Any
) -> None:
    model = checkpoint.load(by_rank / "checkpoint", dtype="bfloat16")
    assert set(low_rank_format.pairs(model)) == set(workshop.results[by_rank]["ranks"])
    model.save_pretrained(by_rank / "twice")
    assert torch.equal(logits(low_rank_format.load(by_rank / "twice")), logits(model))
    found = evaluate.run(make_job(by_rank / "checkpoint", task="tiny_text"))
    assert 1 < found["metrics"]["word_perplexity"]["value"] < 1e12


def test_inputs_that_cannot_be_whitened_name_the_matrix(workshop: Any, indefinite: None) -> None:
    own = {"method": "svd_llm", "levels": 4, "errors": "plain", "dampening": 1e-6}
    job = workshop.job(
        READ | own,
        sources={"model": workshop.dense, "calibration": workshop.text},
    )
    with pytest.raises(
        StageFailure, match=r"inputs of model\.layers\.0\.mlp\.down_proj is not.*Raise"
    ):
        stage.run(job)
