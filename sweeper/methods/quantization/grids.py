"""The uniform grids of a quantization stage, in llm-compressor's words."""

from __future__ import annotations

from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

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


def groups(params: Params) -> dict[str, QuantizationScheme]:
    """The grids of all linear layers, as llm-compressor's ``config_groups``.

    It is one, unless ``bits_by_matrix`` (name -> bits) says what each matrix has.
    """
    mixed = params.get("bits_by_matrix")
    if mixed is None:
        return {"linear": QuantizationScheme(targets=["Linear"], weights=weight_grid(params))}
    return {
        f"{bits}bit": QuantizationScheme(
            targets=[name for name, found in mixed.items() if found == bits],
            weights=weight_grid({**params, "bits": bits}),
        )
        for bits in sorted(set(mixed.values()))
    }


def token_grid(bits: int) -> QuantizationArgs:
    """Inputs of a matrix, symmetric, with a scale for each token that is found at run time."""
    return QuantizationArgs(num_bits=bits, symmetric=True, strategy="token", dynamic=True)
