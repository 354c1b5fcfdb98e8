"""Files by fd: openat2 and what follows from it, close_range, fstatfs."""

from __future__ import annotations

import os

from aiorun.linux._call import Buffer, call, encode
from aiorun.linux.numbers import CLOSE_RANGE, NUMBER, OPENAT2

O_PATH, O_CLOEXEC, O_NOFOLLOW, O_DIRECTORY = os.O_PATH, os.O_CLOEXEC, os.O_NOFOLLOW, os.O_DIRECTORY

# openat2(2)
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16

# statfs(2), linux/magic.h
PROC_SUPER_MAGIC, SYSFS_MAGIC, DEVPTS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC = 0x9FA0, 0x62656572, 0x1CD1, 0x794C7630
CGROUP2_SUPER_MAGIC, TMPFS_MAGIC = 0x63677270, 0x01021994

CLOSE_RANGE_CLOEXEC = 4


def openat2(directory: int, path: str, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open `path` below the fd `directory` with RESOLVE_* restrictions; close-on-exec always. openat2(2), Linux 5.6."""
    how = (flags | O_CLOEXEC).to_bytes(8, "little") + mode.to_bytes(8, "little") + resolve.to_bytes(8, "little")
    while True:
        try:
            return call(OPENAT2, directory, encode(path), how, 24, path=path)
        except OSError as error:
            if error.errno != 11:  # EAGAIN: a rename somewhere on the way made the walk uncertain
                raise


def close_range(first: int, last: int, *, flags: int = 0, procfs: int = -1) -> None:
    """Close (or with CLOSE_RANGE_CLOEXEC mark) the fds first … last. close_range(2), Linux 5.9; CLOEXEC 5.11.

    Before that they are looked up in `procfs`, the fd of one, or in /proc, which isn't to be believed in a container's root.
    """
    try:
        call(CLOSE_RANGE, first, last, flags)
    except OSError as error:
        if error.errno not in (38, 22):  # ENOSYS, EINVAL
            raise
        _close_one_by_one(first, last, flags, procfs)


def _close_one_by_one(first: int, last: int, flags: int, procfs: int) -> None:
    listing = os.open("/proc/self/fd" if procfs < 0 else "self/fd", os.O_RDONLY | os.O_CLOEXEC, dir_fd=max(procfs, 0))
    try:
        open_ones = [int(name) for name in os.listdir(listing)]
    finally:
        os.close(listing)
    for fd in open_ones:
        if first <= fd <= last:
            try:
                if flags & CLOSE_RANGE_CLOEXEC:
                    os.set_inheritable(fd, False)
                else:
                    os.close(fd)
            except OSError:
                pass  # the listing's own fds


def filesystem_of(path: str) -> tuple[int, int]:
    """(f_type, f_flags as os.ST_*) of the mount that `path` is on; the last link is followed. statfs(2)."""
    buffer = Buffer(120)
    call(NUMBER["statfs"], encode(path), buffer, path=path)
    return buffer.integer(0, 8), buffer.integer(80, 8)


def filesystem_type(fd: int) -> int:
    """f_type of the file system that `fd` is on. fstatfs(2)."""
    buffer = Buffer(120)
    call(NUMBER["fstatfs"], fd, buffer)
    return buffer.integer(0, 8)
