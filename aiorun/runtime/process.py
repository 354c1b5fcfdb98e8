"""The container's init from outside: by pidfd, with its identity checked."""

from __future__ import annotations

import os

from aiorun.linux.process import pidfd_open, pidfd_send_signal, reap
from aiorun.store import identity
from aiorun.waiter import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.store import State
    from aiorun.waiter import Waiter

SIGKILL = 9
_CLD_EXITED = 1


def open_init(state: State) -> int:
    """A pidfd of the container's init; -1 if that is gone. The pidfd is opened before the identity is compared."""
    if not state.pid:
        return -1
    try:
        pidfd = pidfd_open(state.pid)
    except OSError:
        return -1
    if identity(state) is None:
        os.close(pidfd)
        return -1
    return pidfd


def send(pidfd: int, signal: int) -> bool:
    """Send a signal; False if the process is gone."""
    try:
        pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    return True


async def kill(waiter: Waiter, pidfd: int) -> None:
    """KILL, and wait until it has died."""
    send(pidfd, SIGKILL)
    await waiter.wait_any({pidfd: POLLIN})


def reap_child(pidfd: int) -> int | None:
    """The status of a child that has ended: its exit code, 128 + N by signal N. None if it isn't a child of ours."""
    try:
        code, status = reap(pidfd)
    except ChildProcessError:
        return None
    return status if code == _CLD_EXITED else 128 + status
