"""The tables of docs/ that the code decides. `python -m tests.docs.tables` writes them anew; a test holds that they are current.

A document has `<!-- table NAME -->`, the table, `<!-- end -->`.
"""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from aiorun.cli.flags import BOOL
from aiorun.cli.help import default_text
from aiorun.cli.main import COMMANDS, GLOBAL_FLAGS
from aiorun.init.main import executors
from aiorun.wire import protocol
from aiorun.wire.ops import OPERATIONS, Operation
from tests.docs.coverage import SECTIONS

CHECKOUT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md")))
_PLACE = re.compile(r"(<!-- table ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(document: str) -> str:
    """The document with its tables as the code has them today. Raises KeyError for a table that nobody makes."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{_table(place[2])}\n{place[3]}", document)


def _table(name: str) -> str:
    kind, _, subject = name.partition(" ")
    rows = list(TABLES[kind](subject) if subject else TABLES[kind]())
    rows.insert(1, tuple("---" for _ in rows[0]))
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


# --- who says what when


def messages() -> Iterator[tuple[str, ...]]:
    yield "message", "who", "fields", "meaning"
    for kind in (protocol.Proceed, protocol.Found, protocol.RunHooks, protocol.Listener, protocol.Ready, protocol.Failed):
        who, _, meaning = _first_paragraph(kind.__doc__).partition(": ")
        yield kind.__name__, who.lower(), _code(kind.fields), meaning


def conversation() -> Iterator[tuple[str, ...]]:
    yield "state", "the parent may say", "the init may say"
    for state in {**protocol.FROM_PARENT, **protocol.FROM_INIT}:
        yield state, _moves(protocol.FROM_PARENT.get(state, {})), _moves(protocol.FROM_INIT.get(state, {}))


def _moves(row: dict[type[protocol.Message], str]) -> str:
    return ", ".join(f"{message.__name__} → {following}" for message, following in row.items()) or "–"


# --- operations


def operations() -> Iterator[tuple[str, ...]]:
    yield "operation", "what, as `aiorun plan` and errors say it", "made by `aiorun/plan/`", "executed by `aiorun/init/`"
    makers = {name: _makers(name) for name in OPERATIONS}
    for name, kind in OPERATIONS.items():
        executed = executors(OPERATIONS.values())[kind]
        function = f"{executed.__module__.rpartition('.')[2]}.{executed.__name__}"
        yield name, _placeholders(kind).describe(), _code(makers[name]), f"`{function}`"


def _placeholders(kind: type[Operation]) -> Operation:
    """One whose every field is the field's name."""
    hints: dict[str, str] = {name: str(hint) for base in reversed(kind.__mro__) for name, hint in _annotations(base).items()}
    return kind(**{name: (name.upper(),) if hints[name].startswith("tuple") else name.upper() for name in kind.fields})


def _annotations(base: type) -> dict[str, Any]:
    return dict(base.__dict__.get("__annotations__", {}))


def _makers(name: str) -> list[str]:
    """Files of plan/; `--debug` puts its own operation before a plan that is made."""
    files = {path.name: path for path in sorted((CHECKOUT / "aiorun" / "plan").glob("*.py"))}
    files["launch/trace.py"] = CHECKOUT / "aiorun" / "launch" / "trace.py"
    return [file for file, path in files.items() if re.search(rf"\bops\.{name}\b", path.read_text())]


# --- rooms


def rooms() -> Iterator[tuple[str, ...]]:
    """As pyproject.toml's walls have them."""
    yield "room", "what it is", "may import"
    (contract,) = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for line in contract["rooms"]:
        name, _, allowed = line.partition(":")
        what = _first_paragraph(ast.get_docstring(ast.parse(_source(name).read_text())))
        yield f"`{name}`", what, allowed.strip().replace("*", "everything") or "nothing of ours"


def _source(room: str) -> Path:
    package = CHECKOUT if room in ("aiorun", "recvtty") else CHECKOUT / "aiorun"
    module, init = package / f"{room}.py", package / room / "__init__.py"
    return module if module.exists() else init


# --- the command line


def flags(command: str) -> Iterator[tuple[str, ...]]:
    """Of one command; "global" are those before it."""
    yield "flag", "meaning"
    listed = GLOBAL_FLAGS if command == "global" else importlib.import_module(f"aiorun.cli.{COMMANDS[command][0]}").COMMAND.flags
    for flag in listed:
        value = "" if flag.kind == BOOL else " value"
        forms = ", ".join(f"`{'-' if len(name) == 1 else '--'}{name}{value}`" for name in flag.names)
        yield forms, flag.help + (f" (default: `{default_text(flag)}`)" if flag.default is not None else "")


def commands() -> Iterator[tuple[str, ...]]:
    yield "command", "what it does"
    for name, (module, summary) in COMMANDS.items():
        usage = importlib.import_module(f"aiorun.cli.{module}").COMMAND.usage
        yield f"[`{name} {usage}`](#{name})".replace(" `", "`"), summary


# --- the specification


def spec(section: str) -> Iterator[tuple[str, ...]]:
    """Of tests/docs/coverage."""
    yield "property", "what aiorun does", "shown by", "needs"
    for row in SECTIONS[section]:
        shown = ", ".join(f"[`{function}`](../tests/{file})" for file, function in row.test_names)
        name = _code(row.properties) if row.properties else row.name
        yield name + (f": {_code(row.values.split())}" if row.values else ""), row.does, shown or "–", row.needs or "–"


TABLES: dict[str, Callable[..., Iterable[tuple[str, ...]]]] = {
    table.__name__: table for table in (messages, conversation, operations, rooms, flags, commands, spec)
}


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "–"


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(rewritten(path.read_text()))
