"""What this kernel lets us do, found out by doing it: in a child that ends at once, or with arguments that are refused."""

from __future__ import annotations

import os

from aiorun.linux import mount, process
from aiorun.linux._call import call
from aiorun.linux.numbers import (
    CLONE3,
    CLOSE_RANGE,
    FSCONFIG,
    FSMOUNT,
    FSOPEN,
    MOUNT_SETATTR,
    MOVE_MOUNT,
    OPEN_TREE,
    OPENAT2,
    PIDFD_OPEN,
    PIDFD_SEND_SIGNAL,
)
from aiorun.linux.pidfd import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ENOSYS = 38
_NOT_AN_ERRNO = 255

# Arguments that each call refuses, with another errno than ENOSYS, before it does anything.
_REFUSED: dict[str, tuple[int, tuple[int, ...]]] = {
    "pidfd_send_signal": (PIDFD_SEND_SIGNAL, (-1, 0, 0, 0)),
    "open_tree": (OPEN_TREE, (-1, 0, 0)),
    "move_mount": (MOVE_MOUNT, (-1, 0, -1, 0, 0)),
    "fsopen": (FSOPEN, (0, 0)),
    "fsconfig": (FSCONFIG, (-1, 0, 0, 0, 0)),
    "fsmount": (FSMOUNT, (-1, 0, 0)),
    "pidfd_open": (PIDFD_OPEN, (-1, 0)),
    "clone3": (CLONE3, (0, 0)),
    "openat2": (OPENAT2, (-1, 0, 0, 0)),
    "close_range": (CLOSE_RANGE, (1, 0, 0)),
    "mount_setattr": (MOUNT_SETATTR, (-1, 0, 0, 0, 0)),
}


def missing_calls() -> list[str]:
    """The newer system calls that aiorun makes and that this kernel, or a seccomp filter around us, doesn't have."""
    return [name for name, (number, arguments) in _REFUSED.items() if _is_missing(number, arguments)]


def _is_missing(number: int, arguments: tuple[int, ...]) -> bool:
    try:
        call(number, *arguments)
    except OSError as error:
        return error.errno == _ENOSYS
    return False


def errno_of(act: Callable[[], object], flags: int = 0) -> int:
    """The errno with which `act` fails in a child with new namespaces (CLONE_NEW*), or the making of these; 0 if all works."""
    try:
        pid, pidfd = process.clone(flags)
    except OSError as error:
        return error.errno or _NOT_AN_ERRNO
    if pid == 0:
        _end_with(act)
    status = reap(pidfd)[1]
    os.close(pidfd)
    return status


def _end_with(act: Callable[[], object]) -> None:
    """In the child: the errno, all of which are below 134, is the exit status."""
    status = _NOT_AN_ERRNO
    try:
        act()
        status = 0
    except OSError as error:
        status = error.errno or _NOT_AN_ERRNO
    finally:
        os._exit(status)


def make_file_system(kind: str, options: tuple[str, ...] = ()) -> None:
    """Mount a new file system of the type `kind` nowhere: it goes with its fd. Raises OSError."""
    context = mount.fsopen(kind)
    for option in options:
        mount.fsconfig(context, option)
    os.close(mount.fsmount(context))
    os.close(context)
