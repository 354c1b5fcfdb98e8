"""Seccomp filters, assembled by libseccomp before the clone, and kept by content.

    /run/aiorun-seccomp/             root's, 0700
        0123…ef                      the check sum of what follows (32 bytes), and a BPF program; 0600

The name is the check sum of what the program depends on: the profile, the library's file, the machine, and our own part in
it. podman's profile takes libseccomp as long as all the rest of a `run` (2 to 12 ms), and the same one comes again and again.
"""

from __future__ import annotations

import os
import stat

from aiorun.errors import AiorunError
from aiorun.launch.sealed import is_roots_directory
from aiorun.linux.seccomp import LARGEST
from aiorun.wire.json import dumps

try:
    from _blake2 import blake2b  # what hashlib has, which costs a command 4 ms
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PLACE = "/run/aiorun-seccomp"
MOST = 64  # programs that are kept
_VERSION = 1  # of what aiorun.linux.libseccomp makes of a profile
_MATTERS = ("defaultAction", "defaultErrnoRet", "architectures", "syscalls")
_SUM = 32  # bytes


def open_filter(profile: Mapping[str, Any]) -> int:
    """A file with the BPF program of a checked linux.seccomp. The caller owns it. Raises AiorunError."""
    program = _program(profile)
    file = os.memfd_create("aiorun-seccomp", os.MFD_CLOEXEC)
    os.write(file, program)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _program(profile: Mapping[str, Any]) -> bytes:
    library, name = _library(profile)
    if not name:
        return _assemble(profile, library)
    try:
        place = _open_place()
    except OSError:
        return _assemble(profile, library)  # not root, or /run can't be written to
    try:
        program = _kept(place, name)
        if not program:
            program = _assemble(profile, library)
            _keep(place, name, program)
        return program
    finally:
        os.close(place)


def _assemble(profile: Mapping[str, Any], library: str) -> bytes:
    from aiorun.linux import libseccomp  # only here: what is kept is had without it

    try:
        program = libseccomp.assemble(profile, library=library or libseccomp.NAME)
    except libseccomp.LibraryFault as fault:
        raise AiorunError(f"make the seccomp filter (linux.seccomp): {fault}") from None
    if len(program) > 8 * LARGEST:
        raise AiorunError(f"make the seccomp filter (linux.seccomp): {len(program) // 8} instructions, and {LARGEST} is the most")
    return program


def _library(profile: Mapping[str, Any]) -> tuple[str, str]:
    """The path of libseccomp, and the cache's name of what it makes of the profile. Both empty: it's the linker's to find."""
    machine = os.uname().machine
    for directory in (f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib"):
        path = f"{directory}/libseccomp.so.2"
        try:
            status = os.stat(path)
        except OSError:
            continue
        file = [path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
        content = dumps([_VERSION, machine, os.uname().release, file, [profile.get(member) for member in _MATTERS]])
        return path, blake2b(content.encode(), digest_size=_SUM).hexdigest()
    return "", ""


# --- what is kept


def _open_place() -> int:
    """The directory, if nobody but root can look into it or change it. Raises OSError."""
    if os.geteuid():
        raise PermissionError(1, os.strerror(1), PLACE)
    try:
        place = os.open(PLACE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        os.mkdir(PLACE, 0o700)
        place = os.open(PLACE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(place)
    if not is_roots_directory(status) or status.st_mode & 0o077:
        os.close(place)
        raise PermissionError(1, os.strerror(1), PLACE)
    return place


def _kept(place: int, name: str) -> bytes:
    """The program of this name, if it is there, root's alone, and whole. Else nothing."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    except OSError:
        return b""
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid or status.st_mode & 0o077:
            return b""
        content = os.read(file, _SUM + 8 * LARGEST + 1)
    except OSError:
        return b""
    finally:
        os.close(file)
    program = content[_SUM:]
    return program if content[:_SUM] == _sum_of(name, program) else b""


def _sum_of(name: str, program: bytes) -> bytes:
    """With the name in it: a program that got another's name isn't taken for that."""
    return blake2b(name.encode() + program, digest_size=_SUM).digest()


def _keep(place: int, name: str, program: bytes) -> None:
    """Write it beside, then rename: another command sees it whole or not at all. What can't be kept is made anew next time."""
    temporary = f".{name[:16]}.{os.getpid()}"
    try:
        _make_room(place)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=place)
        try:
            os.write(file, _sum_of(name, program) + program)
            os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
        except OSError:
            os.unlink(temporary, dir_fd=place)
        finally:
            os.close(file)
    except OSError:
        pass


def _make_room(place: int) -> None:
    """The oldest go, and so does what a killed command left."""
    names = os.listdir(place)
    if len(names) < MOST:
        return
    ages = []
    for name in names:
        try:
            ages.append((os.stat(name, dir_fd=place, follow_symlinks=False).st_mtime_ns, name))
        except FileNotFoundError:
            pass  # another command has made room, too
    for _, name in sorted(ages)[: len(ages) + 1 - MOST]:
        try:
            os.unlink(name, dir_fd=place)
        except OSError:
            pass
