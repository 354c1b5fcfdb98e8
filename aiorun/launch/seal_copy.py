"""Sealing by a copy of the binary, for one command alone: in memory, or as a file without a name.

The copy is executed by its fd, with the real path as argv[0], from which Python finds its library.
"""

from __future__ import annotations

import fcntl
import os

from aiorun.launch.sealed import MEMORY, UNLINKED

_MFD_EXEC = 0x10  # memfd_create(2), Linux 6.3; without it vm.memfd_noexec decides
_EINVAL, _EACCES = 22, 13


def copy_in_memory(binary: str) -> int:
    """The fd of a copy that nobody can write to again. memfd_create(2), F_ADD_SEALS of fcntl(2). Raises OSError."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("aiorun-python", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        fd = os.memfd_create("aiorun-python", flags)
    try:
        _copy(binary, fd)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(fd)
        raise
    return fd


def unlinked_copy(binary: str) -> int:
    """The fd, for reading, of a copy that has no name and can't get one. O_TMPFILE and O_EXCL of open(2). Raises OSError.

    It's for where the kernel forbids executable memfds. Its owner could write to it once nobody runs from it,
    and then it's of no use to anybody.
    """
    failure = OSError(_EACCES, os.strerror(_EACCES), binary)
    for directory in ("/run", f"/run/user/{os.geteuid()}", "/dev/shm", "/tmp", "/var/tmp"):
        try:
            return _unlinked_copy_in(directory, binary)
        except OSError as error:  # read-only, missing, without O_TMPFILE, noexec, full
            failure = error
    raise failure


def _unlinked_copy_in(directory: str, binary: str) -> int:
    if os.statvfs(directory).f_flag & os.ST_NOEXEC:
        raise PermissionError(_EACCES, os.strerror(_EACCES), directory)
    written = os.open(directory, os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o700)
    try:
        _copy(binary, written)
        os.fchmod(written, 0o500)
        # Anew and for reading: execve(2) says ETXTBSY as long as somebody has it open for writing.
        return os.open(f"/proc/self/fd/{written}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(written)


def _copy(binary: str, fd: int) -> None:
    source = os.open(binary, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while os.sendfile(fd, source, None, 1 << 30):
            pass
    finally:
        os.close(source)


COPY = {MEMORY: copy_in_memory, UNLINKED: unlinked_copy}
