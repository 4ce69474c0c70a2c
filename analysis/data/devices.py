"""Devices that scores were computed on: "cpu", "cpu (AMD EPYC, avx2)", "NVIDIA A100"."""

from __future__ import annotations

UNKNOWN_CPU = "cpu"


def differ(one: str, two: str) -> bool:
    """Whether two are known to be of different types.

    Several of one cell are joined by "+". "" is not known, and of a bare "cpu" (as older outputs
    say) no type is.
    """
    first, second = set(one.split("+")), set(two.split("+"))
    if any(name.startswith(f"{UNKNOWN_CPU} ") for name in first | second):
        first, second = first - {UNKNOWN_CPU}, second - {UNKNOWN_CPU}
    return first != second and "" not in first | second and bool(first and second)
