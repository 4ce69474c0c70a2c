"""Measuring: what is counted on the files, and what is refused to pass as its label."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sweeper.errors import StageFailure
from sweeper.stages import measure
from sweeper.stages.measure import matrix_stats as rows

WEIGHTS = 98_304  # in the linear layers of the tiny model


def test_dense(workshop: Any) -> None:
    job = workshop.job(
        {"sparsity": 0.0, "pattern": "unstructured", "bits": 16, "mask": "none"},
        sources={"model": workshop.dense},
    )
    found = measure.run(job)
    assert found["linear_weights"] == WEIGHTS
    assert found["total_weights"] == WEIGHTS + 384 * 64 + 5 * 64
    assert found["macs"] == found["macs_dense"] == WEIGHTS + 384 * 64
    assert found["bits_per_weight"]["total"] == found["bits_per_weight"]["stored"] == 16
    assert found["rate"] == {"nominal": 0.0, "achieved": 0.0, "whole_model": 0.0}
    assert "containment" not in found


def test_joint_cell(workshop: Any) -> None:
    pruned = workshop.prune()
    out = workshop.quantize(pruned, mask="keep")
    found = workshop.measure(out, pruned, sparsity=0.25, mask="keep")
    assert found["containment"] == {"min": 1.0, "mean": 1.0}
    assert found["achieved_sparsity"] == pytest.approx(0.25, abs=5e-4)
    assert found["zeros"] > 0.27  # quantization rounds some more to zero: not sparsity
    bits = found["bits_per_weight"]
    # the bitmask breaks even with plain 4 bit at a quarter
    assert bits["total"] == pytest.approx(4 + 16 / 64, abs=2e-3)
    assert bits["mask_entropy"] == pytest.approx(0.811, abs=1e-3)
    assert bits["entropy"] < bits["unmasked"] == 4.25
    assert bits["stored"] == pytest.approx(4.25, abs=0.03)
    assert found["rate"]["nominal"] == 0.8125
    assert found["macs"] < found["macs_dense"]
    size = (out / "checkpoint" / "model.safetensors").stat().st_size
    assert found["bytes"]["checkpoint"] == size < found["bytes"]["directory"]
    rows = json.loads((found["out"] / "layers.json").read_text())
    assert len(rows) == found["layers"] == 14
    assert all(r["held"] == r["pruned"] for r in rows)
    json.dumps({k: v for k, v in found.items() if k != "out"}, allow_nan=False)


@pytest.mark.parametrize(
    ("pattern", "mask_bits"), [("1:4", 0.5), ("2:8", 0.6009), ("1:3", 0.5283), ("2:6", 0.6511)]
)
def test_bits_of_an_nm_mask(workshop: Any, pattern: str, mask_bits: float) -> None:
    n, m = map(int, pattern.split(":"))
    pruned = workshop.prune(pattern=pattern)
    found = workshop.measure(pruned, sparsity=n / m, pattern=pattern, bits=16)
    covered = sum(
        r["rows"] * (r["columns"] - r["columns"] % m)
        for r in json.loads((found["out"] / "layers.json").read_text())
    )
    assert found["bits_per_weight"]["mask"] == pytest.approx(
        mask_bits * covered / WEIGHTS, abs=1e-4
    )
    assert found["nm_valid"] == 1.0


def test_zero_points_are_paid_for(workshop: Any) -> None:
    out = workshop.quantize(symmetric=False)
    bits = workshop.measure(out)["bits_per_weight"]
    assert (bits["scales"], bits["zero_points"]) == (16 / 64, 4 / 64)


def test_an_ignored_mask_is_reported(workshop: Any) -> None:
    pruned = workshop.prune(pattern="2:8")
    out = workshop.quantize(pruned, mask="ignore")
    found = workshop.measure(out, pruned, sparsity=0.25, pattern="2:8", mask="ignore")
    assert found["containment"]["min"] <= found["containment"]["mean"] < 1
    assert found["nm_valid"] < 1
    assert found["achieved_sparsity"] < 0.25
    assert found["rate"]["achieved"] < found["rate"]["nominal"] == 0.8125
    assert found["bits_per_weight"]["mask"] == 0


def test_an_ignored_mask_does_not_pass_as_kept(workshop: Any) -> None:
    pruned = workshop.prune()
    # at 2 bit more weights are zero than the label says, and yet the mask is gone
    out = workshop.quantize(pruned, mask="ignore", bits=2)
    with pytest.raises(
        StageFailure, match=r"no longer zero in \d+ of .* model\.layers.*quant\.mask=keep"
    ):
        workshop.measure(out, pruned, sparsity=0.25, bits=2, mask="keep")


def damaged(workshop: Any, pruned: Path, **values: float) -> Path:
    """A copy of a pruned output in which one weight per layer got another value."""
    copy = workshop.root / f"damaged{len(list(workshop.root.glob('damaged*')))}"
    (copy / "checkpoint").mkdir(parents=True)
    for name in ("config.json",):
        (copy / "checkpoint" / name).write_bytes((pruned / "checkpoint" / name).read_bytes())
    tensors = load_file(pruned / "checkpoint" / "model.safetensors")
    for name, value in values.items():
        weight = tensors[f"model.layers.0.self_attn.{name}.weight"].view(-1)
        where = (weight == 0).nonzero()[0] if value else (weight != 0).nonzero()[:500]
        weight[where] = value
    save_file(tensors, copy / "checkpoint" / "model.safetensors")
    return copy


def test_one_invalid_group_is_found(workshop: Any) -> None:
    copy = damaged(workshop, workshop.prune(pattern="2:8"), q_proj=1.0)
    with pytest.raises(StageFailure, match=r"groups do not have the zeros of 2:8 in .*q_proj"):
        workshop.measure(copy, sparsity=0.25, pattern="2:8", bits=16)


def test_one_refilled_weight_is_found(workshop: Any) -> None:
    pruned = workshop.prune()
    copy = damaged(workshop, pruned, k_proj=1e-6)
    with pytest.raises(StageFailure, match=r"no longer zero in .*k_proj"):
        workshop.measure(copy, pruned, sparsity=0.25, bits=16)


def test_another_sparsity_than_the_label(workshop: Any) -> None:
    with pytest.raises(StageFailure, match=r"25\.\d+% .* the label says 50\.0000%"):
        workshop.measure(workshop.prune(), sparsity=0.5, bits=16)
    copy = damaged(workshop, workshop.prune(), o_proj=0.0)
    with pytest.raises(StageFailure, match="the label says 25"):
        workshop.measure(copy, sparsity=0.25, bits=16)


def test_other_bits_than_the_label(workshop: Any) -> None:
    with pytest.raises(StageFailure, match="not stored with 3 bits"):
        workshop.measure(workshop.quantize(bits=4), bits=3)


def test_weights_that_are_not_finite(workshop: Any) -> None:
    copy = damaged(workshop, workshop.prune(), v_proj=math.nan)
    with pytest.raises(StageFailure, match=r"not finite in .*v_proj"):
        workshop.measure(copy, sparsity=0.25, bits=16)


def test_a_checkpoint_without_matrices(tmp_path: Path, workshop: Any) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(StageFailure, match="no linear matrices"):
        workshop.measure(tmp_path)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 40), st.integers(0, 2**31))
def test_valid_groups_counts_complete_groups(n: int, extra: int, columns: int, seed: int) -> None:
    m = n + extra
    zero = torch.rand(3, columns, generator=torch.Generator().manual_seed(seed)) < 0.5
    expected = sum(
        int(row[i : i + m].sum()) >= n for row in zero for i in range(0, columns - m + 1, m)
    )
    assert rows.valid_groups(zero, n, m) == expected


@given(st.lists(st.integers(-8, 7), min_size=1, max_size=50))
def test_entropy_is_that_of_the_histogram(codes: list[int]) -> None:
    shares = [codes.count(c) / len(codes) for c in set(codes)]
    expected = -sum(s * math.log2(s) for s in shares)
    found = rows.entropy(torch.tensor(codes, dtype=torch.int8))
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0 <= found <= 4
