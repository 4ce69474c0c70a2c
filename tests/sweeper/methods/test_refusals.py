"""What the front end refuses of the built-in methods, and that it needs no torch for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from sweeper import methods
from sweeper.methods.pruning.sparsegpt import METHOD as SPARSEGPT
from sweeper.methods.quantization.gptq import METHOD as GPTQ

SHAPES = {
    "model.layers.0.self_attn.q_proj": (576, 576),
    "model.layers.0.mlp.down_proj": (576, 1536),
    "model.layers.1.mlp.down_proj": (576, 1536),
}
PRUNE = {"sparsity": 0.25, "pattern": "unstructured", "block_size": 128, "dampening": 0.01}
QUANTIZE = {
    "bits": 4,
    "group_size": 64,
    "symmetric": True,
    "actorder": "static",
    "mask": "keep",
    "block_size": 128,
    "dampening": 0.01,
    "shapes": SHAPES,
}


def test_found_by_name() -> None:
    assert "sparsegpt" in methods.names("prune")
    assert "gptq" in methods.names("quantize")
    assert methods.find("quantize", "gptq", "quant.method") is GPTQ


@pytest.mark.parametrize("pattern", ["unstructured", "2:8", "1:3", "15:16"])
def test_valid_patterns(pattern: str) -> None:
    assert SPARSEGPT.refusal(PRUNE | {"pattern": pattern, "shapes": SHAPES}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pattern": "3:2"}, "prune.pattern=3:2: valid: unstructured, or N:M with 0 < N < M"),
        ({"pattern": "0:4"}, "prune.pattern=0:4"),
        ({"pattern": "4:4"}, "prune.pattern=4:4"),
        ({"pattern": "two:four"}, "prune.pattern=two:four"),
        ({"pattern": "1:999", "shapes": SHAPES}, "M=999 is wider than a row of q_proj (576"),
        ({"sparsity": 1.0}, "prune.sparsity=100.0: valid: 0, or 1 to below 100 percent"),
        ({"dampening": 0.0}, "prune.dampening=0.0: valid: above 0, at most 1"),
        ({"dampening": 2}, "prune.dampening=2"),
        ({"block_size": 0}, "prune.block_size=0"),
    ],
)
def test_refused_prunings(change: dict[str, Any], message: str) -> None:
    assert message in str(SPARSEGPT.refusal(PRUNE | change))


@pytest.mark.parametrize(
    "change",
    [{}, {"group_size": -1}, {"bits": 3}, {"actorder": "none"}, {"mask": "exact"}],
)
def test_valid_quantizations(change: dict[str, Any]) -> None:
    assert GPTQ.refusal(QUANTIZE | change) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 5}, "quant.bits=5: gptq, valid: 2, 3, 4, 8"),
        ({"bits": 16}, "quant.bits=16"),
        ({"actorder": "group"}, "quant.actorder=group: valid: none, static"),
        (
            {"actorder": "weight"},
            "static orders columns by activation and keeps groups contiguous "
            "(weight is its other name)",
        ),
        (
            {
                "mask": "exact",
                "shapes": {"up_proj": (14336, 4096)}
                | SHAPES
                | {f"model.layers.{i}.mlp.up_proj": (14336, 4096) for i in range(32)},
                "group_size": 64,
            },
            "quant.mask=exact: factors a Hessian for each of 474816 rows: up to 1e+16 ",
        ),
        ({"group_size": 0}, "quant.group_size=0"),
        ({"dampening": -0.1}, "quant.dampening=-0.1"),
        ({"block_size": -1}, "quant.block_size=-1"),
        (
            {"group_size": 128},
            "quant.group_size=128: it does not divide the columns of q_proj (576 columns). "
            "Sizes that fit all layers: -1 (whole rows), 8, 12, 16, 24, 32, 48, 64, 96, 192.",
        ),
        ({"group_size": 100}, "q_proj (576 columns), down_proj (1536 columns)"),
    ],
)
def test_refused_quantizations(change: dict[str, Any], message: str) -> None:
    assert message in str(GPTQ.refusal(QUANTIZE | change))


def test_the_front_end_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from sweeper import methods\n"
        "methods.names('prune'), methods.names('quantize')\n"
        "import sweeper.stages.prune.stage, sweeper.stages.quantize, sweeper.stages.measure.stage\n"
        "import sweeper.stages.convert\n"
        "heavy = {'torch', 'transformers', 'llmcompressor', 'compressed_tensors', 'numpy'}\n"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
