"""What a command loads is on this list. Each import is paid at every start (docs/design.md, the import budget)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import PYTHON, run
from tests.conftest import CHECKOUT

FRAME = {
    "__future__", "select", "time",
    "aiorun", "aiorun.errors", "aiorun.wire", "aiorun.wire.record",
    "aiorun.cli", "aiorun.cli.command", "aiorun.cli.flags", "aiorun.cli.log", "aiorun.cli.main", "aiorun.cli.output",
    "aiorun.cli.quoting", "aiorun.console", "aiorun.console.standard_streams",
}  # fmt: skip
VERSION = {"aiorun._version", "aiorun.cli.version"}
JSON = {"_json", "aiorun.wire.json"}
LOADED = {
    "nosuch": FRAME,
    "--version": FRAME | VERSION,
    "--log-format=json nosuch": FRAME | JSON | {"aiorun.cli.log_json"},
    "spec": FRAME | JSON | {"aiorun.cli.spec", "aiorun.spec", "aiorun.undo"},
    "help": FRAME | VERSION | {"aiorun.cli.help", "aiorun.cli.tables"},
}


@pytest.mark.parametrize("line", LOADED)
def test_a_command_loads_what_is_listed(tmp_path: Path, line: str) -> None:
    script = f"""\
import os, sys
before = set(sys.modules)
sys.path.append({str(CHECKOUT)!r})
from aiorun.cli.main import main
main({line.split()!r})
os.write(1, ("\\n" + " ".join(sorted(set(sys.modules) - before))).encode())
"""
    ended = run(*PYTHON, "-c", script, cwd=tmp_path)
    loaded = {"aiorun.spec" if name.startswith("aiorun.spec.") else name for name in ended.stdout.rpartition("\n")[2].split()}
    assert loaded - LOADED[line] == set()
