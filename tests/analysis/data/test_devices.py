"""Whether two devices are known to differ."""

from __future__ import annotations

import pytest

from analysis.data.devices import differ

ZEN, ICE = "cpu (AMD EPYC, avx512)", "cpu (Intel Xeon, amx)"


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("cpu", "cpu", False),
        ("cpu", ZEN, False),  # an older output says no type
        (ZEN, ICE, True),
        ("cpu", "NVIDIA A10", True),
        (ZEN, "NVIDIA A10", True),
        ("", ZEN, False),
        (f"{ZEN}+{ICE}", ZEN, True),
        (f"cpu+{ZEN}", ZEN, False),
    ],
)
def test_types_that_are_not_known_do_not_differ(one: str, two: str, expected: bool) -> None:
    assert differ(one, two) is differ(two, one) is expected
