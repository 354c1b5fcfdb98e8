"""How the tests of the command line start it: as the start script does, and with a command that is made to fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import CHECKOUT

PYTHON = [sys.executable, "-I", "-S", "-X", "utf8"]
AIORUN = [*PYTHON, str(CHECKOUT / "aiorun" / "__main__.py")]

# A main with one command more, `try`, whose run is the Python statement that is its only argument.
_TRY = f"""\
import os, sys, types
sys.path.append({str(CHECKOUT)!r})
from aiorun import errors
from aiorun.cli import main
from aiorun.cli.command import Command
module = types.ModuleType("aiorun.cli.try")
module.COMMAND = Command(name="try", usage="<statement>", arguments=(1, 2), failure="try failed: ", failure_status=255)
def run(options, arguments, context):
    exec(arguments[0], {{**globals(), "context": context}})
    return 0
module.run = run
sys.modules[module.__name__] = module
main.COMMANDS["try"] = ("try", "run a statement")
os._exit(main.main(sys.argv[1:]))
"""
TRY = [*PYTHON, "-c", _TRY]


def run(*argv: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with pipes for stdout and stderr. Options are subprocess.run's."""
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([str(word) for word in argv], text=True, errors="surrogateescape", timeout=60, check=False, **given)
