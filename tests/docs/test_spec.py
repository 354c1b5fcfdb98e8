"""docs/spec.md's rows: their tests exist, no property of the specification is without one, and every row has one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from aiorun.spec.checks import items, mapping, members, unique
from aiorun.spec.shapes import DOCUMENT
from tests.docs.coverage import SECTIONS
from tests.docs.coverage.row import Row
from tests.docs.tables import CHECKOUT

ROWS = [row for rows in SECTIONS.values() for row in rows]


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((CHECKOUT / "tests" / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing(row: Row) -> list[str]:
    """The tests that the row names and that aren't there."""
    return [
        f"{file}::{function}"
        for file, function in row.test_names
        if not (CHECKOUT / "tests" / file).is_file() or not function.startswith("test_") or function not in functions(file)
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name[:40])
def test_the_tests_that_a_row_names_are_there(row: Row) -> None:
    assert missing(row) == []


def test_a_test_that_is_not_there_is_found() -> None:
    assert missing(Row("x", "x", "docs/test_spec.py::test_nosuch no/such/file.py::test_x docs/test_spec.py::missing")) != []
    assert missing(Row("x", "x", "docs/test_spec.py::test_a_test_that_is_not_there_is_found")) == []


def leaves(rule: Any, path: str) -> Iterator[str]:
    """The properties below a rule of aiorun/spec/checks.py, as rows name them."""
    check, argument = rule
    if check is members:
        for name, member in argument[0].items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    elif check in (items, mapping):
        yield from leaves(argument, path + ("[]" if check is items else "{}"))
    elif check is unique:
        yield from leaves(argument[0], f"{path}[]")
    else:
        yield path


def names_it(row_name: str, leaf: str) -> bool:
    return leaf == row_name.removesuffix("[]") or leaf.startswith((f"{row_name}.", f"{row_name}[", f"{row_name}{{"))


def test_every_property_of_the_specification_is_in_a_row() -> None:
    named = {name for row in ROWS for name in row.properties}
    all_leaves = [leaf for name, rule in DOCUMENT.items() for leaf in leaves(rule, name)]
    assert len(all_leaves) > 150
    narrower = {"process", "mounts"}  # rows of their own that don't stand for what is in them
    assert [leaf for leaf in all_leaves if not any(names_it(name, leaf) for name in named - narrower)] == []


def test_every_row_has_a_test() -> None:
    assert [row.name for row in ROWS if not row.tests] == []


def test_nothing_has_two_rows() -> None:
    subjects = [subject for row in ROWS for subject in row.subjects]
    assert sorted(subjects) == sorted(set(subjects))
