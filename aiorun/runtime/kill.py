"""kill: a signal to the container's init, or to all of the container."""

from __future__ import annotations

import os

from aiorun import cgroups
from aiorun.errors import AiorunError, ContainerNotFound, InvalidState
from aiorun.runtime import status as states
from aiorun.runtime.process import SIGKILL, open_init, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.store import Store
    from aiorun.waiter import Waiter

_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ "
    "VTALRM PROF WINCH IO PWR SYS"
).split()
_NUMBERS = {name: number for number, name in enumerate(_NAMES, 1)} | {"IOT": 6, "POLL": 29, "CLD": 17, "UNUSED": 31}
_RTMIN, _RTMAX = 34, 64  # as the C library counts them


def signal_number(text: str) -> int:
    """The signal that a number, or a name with or without SIG in any case, means. Raises AiorunError. signal(7)."""
    try:
        number = int(text)
    except ValueError:
        number = _by_name(text.upper().removeprefix("SIG"))
    if not 0 <= number <= _RTMAX or (number == 0 and not text.isdigit()):
        raise AiorunError(f'unknown signal "{text}"')
    return number


def _by_name(name: str) -> int:
    if name in _NUMBERS:
        return _NUMBERS[name]
    for base, first, sign in (("RTMIN", _RTMIN, 1), ("RTMAX", _RTMAX, -1)):
        offset = name.removeprefix(base).removeprefix("+" if sign > 0 else "-")
        if name.startswith(base) and (offset.isdigit() or name == base):
            number = first + sign * int(offset or 0)
            return number if _RTMIN <= number <= _RTMAX else -1
    return -1


async def kill(store: Store, id: str, signal: int, *, waiter: Waiter, all: bool = False, created: str = "") -> None:
    """Send `signal` to the init; with `all`, and for KILL without a private pid namespace, to every process of the container.

    With `created` only the container that was created then. `all` on the dead is fine.
    Raises ContainerNotFound, InvalidState ("container not running": engines match it), AiorunError.
    """
    with store.open(id) as directory:
        state = directory.read()
    if created and state.created != created:
        raise ContainerNotFound(id)
    now = states.status(state)
    cgroup = cgroups.load(state.cgroup_paths)
    if all or (signal == SIGKILL and not state.private_pid_namespace):
        if not all and now == states.STOPPED and not cgroup.pids():
            raise InvalidState("container not running")
        await cgroup.kill(signal, waiter)
        return
    pidfd = open_init(state) if now != states.STOPPED else -1
    if pidfd < 0:
        raise InvalidState("container not running")
    try:
        if not send(pidfd, signal):
            raise InvalidState("container not running")
        if signal == SIGKILL and cgroup.frozen():  # now, since a pause may have been faster
            cgroup.thaw()  # a frozen process of v1 doesn't die
    finally:
        os.close(pidfd)
