"""Each property of the specification on a real container, made by aiorun and, where it is installed, by runc.

`runtime` is either of them, so that a test which takes it holds the same expectation against both. A test for which
Debian's runc 1.1.5 is too old takes `aiorun` instead, and says why.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.conftest import Bundles, Change, CommandLine, need, need_root

_numbers = itertools.count(1)


@pytest.fixture(params=["aiorun", "runc"])
def runtime(request: pytest.FixtureRequest) -> CommandLine:
    """aiorun's command line, and then runc's: the test runs twice."""
    command_line: CommandLine = request.getfixturevalue(request.param)
    return command_line


class Sandbox:
    """Runs one shell script in one container: `sandbox({"hostname": "x"}, "hostname")` is what it prints."""

    def __init__(self, command_line: CommandLine, bundle: Bundles) -> None:
        self.command_line = command_line
        self.bundle = bundle

    def run(self, change: Change, script: str, *flags: str | Path, **popen: Any) -> CompletedProcess[str]:
        """The whole run of a container whose root file system may be written to."""
        return self.run_bundle(self.bundle(change, args=["sh", "-c", script]), *flags, **popen)

    def run_bundle(self, bundle: Path, *flags: str | Path, **popen: Any) -> CompletedProcess[str]:
        return self.command_line("run", *flags, "--bundle", bundle, f"s{next(_numbers)}", **popen)

    def __call__(self, change: Change, script: str, *flags: str | Path, **popen: Any) -> str:
        """What the script prints, without the last line's end. Fails the test unless it exits 0."""
        ended = self.run(change, script, *flags, **popen)
        if ended.returncode:
            pytest.fail(f"exited {ended.returncode}: {ended.stderr or ended.stdout}")
        return ended.stdout.rstrip("\n")

    def refuses(self, change: Change, *flags: str | Path, **popen: Any) -> str:
        """The error of a run that fails before the program begins."""
        ended = self.run(change, "echo the program ran", *flags, **popen)
        assert ended.returncode == 1, ended
        assert ended.stdout == ""
        return ended.stderr.replace('\\"', '"')


@pytest.fixture
def sandbox(runtime: CommandLine, bundle: Bundles) -> Sandbox:
    """Containers of aiorun, and then of runc: the test runs twice."""
    return Sandbox(runtime, bundle)


@pytest.fixture
def ours(aiorun: CommandLine, bundle: Bundles) -> Sandbox:
    """Containers of aiorun alone."""
    return Sandbox(aiorun, bundle)


@pytest.fixture
def mounted(tmp_path: Path, leaves_nothing: None) -> Iterator[Mounts]:
    """Mounts of the test's own on its own directories, gone when it ends."""
    need_root()
    mounts = Mounts(tmp_path)
    yield mounts
    mounts.unmount()


class Mounts:
    """Makes mounts below a directory, with mount(8)."""

    def __init__(self, where: Path) -> None:
        self._where = where
        self._made: list[Path] = []

    def __call__(self, name: str, *arguments: str) -> Path:
        """`mounted("x", "-t", "tmpfs", "tmpfs")` mounts that on a directory x, and is its path."""
        point = self._where / name
        point.mkdir(parents=True, exist_ok=True)
        subprocess.run([need("mount"), *arguments, str(point)], check=True, stdin=subprocess.DEVNULL)
        self._made.append(point)
        return point

    def bind(self, source: Path, target: Path) -> None:
        """Mount a file of the test's on one of the host's, in this process's mount namespace alone."""
        self.over(target, "--bind", str(source))

    def over(self, target: Path, *arguments: str) -> None:
        """Mount something on a file or directory of the host's, in this process's mount namespace alone."""
        subprocess.run([need("mount"), *arguments, str(target)], check=True, stdin=subprocess.DEVNULL)
        self._made.append(target)

    def unmount(self) -> None:
        for point in reversed(self._made):
            subprocess.run([need("umount"), "--lazy", str(point)], check=True, stdin=subprocess.DEVNULL)
        self._made.clear()


@pytest.fixture
def tree(mounted: Mounts) -> str:
    """A noexec tmpfs with a nosuid one in its `deeper`."""
    outer = mounted("tree", "-t", "tmpfs", "-o", "noexec", "tmpfs")
    mounted("tree/deeper", "-t", "tmpfs", "-o", "nosuid", "tmpfs")
    return str(outer)
