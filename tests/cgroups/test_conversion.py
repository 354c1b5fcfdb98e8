"""v1's numbers on v2: pure, and as runc converts them."""

from __future__ import annotations

import pytest

from aiorun.cgroups.block_io import io_weight
from aiorun.cgroups.v2 import swap_max, weight
from aiorun.errors import CgroupError


@pytest.mark.parametrize(
    ("shares", "expected"), [(1, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262143, 10000), (262144, 10000)]
)
def test_shares_become_a_weight_on_runcs_curve(shares: int, expected: int) -> None:
    assert weight(shares) == expected


def test_more_shares_are_never_less_weight() -> None:
    weights = [weight(shares) for shares in range(2, 262145, 7)]
    assert weights == sorted(weights)


@pytest.mark.parametrize(
    ("limit", "swap", "expected"),
    [
        (100, 300, "200"),
        (100, 100, "0"),
        (100, -1, "max"),
        (-1, None, "max"),
        (-1, 50, "50"),
        (100, None, None),
        (None, None, None),
    ],
)
def test_swap_is_what_is_left_of_memory_and_swap(limit: int | None, swap: int | None, expected: str | None) -> None:
    assert swap_max(limit, swap) == expected


@pytest.mark.parametrize(("limit", "swap"), [(None, 100), (200, 100)])
def test_swap_that_doesnt_go_with_the_limit_is_refused(limit: int | None, swap: int) -> None:
    with pytest.raises(CgroupError, match=r"^set linux.resources.memory.swap to 100: "):
        swap_max(limit, swap)


def test_block_io_weights_span_the_range() -> None:
    assert [io_weight(10), io_weight(500), io_weight(1000)] == [1, 4950, 10000]
