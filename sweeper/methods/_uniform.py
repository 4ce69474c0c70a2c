"""The uniform grid of a quantization stage, in llm-compressor's words."""

from __future__ import annotations

from compressed_tensors.quantization import QuantizationArgs

from sweeper.methods import Params


def weight_grid(params: Params) -> QuantizationArgs:
    """Bits, groups and symmetry of the weights of a quantization stage."""
    grouped = params["group_size"] != -1
    return QuantizationArgs(
        num_bits=params["bits"],
        symmetric=params["symmetric"],
        strategy="group" if grouped else "channel",
        group_size=params["group_size"] if grouped else None,
    )
