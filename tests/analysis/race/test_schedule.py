"""The looks of a race and how documents are shared out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analysis.race.schedule import allocate, looks
from tests.analysis.race.fields import leaves

SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=12)


@given(SIZES, st.integers(0, 5000))
def test_shares_are_whole_never_fall_and_end_with_everything(sizes: list[int], total: int) -> None:
    now, more = allocate(total, sizes), allocate(total + 1, sizes)
    floor = sum(min(2, size) for size in sizes)
    assert sum(now) == max(min(total, sum(sizes)), floor)
    assert all(min(2, size) <= n <= size for n, size in zip(now, sizes, strict=True))
    assert all(a <= b for a, b in zip(now, more, strict=True))
    assert allocate(sum(sizes), sizes) == tuple(sizes)


@given(SIZES)
def test_shares_are_in_proportion(sizes: list[int]) -> None:
    half = sum(sizes) // 2
    for n, size in zip(allocate(half, sizes), sizes, strict=True):
        # highest averages stray from the exact share by less than one here; two are a floor
        assert n <= 2 or abs(n - half * size / sum(sizes)) < 1 + 2 * len(sizes) * size / sum(sizes)


def test_looks_double_for_each_task_and_end_with_what_is_left() -> None:
    parts = leaves({"pro": [700, 500], "math": [300]})
    found = looks(parts, 128)
    assert [look.per_task for look in found] == [128, 256, 512, 1024, 1200]
    assert [look.number for look in found] == [1, 2, 3, 4, 5]
    assert found[0].counts == {"pro_0": 75, "pro_1": 53, "math": 128}
    assert [look.counts["math"] for look in found] == [128, 256, 300, 300, 300]
    assert found[-1].counts == {"pro_0": 700, "pro_1": 500, "math": 300}
