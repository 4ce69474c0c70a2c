"""Storage and equal compression: hand-worked sizes, break-even, groups and fronts."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.comparison.size import (
    RATES,
    equal_size_table,
    front,
    groups,
    size_tables,
    sizes,
    sizes_table,
)
from analysis.comparison.storage_bits import (
    best_mask_bits,
    bitmask_bits,
    code_entropy,
    effective_bits,
    entropy,
    group_bits,
    hardware_bits,
    whole_bytes,
)
from analysis.data.panel import panels
from analysis.output import render
from analysis.published.reference import laborde2025
from analysis.report.figures.pareto_figures import front_figures


@pytest.mark.parametrize(
    ("pattern", "bits"),
    [
        ("1:4", 0.5),
        ("2:8", 0.6009),
        ("1:3", 0.5283),
        ("2:6", 0.6511),
        ("2:4", 0.6462),
    ],
)
def test_masks_of_patterns(pattern: str, bits: float) -> None:
    n, m = map(int, pattern.split(":"))
    assert best_mask_bits(n / m, pattern) == pytest.approx(bits, abs=5e-5)


def test_masks_without_a_pattern() -> None:
    assert [round(entropy(s), 3) for s in (0.25, 1 / 3, 0.5)] == [0.811, 0.918, 1.0]
    assert (bitmask_bits(0), bitmask_bits(0.25)) == (0, 1)
    assert hardware_bits("2:4") == 1
    assert math.isnan(hardware_bits("2:8"))


def test_scales_and_zero_points() -> None:
    assert group_bits(128, 4) == 0.125
    assert group_bits(128, 4, "packed") == 20 / 128
    assert group_bits(128, 4, "float") == 0.25
    with pytest.raises(ValueError, match="valid: none, packed, float"):
        group_bits(128, 4, "maybe")


@pytest.mark.parametrize(("bits", "sparsity"), [(4, 0.25), (3, 1 / 3), (8, 0.125)])
def test_a_bitmask_breaks_even_at_one_over_q(bits: float, sparsity: float) -> None:
    plain = effective_bits(bits, 0, 0, 0.125)
    assert effective_bits(bits, sparsity, 1, 0.125) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("bits", "sparsity", "bound"),
    [
        (4, 0, 3.48),
        (4, 0.25, 3.40),
        (3, 0, 2.41),
    ],
)
def test_entropy_of_codes_and_zeros(bits: float, sparsity: float, bound: float) -> None:
    assert code_entropy(bits, sparsity) == pytest.approx(bound, abs=0.005)


def test_entropy_agrees_with_simulation() -> None:
    weights = np.random.default_rng(2).normal(size=(20_000, 64))
    weights[np.abs(weights) < np.quantile(np.abs(weights), 0.5)] = 0
    scale = np.abs(weights).max(axis=1, keepdims=True) / 3.5
    codes = np.clip(np.round(weights / scale), -4, 3)
    share = np.unique(codes, return_counts=True)[1] / codes.size
    assert code_entropy(3, 0.5, 64) == pytest.approx(-(share * np.log2(share)).sum(), abs=0.01)


def test_entropy_of_bfloat16() -> None:
    weights = np.random.default_rng(3).normal(size=2_000_000).astype(np.float32)
    rounded = (weights.view(np.uint32) >> 16).astype(np.int64)
    share = np.unique(rounded, return_counts=True)[1] / rounded.size
    assert code_entropy(16, 0) == pytest.approx(-(share * np.log2(share)).sum(), abs=0.02)


@given(st.sampled_from([2, 3, 4, 8]), st.floats(0, 0.9))
def test_no_entropy_exceeds_the_codes(bits: int, sparsity: float) -> None:
    assert 0 <= code_entropy(bits, round(sparsity, 2)) <= bits


def test_bytes_of_a_whole_model() -> None:
    """LLaMA-3.1-8B with 4.125 bits in its linear weights."""
    bytes_ = whole_bytes(4.125, 6_979_321_856, 8_030_261_248)
    assert bytes_ == 6_979_321_856 * 4.125 / 8 + 2 * 1_050_939_392


# --- cells ---


@pytest.fixture(scope="module")
def both():
    return panels(laborde2025())


def named(panel, name: str) -> pd.Series:
    table = sizes(panel)
    return table[table["label"] == name].iloc[0]


def test_the_joint_cell_is_no_smaller_than_plain_four_bit(both) -> None:
    joint, plain = (named(both[0], n) for n in ("25% + 4bit", "4bit"))
    assert joint["tcr"] > plain["tcr"]
    assert joint["bits_bitmask"] == plain["bits_bitmask"] == joint["bits_served"] == 4.125
    assert joint["bits_best_mask"] == pytest.approx(3 + entropy(0.25) + 0.125)
    assert named(both[0], "2:8 + 4bit")["bits_best_mask"] == pytest.approx(3.7259, abs=1e-4)


def test_whole_model_rate_counts_what_stays_at_16_bit(both) -> None:
    assert named(both[0], "2bit")["whole_tcr"] == pytest.approx(
        0.875 * 6_979_321_856 / 8_030_261_248
    )


def test_measured_bits_come_before_formulas(make) -> None:
    results = make(cells=lambda c: c.assign(stored_bits=4.3, entropy_bits=3.3, group_size=64))
    row = named(panels(results)[0], "4bit")
    assert (row["bits_served"], row["bits_entropy"]) == (4.3, 3.3)
    assert row["bits_bitmask"] == 4.25


BITS = ["bits_served", "bits_bitmask", "bits_best_mask"]


@pytest.mark.parametrize(("method", "guessed"), [("nf4", 4.5), ("llm_int8", 4 + 32 / 4096)])
def test_bits_of_scales_come_before_the_rule_for_published_cells(make, method, guessed) -> None:
    def served(**more: object) -> list[float]:
        quantized = {"quant_method": method, "group_size": np.nan, **more}
        results = make(
            cells=lambda c: c.assign(
                **{
                    name: c[name].where(c["label"] != "4bit", value) if name in c else value
                    for name, value in quantized.items()
                }
            )
        )
        return list(named(panels(results)[0], "4bit")[BITS])

    assert served() == [guessed] * 3
    assert served(scale_bits=0.127) == [4.127] * 3
    assert served(scale_bits=0.127, stored_bits=4.2) == [4.2, 4.127, 4.127]


def test_zeros_that_were_refilled_save_nothing(make) -> None:
    panel = panels(make())[0]
    kept, ignored = (named(panel, n) for n in ("25% + 4bit", "25% + 4bit (mask ignored)"))
    assert kept["bits_best_mask"] < ignored["bits_best_mask"] == ignored["bits_served"]


def test_at_equal_size_plain_quantization_competes(both) -> None:
    """Mistral: 4 bit beats 25 % + 4 bit at the same bytes, 3 bit beats 33.333 % + 3 bit."""
    rows = equal_size_table(both).rows
    mine = rows[(rows["model"] == "Mistral-7B-v0.3") & (rows["rate"] == "size with a bitmask")]
    verdict = dict(zip(mine["label"], mine["verdict"], strict=True))
    assert verdict["4bit"] == "best"
    assert verdict["25% + 4bit"] == "worse"
    assert verdict["3bit"] == "best"
    assert verdict["33.333% + 3bit"] == "worse"
    llama = rows[(rows["model"] == "LLaMA-3.1-8B") & (rows["rate"] == "size as served")]
    assert dict(zip(llama["label"], llama["verdict"], strict=True))["25% + 4bit"] == "best"


def test_groups_of_one_model_are_the_same_by_both_theoretical_rates(both) -> None:
    table = sizes(both[0])
    one, two = (groups(table[f"share_{r.key}"].to_numpy(float), r) for r in RATES[:2])
    assert [sorted(g) for g in one] == [sorted(g) for g in two]


def test_nearly_equal_sizes_are_equal() -> None:
    rate = RATES[2]
    assert groups(np.array([0.5, 0.4951, 0.49, np.nan]), rate) == [[0, 1]]


def dominated(share: float, value: float, others: list[tuple[float, float]]) -> bool:
    return any((s <= share and v > value) or (s < share and v >= value) for s, v in others)


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(cells: list[tuple[float, float]]) -> None:
    share, value = (np.array(column) for column in zip(*cells, strict=True))
    on = front(share, value)
    assert all(not dominated(share[r], value[r], cells) for r in on)
    best = {cells[r] for r in on}
    assert all(c in best or dominated(*c, cells) for c in cells)
    assert list(share[on]) == sorted(share[on], reverse=True)


def test_tables_and_figures_are_made(both, make) -> None:
    assert "size as served" in render.to_markdown(sizes_table(both))
    assert len(list(front_figures([*both, panels(make())[0]]))) == 3


def test_a_sweep_that_was_not_measured_has_gaps(make) -> None:
    bare = make(cells=lambda c: c.drop(columns=["linear_weights", "total_weights", "bytes"]))
    panel = panels(bare)[0]
    assert sizes(panel)["share_served"].isna().all()
    rows = equal_size_table([panel]).rows
    assert set(rows["rate"]) == {"TCr"}
    assert size_tables([panel]) == []
    assert list(front_figures([panel])) == []


def test_a_report_has_the_real_sizes(both) -> None:
    equal, every = size_tables(both)
    assert set(equal.rows["rate"]) == {rate.title for rate in RATES[2:]}
    assert len(every.rows) == 48


def test_nothing_to_group_is_no_error(make) -> None:
    dense = panels(make(cells=lambda c: c[c["label"] == "dense"]))
    assert equal_size_table(dense).rows.empty
    assert list(front_figures(dense)) == []
