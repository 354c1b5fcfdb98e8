"""The standard streams that our caller closed."""

from __future__ import annotations

import os


def open_standard_streams() -> None:
    """Give each of fds 0, 1, 2 that is closed to /dev/null, as Go's runtime does: the first thing that a command does.

    Else the next file to be opened takes its place, and our messages end up in a state.json. Raises OSError.
    """
    for fd in (0, 1, 2):
        try:
            os.get_inheritable(fd)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)  # open(2): the lowest free number, so `fd`
