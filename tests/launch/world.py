"""A mount namespace of a test's own, with an empty /run, in which programs are run and looked at from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT, need, need_root

PYTHON = os.path.realpath(sys.executable)
OPTIONS = ["-I", "-S", "-X", "utf8"]
HERE = "/run/checkout"  # the checkout inside, where everybody may read it, as they may not below /root

# Seals itself, and then executes its first argument, which may print one value with `tell`.
_PROGRAM = f"""\
import os, sys
sys.path.append({HERE!r})
from aiorun.launch import sealed
sealed.ensure()
def tell(value):
    import json
    os.write(1, json.dumps(value).encode())
exec(sys.argv[1])
"""


class World:
    """`world.run(argv)` runs a program in it; `world.sealed(code)` runs code in a sealed interpreter of it."""

    def __init__(self, holder: int) -> None:
        self.holder = holder
        self.program = "/run/program.py"  # where everybody may read it
        self.path(self.program).write_text(_PROGRAM)
        self.path(HERE).mkdir()
        self.run("mount", "--bind", CHECKOUT, HERE)
        self.place = self.path("/run/aiorun-python")
        self._hidden = 0  # the host's own, below our /run
        self._hidden = len(self.overlays())

    def path(self, path: str) -> Path:
        """A path of the world's, as seen from here."""
        return Path(f"/proc/{self.holder}/root{path}")

    def argv(self, *argv: str | Path) -> list[str]:
        return [need("nsenter"), f"--mount=/proc/{self.holder}/ns/mnt", "--", *map(str, argv)]

    def run(self, *argv: str | Path, check: bool = True, **options: Any) -> str:
        """stdout of a program, which has to exit 0, or with `check=False` stderr of one that has to fail."""
        given = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60, **options}
        ended = subprocess.run(self.argv(*argv), check=False, **given)
        assert (ended.returncode == 0) == check, ended.stderr
        text: str = ended.stdout if check else ended.stderr
        return text

    def command(self, code: str, *arguments: str, python: str | Path = PYTHON) -> list[str]:
        """The argv of a program that seals itself, run by `python`, and then does `code`."""
        return [str(python), *OPTIONS, self.program, code, *arguments]

    def sealed(
        self, code: str, *arguments: str, python: str | Path = PYTHON, before: tuple[str, ...] = (), **options: Any
    ) -> Any:
        """What `code` tells in a program that seals itself."""
        return json.loads(self.run(*before, *self.command(code, *arguments, python=python), **options))

    def shell(self, line: str) -> None:
        """Run a line of sh in it."""
        self.run("/bin/sh", "-ec", line)

    def overlays(self) -> list[list[str]]:
        """The fields in mountinfo of each overlay below the place. proc(5)."""
        fields = [line.split(" ") for line in Path(f"/proc/{self.holder}/mountinfo").read_text().splitlines()]
        return [row for row in fields if row[4].startswith("/run/aiorun-python/") and "overlay" in row][self._hidden :]

    def keys(self) -> list[str]:
        """The names of the sealed interpreters there are."""
        return sorted(name for name in os.listdir(self.place) if "@" in name)


@pytest.fixture
def world(leaves_nothing: None) -> Iterator[World]:
    """A world of this test's own, gone with it."""
    need_root()
    script = "mount -t tmpfs -o mode=755 tmpfs /run && echo && read wait"
    argv = [need("unshare"), "--mount", "--propagation", "private", "/bin/sh", "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield World(holder.pid)
        assert holder.stdin is not None
        holder.stdin.close()
