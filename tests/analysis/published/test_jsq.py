"""JSQ's accounting from shapes, and which of its printed numbers follow from it."""

from __future__ import annotations

from collections import Counter

import pytest

from analysis.output.render import to_markdown
from analysis.published.jsq import (
    SHAPES,
    accounting_table,
    averages,
    averages_table,
    macs,
    points,
    rows,
    size,
)
from analysis.reproduction.jsq_figures import rate_figure
from analysis.reproduction.other_papers import PAPERS, tables


def test_llama_7b_by_hand() -> None:
    shape = SHAPES["LLaMA-7B"]
    assert shape.linear == 32 * (4 * 4096**2 + 3 * 4096 * 11008) == 6_476_005_376
    assert shape.total == 6_738_149_376  # 6,738,415,616 with the norms
    assert shape.linear * 2048 / 1e12 == pytest.approx(13.263, abs=5e-4)
    assert macs(shape, bits=0) / 1e12 == pytest.approx(0.268 + 1.100, abs=1e-3)
    assert macs(shape) / 1e12 == pytest.approx(14.63, abs=5e-3)
    assert size(shape) / 2**30 == pytest.approx(12.55, abs=5e-3)
    # 43.75 % and 8 bit: 13.263 * .5625 / 4 + 1.368; 12.55 * .5625 / 2
    assert macs(shape, sparsity=0.4375, bits=8) / 1e12 == pytest.approx(3.233, abs=2e-3)
    assert size(shape, sparsity=0.4375, bits=8) / 2**30 == pytest.approx(3.53, abs=5e-3)


def test_more_compression_costs_less() -> None:
    shape = SHAPES["ChatGLM3-6B"]
    for cost in (macs, size):
        assert cost(shape) > cost(shape, sparsity=0.5) > cost(shape, sparsity=0.5, bits=8)
    assert macs(shape, tokens=1024) < macs(shape) / 2  # attention is quadratic


def test_which_rows_are_reproduced() -> None:
    found = [r for table in ("1", "9") for r in rows(table)]
    seven = [r for r in found if r.model in ("LLaMA-7B", "LLaMA2-7B")]
    # All of LLaMA-7B but the three joint rows at 3.91 T, whose size is 0.2 too small.
    assert {(r.macs, r.size) for r in seven if r.reproduced != "both"} == {(3.91, 4.6)}
    others = Counter(r.reproduced for r in found if r not in seven)
    # No other model's MACs follow; with the settings of LLaMA-7B nearly all their sizes do.
    assert others["both"] == others["MACs only"] == 0
    assert others["size only"] >= 28
    assert {r.method: (round(r.sparsity, 2), r.bits) for r in seven if r.macs == 3.24} == {
        "Wanda": (0.86, 16),
        "LLM-Pruner": (0.86, 16),
        "SparseGPT": (0.86, 16),
        "SmoothQuant": (0, 6),
        "OmniQuant": (0, 6),
        "Wanda+SmoothQuant": (0.44, 8),
        "SparseGPT+SmoothQuant": (0.44, 8),
        "JSQ (Ours)": (0.44, 8),
    }


def test_the_means_that_do_not_add_up() -> None:
    wrong = averages()
    wrong = wrong[~wrong["agrees"]]
    assert list(zip(wrong["table"], wrong["model"], wrong["printed"], strict=True)) == [
        ("1", "LLaMA-33B", 70.27),
        ("9", "LLaMA-7B", 65.44),
    ]
    assert wrong["computed"].tolist() == pytest.approx([70.9943, 65.17], abs=1e-3)
    assert "76 of 78" in to_markdown(averages_table())


def test_points_lie_at_their_rate() -> None:
    frame = points()
    assert len(frame) == 68
    assert frame["tcr"].between(0.5, 1).all()
    one = frame[(frame["model"] == "LLaMA-7B") & (frame["label"] == "JSQ (Ours)")].iloc[0]
    assert one["tcr"] == pytest.approx(1 - 3.5 / 12.6)
    # 437.93 of 450.84 points of the dense model on seven tasks
    assert one["sr2"] == pytest.approx(437.93 / 450.84, abs=1e-6)
    assert one["ppl_ratio"] == pytest.approx(9.42 / 11.04)
    assert len(accounting_table().rows) == 78


def test_points_are_drawn_and_the_papers_are_listed() -> None:
    assert rate_figure().name == "jsq_over_rate_LLaMA-7B"
    names = [t.name for paper in PAPERS for t in tables(paper)]
    assert len(names) == len(set(names)) == 16
    assert {f"mpt_table_{n}" for n in range(1, 11)} < set(names)
    assert {"mpt_transitions", "mpt_front_9", "mpt_front_10", "mpt_misprints"} < set(names)
