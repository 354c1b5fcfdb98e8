"""What docs/ says of the code is what the code is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiorun.cli.main import COMMANDS
from aiorun.init.main import ALWAYS, executors
from aiorun.wire.ops import OPERATIONS
from tests.docs.coverage import SECTIONS
from tests.docs.tables import CHECKOUT, DOCUMENTS, TABLES, operations, rewritten


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_what_the_code_says(document: Path) -> None:
    text = document.read_text()
    assert text == rewritten(text), "`python -m tests.docs.tables` writes them anew"


def test_every_table_stands_in_one_document() -> None:
    shown = re.findall(r"<!-- table ([a-z ]+) -->", "".join(path.read_text() for path in DOCUMENTS))
    wanted = {"messages", "conversation", "operations", "rooms", "commands", "flags global"}
    wanted |= {f"flags {name}" for name in COMMANDS if _has_flags(name)}
    wanted |= {f"spec {section}" for section in SECTIONS}
    assert sorted(shown) == sorted(wanted)
    assert {name.partition(" ")[0] for name in wanted} == TABLES.keys()


def _has_flags(name: str) -> bool:
    module = __import__(f"aiorun.cli.{COMMANDS[name][0]}", fromlist=["COMMAND"])
    return bool(module.COMMAND.flags)


def test_every_operation_is_made_by_the_plan_and_executed_by_one_function() -> None:
    executed = executors(OPERATIONS.values())
    assert set(OPERATIONS.values()) == executed.keys()
    assert len(set(executed.values())) == len(executed)
    assert [name for name, _what, made_in, _function in operations() if made_in == "–"] == []


def test_a_stale_table_is_rewritten() -> None:
    stale = "before\n<!-- table messages -->\nold\n<!-- end -->\nafter"
    fresh = rewritten(stale)
    assert "old" not in fresh and "| Ready | init |" in fresh
    assert fresh.startswith("before\n") and fresh.endswith("\nafter")
    assert rewritten(fresh) == fresh


def test_what_every_container_runs_stays_an_hours_reading() -> None:
    """`init` and `wire` without the list of operations and without what is loaded for few plans: by `executors`, by Trace.

    docs/design.md says how many lines that is, to a tenth.
    """
    rare = {function.__module__.rpartition(".")[2] for function in executors(OPERATIONS.values()).values()}
    rare -= {function.__module__.rpartition(".")[2] for function in ALWAYS.values()}
    files = [path for room in ("init", "wire") for path in (CHECKOUT / "aiorun" / room).glob("*.py")]
    lines = sum(len(path.read_text().splitlines()) for path in files if path.stem not in rare | {"ops", "text", "log_json"})
    (said,) = re.findall(r"([\d,]+) lines", (CHECKOUT / "docs" / "design.md").read_text())
    assert {"console", "hooks"} <= rare
    assert lines <= 1700
    assert abs(lines - int(said.replace(",", ""))) <= lines / 10


def test_a_function_fits_a_screen_and_a_module_a_sitting() -> None:
    assert too_long(CHECKOUT) == []


def too_long(checkout: Path) -> list[str]:
    import ast

    found = []
    for path in sorted([*checkout.glob("aiorun/**/*.py"), *checkout.glob("recvtty/*.py")]):
        text = path.read_text()
        name = path.relative_to(checkout)
        if len(text.splitlines()) > 400 and name.name != "ops.py":  # a list, read as one
            found.append(f"{name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.body[0].lineno
                if (node.end_lineno or 0) - first + 1 > 40:
                    found.append(f"{name}: {node.name} is {(node.end_lineno or 0) - first + 1} lines")
    return found
