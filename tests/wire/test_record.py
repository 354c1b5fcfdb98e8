"""Records: fields from annotations, immutable, compared by value."""

from __future__ import annotations

import pytest

from aiorun.wire.record import Record


class Point(Record):
    x: int
    y: int = 5


class Place(Point):
    name: str = "here"


class Other(Record):
    x: int
    y: int = 5


def test_values_come_by_position_by_name_and_by_default() -> None:
    assert (Point(1).x, Point(1).y) == (1, 5)
    assert Point(1, 2) == Point(1, y=2) == Point(x=1, y=2) == Point(y=2, x=1)
    assert (Place(1, 2, "there").name, Place(1).name) == ("there", "here")


def test_the_fields_are_those_of_the_bases_and_then_ones_own() -> None:
    assert Point.fields == ("x", "y")
    assert Place.fields == ("x", "y", "name")
    assert Record.fields == ()


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((), {"y": 1}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"x": 1, "z": 2}), ((1, 2), {"z": 2})],
)
def test_a_missing_a_double_and_an_unknown_value_are_refused(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        Point(*values, **named)


def test_nothing_of_it_can_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="Point is immutable"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Point is immutable"):
        point.z = 2
    assert point == Point(1)


def test_records_are_equal_by_kind_and_value_and_hash_alike() -> None:
    assert Point(1, 2) != Point(1, 3)
    assert Point(1) != Other(1)
    assert Point(1) != (1, 5)
    assert len({Point(1), Point(1, 5), Point(y=5, x=1), Point(2)}) == 2


def test_it_shows_its_values() -> None:
    assert repr(Place(1, name="n")) == "Place(x=1, y=5, name='n')"
