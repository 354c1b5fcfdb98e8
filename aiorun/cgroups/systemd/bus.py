"""The connection to a systemd: of the host as root, of a user otherwise.

systemd's own socket comes first: no bus daemon has to run for it, and no message takes its way. Where it can't be had, the bus.
"""

from __future__ import annotations

import os
import time

from aiorun.cgroups.systemd import message as messages
from aiorun.errors import CgroupError, reason
from aiorun.linux import socket
from aiorun.waiter import POLLIN, POLLOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import Any

    from aiorun.cgroups.systemd.message import Message
    from aiorun.waiter import Waiter

_SECONDS = 30.0  # for an answer, and for a job, as runc waits
_BUSY_TICK = 0.05
_CHUNK = 65536
_SHOWN = 100  # characters of an answer that isn't understood

_SYSTEMD, _MANAGER_PATH, _MANAGER = "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
_BUS, _BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_JOBS = f"type='signal',sender='{_SYSTEMD}',path='{_MANAGER_PATH}',interface='{_MANAGER}',member='JobRemoved'"
_RUNNING = "/run/systemd/system"  # sd_booted(3)


class Refused(CgroupError):
    """systemd's answer is an error. `name` is its D-Bus name, such as org.freedesktop.systemd1.NoSuchUnit."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


def check_running() -> None:
    """Raises CgroupError where the host's init isn't systemd, in runc's words. sd_booted(3)."""
    if not os.path.isdir(_RUNNING):
        raise CgroupError("systemd not running on this host, cannot use systemd cgroups manager")


def is_ours() -> bool:
    """Whether the host's systemd is for us to command: we are its root, and not only that of a user namespace of somebody."""
    try:
        return os.geteuid() == 0 and os.stat(_RUNNING).st_uid == 0
    except OSError:
        return False


def addresses(user: bool) -> list[tuple[str, bool]]:
    """(path of a socket, whether a bus daemon is there), in the order in which they are tried."""
    if not user:
        return [("/run/systemd/private", False), ("/run/dbus/system_bus_socket", True)]
    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        found.append((f"{runtime}/systemd/private", False))
    for address in os.environ.get("DBUS_SESSION_BUS_ADDRESS", "").split(";"):
        found += [(path, True) for path in _unix_path(address)]
    if runtime:
        found.append((f"{runtime}/bus", True))
    if not found:
        raise CgroupError("connect to the user's systemd: neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set")
    return found


def _unix_path(address: str) -> list[str]:
    """The socket's path in one address of DBUS_SESSION_BUS_ADDRESS; none for other transports."""
    transport, _, pairs = address.partition(":")
    if transport != "unix":
        return []
    prefix = {"path": "", "abstract": "@"}
    found = []
    for pair in pairs.split(","):
        name, _, value = pair.partition("=")
        if name in prefix:
            found.append(prefix[name] + _unescaped(value))
    return found


def _unescaped(value: str) -> str:
    """D-Bus Specification, "Server Addresses": %XX is a byte."""
    head, *rest = value.split("%")
    try:
        raw = os.fsencode(head) + b"".join(bytes([int(part[:2], 16)]) + os.fsencode(part[2:]) for part in rest)
    except ValueError:
        return value
    return os.fsdecode(raw)


async def connect(waiter: Waiter, *, user: bool) -> Bus:
    """A connection to the host's systemd, or to the user's. Raises CgroupError, which says why for each place."""
    whose = "the user's systemd" if user else "systemd"
    why = []
    for path, daemon in addresses(user):
        try:
            bus = Bus(waiter, await _connected(waiter, path))
        except OSError as error:
            why.append(f'"{path}": {reason(error)}')
            continue
        try:
            await bus.greet(daemon=daemon)
        except (OSError, ValueError, CgroupError) as error:
            bus.close()
            why.append(f'"{path}": {reason(error) if isinstance(error, OSError) else error}')
        except BaseException:
            bus.close()
            raise
        else:
            return bus
    raise CgroupError(f"connect to {whose}: {', '.join(why)}")


async def _connected(waiter: Waiter, path: str) -> Socket:
    while True:
        try:
            connection = socket.connect_at_once(path)
        except BlockingIOError:
            await waiter.sleep(_BUSY_TICK)  # its queue is full: there is no event to wait for. connect(2), EAGAIN
        else:
            connection.setblocking(False)
            return connection


class Bus:
    """A connection, over which one call at a time is made. Owns its socket: to be closed."""

    def __init__(self, waiter: Waiter, connection: Socket) -> None:
        self._waiter, self._socket = waiter, connection
        self._serial = 0
        self._received = b""
        self._ended: dict[str, str] = {}  # jobs that have ended meanwhile, and how

    def close(self) -> None:
        self._socket.close()

    async def greet(self, *, daemon: bool) -> None:
        """Authenticate, and begin to hear of jobs. Raises OSError, ValueError, CgroupError."""
        # Without a name: who we are, the socket tells, also out of a user namespace, where we don't know it ourselves.
        # All at once, as systemctl does: a message that systemd reads together with BEGIN waits for the next one (seen with 252).
        await self._send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        first, second = await self._line(), await self._line()
        # systemd before 246 takes the first line for all that it needs, and the second for the same once more.
        if not (second if first == b"DATA" else first).startswith(b"OK"):
            raise ValueError(f"authenticate: {first.decode(errors='replace')[:_SHOWN]}")
        if daemon:
            await self._call(_BUS, _BUS_PATH, _BUS, "Hello", "")
            await self._call(_BUS, _BUS_PATH, _BUS, "AddMatch", "s", _JOBS)
            await self.call("Subscribe")

    async def call(self, method: str, signature: str = "", *arguments: Any) -> tuple[Any, ...]:
        """What a method of systemd's manager returns. org.freedesktop.systemd1(5). Raises Refused, CgroupError."""
        return await self._call(_SYSTEMD, _MANAGER_PATH, _MANAGER, method, signature, *arguments)

    async def manager_property(self, name: str) -> Any:
        """A property of the manager. Raises Refused, CgroupError."""
        ((_, value),) = await self._call(_SYSTEMD, _MANAGER_PATH, _PROPERTIES, "Get", "ss", _MANAGER, name)
        return value

    async def job(self, method: str, signature: str, *arguments: Any) -> str:
        """Call a method that starts a job, and wait for the job's end: "done", or what became of it.

        Raises Refused, CgroupError.
        """
        try:
            (path,) = await self.call(method, signature, *arguments)
            deadline = time.monotonic() + _SECONDS
            while path not in self._ended:
                await self._hear(deadline)
        except (OSError, ValueError) as error:
            raise _lost(method, error) from None
        return self._ended.pop(path)

    async def _call(
        self, destination: str, path: str, interface: str, method: str, signature: str, *arguments: Any
    ) -> tuple[Any, ...]:
        self._serial += 1
        serial = self._serial
        call = messages.Message(
            kind=messages.METHOD_CALL, path=path, interface=interface, member=method, destination=destination,
            signature=signature, body=arguments,
        )  # fmt: skip
        data = messages.encode(call, serial)
        deadline = time.monotonic() + _SECONDS
        try:
            await self._send(data)
            while (answer := await self._hear(deadline)).reply_to != serial:
                pass
        except (OSError, ValueError) as error:
            raise _lost(method, error) from None
        if answer.kind == messages.ERROR:
            said = str(answer.body[0]) if answer.body else answer.error
            raise Refused(answer.error, said[:1].lower() + said[1:].rstrip("."))
        return answer.body

    async def _hear(self, deadline: float) -> Message:
        """The next message; the end of a job is remembered. Raises OSError, ValueError."""
        start = await self._buffered(messages.HEADER, deadline)
        size = messages.length(start)
        heard = messages.decode((await self._buffered(size, deadline))[:size])
        self._received = self._received[size:]
        if heard.kind == messages.SIGNAL and heard.member == "JobRemoved" and heard.signature == "uoss":
            _, job, _, result = heard.body
            self._ended[job] = result
        return heard

    async def _line(self) -> bytes:
        """The next line of the authentication, which comes before any message."""
        deadline = time.monotonic() + _SECONDS
        while b"\r\n" not in self._received:
            if len(self._received) > _CHUNK:
                raise ValueError("a line without an end")
            await self._buffered(len(self._received) + 1, deadline)
        line, _, self._received = self._received.partition(b"\r\n")
        return line

    async def _buffered(self, size: int, deadline: float) -> bytes:
        """What has been received, once it is `size` bytes at least."""
        while len(self._received) < size:
            await self._ready(POLLIN, deadline)
            try:
                chunk = self._socket.recv(_CHUNK)
            except BlockingIOError:
                continue
            if not chunk:
                raise ValueError("the connection was closed")
            self._received += chunk
        return self._received

    async def _send(self, data: bytes) -> None:
        deadline = time.monotonic() + _SECONDS
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                await self._ready(POLLOUT, deadline)

    async def _ready(self, event: int, deadline: float) -> None:
        left = max(deadline - time.monotonic(), 0)
        if not await self._waiter.wait_any({self._socket.fileno(): event}, left):
            raise ValueError(f"no answer within {_SECONDS:g} seconds")


def _lost(method: str, error: OSError | ValueError) -> CgroupError:
    return CgroupError(f"{method}: {reason(error) if isinstance(error, OSError) else error}")
