"""A container that sleeps, of aiorun and, where it is installed, of runc, in which things are executed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.conftest import Bundles, Change, CommandLine, changed
from tests.leaks import children
from tests.runtime.life import dead, letter
from tests.waiting import until

Boxes = Callable[..., "Box"]


@pytest.fixture(params=["aiorun", "runc"])
def runtime(request: pytest.FixtureRequest) -> CommandLine:
    """aiorun's command line, and then runc's: the test runs twice."""
    command_line: CommandLine = request.getfixturevalue(request.param)
    return command_line


class Box:
    """One container. `box("id", "-u", flags=["--user", "7"])` executes that, and is what it prints."""

    def __init__(self, command_line: CommandLine, id: str, bundle: Path) -> None:
        self.command_line, self.id, self.bundle = command_line, id, bundle

    def exec(self, *command: str, flags: list[str | Path] | None = None, **popen: Any) -> CompletedProcess[str]:
        return self.command_line("exec", *(flags or []), self.id, *command, **popen)

    def __call__(self, *command: str, flags: list[str | Path] | None = None, **popen: Any) -> str:
        """What it prints, without the last line's end. Fails the test unless it exits 0."""
        ended = self.exec(*command, flags=flags, **popen)
        if ended.returncode:
            pytest.fail(f"exited {ended.returncode}: {ended.stderr or ended.stdout}")
        return ended.stdout.rstrip("\n")

    def refuses(self, *command: str, flags: list[str | Path] | None = None, **popen: Any) -> str:
        """Why it could not be executed: one line, status 255, nothing printed."""
        ended = self.exec(*command, flags=flags, **popen)
        assert (ended.returncode, ended.stdout) == (255, ""), ended
        (line,) = ended.stderr.splitlines()
        assert ' level=error msg="exec failed: ' in line
        return line.partition("exec failed: ")[2].removesuffix('"').replace('\\"', '"').replace("\\\\", "\\")

    @property
    def pid(self) -> int:
        """Of its init."""
        pid: int = self.command_line.state(self.id)["pid"]
        return pid

    @property
    def rootfs(self) -> Path:
        return self.bundle / "rootfs"

    def delete(self) -> None:
        """As an engine does it: a pid namespace ends when those who were executed detached are reaped. They are our children."""
        state = self.command_line("state", self.id)
        pid = json.loads(state.stdout)["pid"] if state.returncode == 0 else 0
        if pid:
            self.command_line("kill", self.id, "KILL")
            until(lambda: ends(pid), "the container's end")
        self.command_line("delete", "--force", self.id, check=True)


def ends(init: int) -> bool:
    """Whether it is dead, once our dead children are reaped."""
    for pid in set(children()) - {init}:
        if letter(pid) == "Z":
            os.waitpid(pid, 0)
    return dead(init)


@pytest.fixture
def boxes(bundle: Bundles, leaves_nothing: None) -> Iterator[Boxes]:
    """`boxes(command_line, change)` is a new container that sleeps, with a root file system that may be written to."""
    made: list[Box] = []

    def make(command_line: CommandLine, change: Change = None, *, args: list[str] | None = None) -> Box:
        directory = bundle({"root": {"readonly": False}}, args=args or ["sleep", "1000"])
        if change is not None:
            config = bundle.read(directory)
            bundle.write(directory, changed(config, change))
        id = f"box{len(made)}"
        command_line("run", "--detach", "--bundle", directory, id, check=True)
        made.append(Box(command_line, id, directory))
        return made[-1]

    yield make
    for box in made:
        box.delete()


@pytest.fixture
def box(runtime: CommandLine, boxes: Boxes) -> Box:
    """A container of aiorun, and then of runc: the test runs twice."""
    return boxes(runtime)


@pytest.fixture
def ours(aiorun: CommandLine, boxes: Boxes) -> Box:
    """A container of aiorun alone."""
    return boxes(aiorun)
