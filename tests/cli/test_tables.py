"""Tables are aligned as Go's tabwriter aligns them."""

from __future__ import annotations

import json

from aiorun.cli.tables import table
from tests.conftest import Bundles, CommandLine

HEADER = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def test_a_header_alone_has_columns_of_twelve() -> None:
    assert table([HEADER]) == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"


def test_a_column_is_three_wider_than_its_longest_cell() -> None:
    assert table([("ID", "X"), ("0123456789", "y")]) == "ID           X\n0123456789   y\n"


def test_width_counts_characters_not_bytes() -> None:
    assert table([("ÄÖÜ", "x")], minwidth=0, padding=1) == "ÄÖÜ x\n"


def test_a_cell_cannot_break_the_table() -> None:
    assert table([("a\tb\n\x1b", "x")]) == "a\\tb\\n\\x1b   x\n"


def test_a_list_is_runcs_byte_for_byte(runc: CommandLine, bundle: Bundles) -> None:
    ids = ["a", "container-with-a-long-name"]
    try:
        for id in ids:
            runc("create", "--bundle", bundle(), id, check=True, timeout=30)
        listed = json.loads(runc("list", "--format", "json", check=True).stdout)
        rows = [[str(entry[key.lower()]) for key in HEADER] for entry in listed]
        assert table([HEADER, *rows]) == runc("list", check=True).stdout
        assert len(rows) == len(ids)
    finally:
        for id in ids:
            runc("delete", "--force", id)
