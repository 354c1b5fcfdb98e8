"""NOTIFY_SOCKET: what the program says of itself with sd_notify(3) reaches whoever waits for it on the host.

A unit that is `Type=notify` and whose command is ours gives us the path of a socket. The container gets one of its own
below /run/notify, out of a directory that is mounted read-only; its READY=1 is passed on, and nothing else of what it says:
a container has no business with the unit's other settings.
"""

from __future__ import annotations

import os
import time

from aiorun.errors import AiorunError, reason
from aiorun.linux import socket
from aiorun.waiter import POLLHUP, POLLIN, POLLOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Awaitable, Mapping
    from typing import TypeVar

    from aiorun.spec.types import Mount, Spec
    from aiorun.waiter import Waiter

    T = TypeVar("T")

_INSIDE = "/run/notify"
_SOCKET = "notify.sock"
_LIMIT = 4096  # of a datagram, as in runc
_MOST = 64  # datagrams at a time: a container that floods us isn't all we listen to
_BARRIER_SECONDS = 30.0  # for one who doesn't know the barrier, as in runc


def with_notify_socket(spec: Spec, source: str) -> Spec:
    """The document of a container that has the directory `source` at /run/notify, and whose program knows of it."""
    mount: Mount = {
        "destination": _INSIDE, "source": source, "type": "bind", "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }  # fmt: skip
    process = spec["process"]
    env = [entry for entry in process.get("env") or [] if not entry.startswith("NOTIFY_SOCKET=")]
    return {
        **spec,
        "mounts": [*(spec.get("mounts") or []), mount],
        "process": {**process, "env": [*env, f"NOTIFY_SOCKET={_INSIDE}/{_SOCKET}"]},
    }


class Notify:
    """The socket that the container's program writes to, and what becomes of it. Owns both ends of ours: to be closed."""

    def __init__(self, directory: str, host: str) -> None:
        """Bind it in the directory that `create` has made for it. `host` is NOTIFY_SOCKET. Raises AiorunError."""
        path = f"{directory}/{_SOCKET}"
        try:
            try:
                os.unlink(path)  # of a start that was killed
            except FileNotFoundError:
                pass
            self._socket = socket.bind_datagram(path, 0o777)
        except OSError as error:
            raise AiorunError(f'listen at "{path}" for NOTIFY_SOCKET: {reason(error)}') from None
        self._host = host

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def ready(self) -> bool:
        """Whether the program has said READY=1, of what can be read now."""
        for _ in range(_MOST):
            try:
                said = self._socket.recv(_LIMIT)
            except BlockingIOError:
                break
            if b"READY=1" in said.split(b"\n"):
                return True
        return False

    async def until_ready(self, waiter: Waiter, pidfd: int, pid: int) -> None:
        """Wait until the program is ready, and tell the host, whose unit has `pid` for its main process from then on.

        Also returns when the program, whose pidfd is `pidfd`, has ended. Raises AiorunError where the host can't be told.
        """
        while True:
            seen = await waiter.wait_any({self.fileno(): POLLIN, pidfd: POLLIN})
            if self.fileno() in seen and self.ready():
                await self.tell(waiter, pid)
                return
            if pidfd in seen:
                return

    async def tell(self, waiter: Waiter, pid: int) -> None:
        """Tell the host that it is ready, and wait until that has been read. Raises AiorunError."""
        try:
            host = socket.connect_datagram(self._host)
        except OSError as error:
            raise AiorunError(f'connect to NOTIFY_SOCKET "{self._host}": {reason(error)}') from None
        try:
            # Both in one: no moment in which the unit is ready and its main process is us, who are about to end.
            await _send(waiter, host, f"READY=1\nMAINPID={pid}\n".encode())
            await _barrier(waiter, host)
        except OSError as error:
            raise AiorunError(f'send to NOTIFY_SOCKET "{self._host}": {reason(error)}') from None
        finally:
            host.close()


async def _send(waiter: Waiter, host: Socket, text: bytes, *fds: int) -> None:
    while True:
        try:
            socket.send(host, text, fds)
            return
        except BlockingIOError:
            await waiter.wait_any({host.fileno(): POLLOUT})  # its queue is full


async def _barrier(waiter: Waiter, host: Socket) -> None:
    """Wait until the host has read all that came before: who ends sooner isn't known any more. sd_notify_barrier(3)."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            await _send(waiter, host, b"BARRIER=1", theirs)
        finally:
            os.close(theirs)
        await waiter.wait_any({ours: POLLHUP}, _BARRIER_SECONDS)
    finally:
        os.close(ours)


class Listening:
    """A Waiter that passes the program's READY=1 on while something else is waited for: the foreground of a `run`."""

    def __init__(self, waiter: Waiter, notify: Notify, pid: int) -> None:
        self._waiter, self._pid = waiter, pid
        self._notify: Notify | None = notify

    async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (notify := self._notify) is not None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = await self._waiter.wait_any({**fds, notify.fileno(): POLLIN}, left)
            said = ready.pop(notify.fileno(), 0)
            if said and notify.ready():
                self._notify = None
                try:
                    await notify.tell(self._waiter, self._pid)
                except AiorunError:
                    pass  # nobody is there to be told: the program, which runs, goes on, as with runc
            if ready or not said:
                return ready
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return await self._waiter.wait_any(fds, left)

    async def sleep(self, seconds: float) -> None:
        await self._waiter.sleep(seconds)

    async def shield(self, work: Awaitable[T]) -> T:
        return await self._waiter.shield(work)
