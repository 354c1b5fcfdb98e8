"""SCMP_ACT_NOTIFY: the init's listener goes to whoever answers for its calls. config-linux.md, "The Container Process State"."""

from __future__ import annotations

import os

from aiorun.errors import AiorunError, ProtocolError, reason
from aiorun.linux import socket
from aiorun.linux.pidfd import pidfd_getfd
from aiorun.runtime.init import connect
from aiorun.wire.json import dumps
from aiorun.wire.protocol import Proceed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.runtime.init import Child
    from aiorun.spec.types import Seccomp
    from aiorun.waiter import Waiter

_KIND = "anon_inode:seccomp notify"
_UNABLE = "unable to start container process"


async def hand_on(waiter: Waiter, child: Child, fd: int, profile: Seccomp | None, state: dict[str, Any]) -> None:
    """Send the listener, which is the child's file `fd`, to the listenerPath. `state` is the container's.

    Raises AiorunError, and ProtocolError for what isn't a listener.
    """
    if not profile or not profile.get("listenerPath"):
        raise ProtocolError(f"{_UNABLE}: init sent a Listener that nobody asked for")
    listener = _take(child.pidfd, fd)
    try:
        await child.say(Proceed())  # first: its read(2) may be what the listener has to answer for
        await _send(waiter, listener, profile, {"pid": child.pid, "state": state})
    finally:
        os.close(listener)


def _take(pidfd: int, fd: int) -> int:
    """A copy of the listener. Taken from the init, not sent by it: sendmsg(2) may be a call that nobody answers for yet."""
    try:
        listener = pidfd_getfd(pidfd, fd)
    except OSError as error:
        raise AiorunError(f"take the seccomp listener from the init: {reason(error)}") from None
    if os.readlink(f"/proc/self/fd/{listener}") != _KIND:
        os.close(listener)
        raise ProtocolError(f"{_UNABLE}: init sent a Listener that is none")
    return listener


async def _send(waiter: Waiter, listener: int, profile: Seccomp, process: dict[str, Any]) -> None:
    """One message, as runc has it: the container process state, and the one file that it names."""
    path = profile["listenerPath"]
    document = {"ociVersion": process["state"]["ociVersion"], "fds": ["seccompFd"], **process}
    if profile.get("listenerMetadata"):
        document["metadata"] = profile["listenerMetadata"]
    try:
        agent = await connect(waiter, path)
        try:
            socket.send(agent, dumps(document).encode(), (listener,))
        finally:
            agent.close()
    except OSError as error:
        raise AiorunError(f'send the seccomp listener to "{path}" (linux.seccomp.listenerPath): {reason(error)}') from None
