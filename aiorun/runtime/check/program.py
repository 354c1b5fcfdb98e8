"""Whether the program of a bundle can be executed: it, and what the kernel needs to load it, inside the root."""

from __future__ import annotations

import os
import stat

from aiorun.linux.file import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from aiorun.plan.mounts import clean
from aiorun.runtime.check.finding import NEEDED, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import Spec

_ENOSYS = 38
_PT_INTERP = 3
_PLAIN = frozenset({"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "ramfs"})  # nobody's programs are in these


def look_for_program(spec: Spec, root: str) -> Iterator[Finding]:
    """Nothing where a volume may have it: what is mounted into the container isn't looked into."""
    process = spec["process"]
    name = process["args"][0]
    at = ("process.args[0]",)
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in _candidates(name, process.get("env") or [], process["cwd"]):
            if _may_be_in_a_volume(spec, path):
                return
            start = _start_of(directory, path)
            if start is not None:
                yield from _loader(directory, spec, path, start)
                return
    except OSError as error:
        if error.errno == _ENOSYS:  # no openat2: nothing is resolved inside a root here
            return
        raise
    finally:
        os.close(directory)
    where = f'"{root}"' if "/" in name else f'$PATH in "{root}"'
    yield Finding("program", f'"{name}" is not in {where}, or not executable', NEEDED, "put it there, or name another one", at)


def _candidates(name: str, env: list[str], cwd: str) -> list[str]:
    if "/" in name:
        return [name if name.startswith("/") else f"{cwd}/{name}"]
    path = next((entry[5:] for entry in reversed(env) if entry.startswith("PATH=")), "")
    return [f"{directory}/{name}" for directory in path.split(":") if directory.startswith("/")]


def _may_be_in_a_volume(spec: Spec, path: str) -> bool:
    path = clean(path)
    return any(
        mount.get("type") not in _PLAIN and f"{path}/".startswith(clean(mount["destination"]).rstrip("/") + "/")
        for mount in spec.get("mounts") or []
    )


def _start_of(root: int, path: str) -> bytes | None:
    """The first bytes of the executable at `path` below the fd `root`; None if there is none. Only a regular file is opened."""
    try:
        found = openat2(root, path, os.O_PATH, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno == _ENOSYS:
            raise
        return None
    try:
        mode = os.fstat(found).st_mode
        if not stat.S_ISREG(mode) or not mode & 0o111:
            return None
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return b""  # who may execute it need not read it
    finally:
        os.close(found)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _loader(root: int, spec: Spec, program: str, start: bytes) -> Iterator[Finding]:
    """A program whose loader or interpreter isn't there can't be executed, and the kernel says "no such file" of it."""
    loader = _loader_of(start)
    if loader and not _may_be_in_a_volume(spec, loader) and _start_of(root, loader) is None:
        found = f'"{program}" needs "{loader}", which is not there'
        yield Finding(
            "program", found, NEEDED, "put it into the root file system, with what else the program needs", ("root.path",)
        )


def _loader_of(start: bytes) -> str:
    """After `#!`, or an ELF file's PT_INTERP; empty for a static program, and for one that is laid out unusually. elf(5)."""
    loader = b""
    if start.startswith(b"#!"):
        loader = (start[2:].split(b"\n", 1)[0].split() or [b""])[0]
    elif start.startswith(b"\x7fELF\x02\x01"):  # 64 bits, little-endian
        table, size, count = (int.from_bytes(start[at : at + width], "little") for at, width in ((32, 8), (54, 2), (56, 2)))
        for index in range(count):
            header = start[table + index * size : table + (index + 1) * size]
            if int.from_bytes(header[:4], "little") == _PT_INTERP:
                offset, length = (int.from_bytes(header[at : at + 8], "little") for at in (8, 32))
                loader = start[offset : offset + length].rstrip(b"\0")
    return loader.decode("utf-8", "surrogateescape")
