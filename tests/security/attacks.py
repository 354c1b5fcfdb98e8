"""What the attacks have in common: a swapper of names, a kernel that refuses calls, and a record of what an init did."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiorun.linux import numbers
from tests.conftest import CommandLine, Config, need

_SWAP = """\
import ctypes, os, sys
rename = ctypes.CDLL(None).renameat2
one, other = (os.fsencode(path) for path in sys.argv[1:])
print(flush=True)
while True:
    rename(-100, one, -100, other, 2)  # RENAME_EXCHANGE: the names change places in one step
"""


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """As a container that shares the directory would: the two names change places, as fast as can be, all the while."""
    with subprocess.Popen([sys.executable, "-c", _SWAP, one, other], stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        try:
            yield
        finally:
            assert swapper.poll() is None, "the swapper died"
            swapper.kill()


def tree(directory: Path) -> list[tuple[str, int, int]]:
    """Everything below a directory: name, mode, size."""
    found = []
    for where, directories, files in os.walk(directory):
        for name in (*directories, *files):
            status = os.lstat(Path(where, name))
            found.append((str(Path(where, name)), status.st_mode, 0 if os.path.isdir(Path(where, name)) else status.st_size))
    return sorted(found)


# --- a kernel that doesn't know a call


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filters", ctypes.POINTER(_Filter)))


_libc = ctypes.CDLL(None, use_errno=True)
_LOAD_NUMBER, _EQUALS, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_ALLOW, _ERRNO, _ENOSYS = 0x7FFF0000, 0x00050000, 38  # linux/seccomp.h
_PR_SET_SECCOMP, _FILTER = 22, 2


def without(*calls: str) -> Callable[[], None]:
    """For Popen's preexec_fn: from here on the kernel answers ENOSYS to each of `calls`, as one does that hasn't got them."""
    wanted = [int(getattr(numbers, call.upper())) for call in calls]
    filters = [_Filter(_LOAD_NUMBER, 0, 0, 0)]
    filters += [_Filter(_EQUALS, len(wanted) - index, 0, number) for index, number in enumerate(wanted)]
    filters += [_Filter(_RETURN, 0, 0, _ALLOW), _Filter(_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    program = _Program(len(filters), (_Filter * len(filters))(*filters))

    def install() -> None:
        if _libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp")

    return install


# --- what an init did


class Trace:
    """The system calls of one command and all its children: `Trace(aiorun, where, "run", …)`, with options of strace's."""

    def __init__(
        self, aiorun: CommandLine, where: Path, *arguments: str | Path, options: tuple[str, ...] = (), **popen: Any
    ) -> None:
        where.mkdir()
        self.ended = _Traced(aiorun, where, options)(*arguments, **popen)
        self._where = where

    def of_init(self) -> list[str]:
        """The calls of the init, from its birth to its execve, or its end."""
        return self.of("pivot_root")

    def of(self, call: str) -> list[str]:
        """The same of whichever process made this call."""
        for file in self._where.iterdir():
            lines = file.read_text(errors="replace").splitlines()
            if any(line.startswith(f"{call}(") for line in lines):
                ends = [index for index, line in enumerate(lines) if line.startswith("execve(") and line.endswith(" = 0")]
                return lines[: ends[0] + 1 if ends else len(lines)]
        raise AssertionError(f"nobody made the call: {self.ended}")

    def after_the_pivot(self) -> list[str]:
        """The calls of the init while the container's file system is all there is."""
        calls = self.of_init()
        return calls[next(index for index, line in enumerate(calls) if line.startswith("pivot_root(")) + 1 :]


class _Traced(CommandLine):
    """A command line below strace."""

    def __init__(self, aiorun: CommandLine, where: Path, options: tuple[str, ...]) -> None:
        super().__init__(aiorun.command, aiorun.root)
        self._strace = [need("strace"), "-ff", "-qq", "-s", "4096", *options, "-o", str(where / "trace"), "--"]

    def argv(self, *args: str | Path) -> list[str]:
        return [*self._strace, *super().argv(*args)]


def one_line(stderr: str) -> str:
    """The error that a command told, which is one line, and one that a terminal can be shown."""
    assert stderr.endswith("\n"), stderr
    line = stderr[:-1]
    assert line.isprintable(), stderr
    assert "Traceback" not in line
    return line


def without_mount(config: Config, destination: str) -> Config:
    """`config` without what is mounted there, and below."""
    config["mounts"] = [
        mount for mount in config["mounts"] if not (mount["destination"] + "/").startswith(destination.rstrip("/") + "/")
    ]
    return config


def bind(source: Path | str, destination: str, *options: str) -> Config:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}
