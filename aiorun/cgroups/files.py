"""Reading and writing the files of a cgroup. Their content is small: one read has it all, one write is one request."""

from __future__ import annotations

import os

from aiorun.errors import CgroupError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_READ, _WRITE = os.O_RDONLY | os.O_CLOEXEC, os.O_WRONLY | os.O_CLOEXEC


def read(path: str) -> str:
    """The file's text. Raises OSError."""
    fd = os.open(path, _READ)
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
        return b"".join(chunks).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


def read_or(path: str, default: str) -> str:
    """The file's text, or `default` where the file or its cgroup isn't there (any more)."""
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return default
    except OSError as error:
        if error.errno == 19:  # ENODEV: the cgroup went while the file was open
            return default
        raise


def write(path: str, *values: str) -> None:
    """Write each value with one write(2): the kernel takes one request a write. Raises OSError.

    Never creates: a file that isn't there is ENOENT, and not the EPERM that O_CREAT gives in a cgroup.
    """
    fd = os.open(path, _WRITE)
    try:
        for value in values:
            os.write(fd, value.encode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)


def counter(text: str, key: str) -> int:
    """The number after `key` in a file of "key number" lines (memory.events, cpu.stat); 0 if there is none."""
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == key:
            return int(number)
    return 0


def children(directory: str) -> list[str]:
    """The child cgroups of the cgroup `directory`; none if it's gone."""
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def tree(directory: str) -> Iterator[str]:
    """`directory` and all cgroups below it, each after its children, so that they can be removed in this order."""
    for child in children(directory):
        yield from tree(child)
    yield directory


def processes(directory: str) -> list[int]:
    """The pids in this one cgroup, none if it's gone. Those that our pid namespace can't see are left out."""
    try:
        text = read_or(f"{directory}/cgroup.procs", "")
    except OSError as error:
        if error.errno != 95:  # EOPNOTSUPP: a threaded v2 cgroup lists threads alone. cgroups(7)
            raise CgroupError(f"read {directory}/cgroup.procs: {reason(error)}") from None
        text = read_or(f"{directory}/cgroup.threads", "")
    return [pid for pid in map(int, text.split()) if pid]
