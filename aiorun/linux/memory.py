"""Our own memory."""

from __future__ import annotations

import os

from aiorun.linux._call import call
from aiorun.linux.numbers import NUMBER

_MADV_POPULATE_WRITE = 23  # Linux 5.14
_EINVAL = 22


def copy_shared_pages(procfs: int) -> None:
    """Have all that we may write to as pages of our own, which a fork otherwise copies one by one, when they are written to.

    `procfs` is an fd of one. Does nothing on a kernel that can't: that's no more than a loss of foresight. madvise(2).
    """
    fd = os.open("self/maps", os.O_RDONLY | os.O_CLOEXEC, dir_fd=procfs)
    with open(fd, "rb", buffering=0) as file:
        mappings = file.read().split(b"\n")
    for mapping in mappings:
        where, _, rest = mapping.partition(b" ")
        if not rest.startswith(b"rw-p"):
            continue
        first, _, end = where.partition(b"-")
        start = int(first, 16)
        try:
            call(NUMBER["madvise"], start, int(end, 16) - start, _MADV_POPULATE_WRITE)
        except OSError as error:
            if error.errno == _EINVAL:
                return
            raise
