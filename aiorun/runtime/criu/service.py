"""One criu that works for us: `criu swrk FD` at the other end of a socket. criu.org/RPC

We ask, it notifies us of the stages on the way, each of which it goes on from when we say so, and at last it answers.
"""

from __future__ import annotations

import os

from aiorun.errors import CriuError, reason
from aiorun.linux import socket
from aiorun.linux.pidfd import pidfd_open
from aiorun.runtime.criu import messages
from aiorun.runtime.process import SIGKILL, reap_child, send
from aiorun.undo import Undo
from aiorun.waiter import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Awaitable, Callable
    from typing import Any

    from aiorun.runtime.criu.messages import Message
    from aiorun.waiter import Waiter

    # The stage's name, the container's first process where it's known (else 0), and a file that came with it (else -1).
    Notified = Callable[[str, int, int], Awaitable[None]]

_LIMIT = 1 << 16  # bytes of an answer
_OLDEST = 31500  # external pid namespaces, the freezer of cgroup v2, status-ready
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # engines call us without one
_PATIENCE = 10.0  # seconds that a restore has to undo what it began
_RESET = [signal for signal in range(1, 32) if signal not in (9, 19)]


def find() -> str:
    """The path of criu. Raises CriuError if it isn't installed, or we aren't root, which it needs."""
    if os.geteuid() != 0:
        raise CriuError("checkpoint and restore are for root: criu needs its rights")
    for directory in f"{os.environ.get('PATH', '')}:{_PATH}".split(":"):
        path = f"{directory}/criu"
        if directory.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise CriuError("checkpoint and restore need criu, and it is not installed: its package is named criu (https://criu.org)")


def environment() -> dict[str, str]:
    """Ours, and a PATH, by which criu finds tar and iptables."""
    return {"PATH": _PATH, **os.environ}


def start(waiter: Waiter) -> Criu:
    """A criu of its own session and without standard streams, for a dump. Raises CriuError."""
    program = find()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    ours, theirs = socket.pair()
    with Undo() as closing:
        closing.add(lambda: os.close(null))
        closing.add(theirs.close)
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)] + [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
        try:
            pid = os.posix_spawn(
                program, [program, "swrk", "3"], environment(), file_actions=actions, setsid=True, setsigmask=[], setsigdef=_RESET
            )
            return Criu(waiter, ours, pidfd_open(pid))
        except OSError as error:
            ours.close()
            raise CriuError(f'start "{program}": {reason(error)}') from None


class Criu:
    """A criu that waits for our requests. Owns the socket; the pidfd too, until `end` or `release`."""

    def __init__(self, waiter: Waiter, connection: Socket, pidfd: int) -> None:
        self._waiter, self._connection, self.pidfd = waiter, connection, pidfd

    async def check(self, **features: bool) -> int:
        """Its version, such as 31701. Raises CriuError for one that is too old, or that lacks one of `features`."""
        answer = await self._ask({"type": messages.VERSION, "keep_open": True})
        version = _number(answer.get("version", {}))
        if version < _OLDEST:
            raise CriuError(f"CRIU version {version} must be {_OLDEST} or higher")
        wanted = {name: True for name, is_wanted in features.items() if is_wanted}
        if wanted:
            answer = await self._ask({"type": messages.FEATURE_CHECK, "features": wanted, "keep_open": True})
            missing = [_GO_NAMES[name] for name in wanted if not answer.get("features", {}).get(name)]
            if missing:
                raise CriuError(f"criu is missing features: [{' '.join(missing)}]")
        return version

    async def work(self, kind: int, options: Message, notified: Notified, *, log: str) -> dict[str, Any]:
        """Have it do a DUMP, PRE_DUMP or RESTORE to its end; `notified` is awaited at each stage, `log` is named in errors.

        Raises CriuError, and what `notified` raises.
        """
        return await self._ask({"type": kind, "opts": options}, notified, log=log)

    async def _ask(self, request: Message, notified: Notified | None = None, *, log: str = "") -> dict[str, Any]:
        await self._say(request)
        while True:
            answer, file = await self._listen()
            try:
                kind = messages.KINDS.get(answer.get("type", -1), "unknown")
                if not answer.get("success"):
                    raise CriuError(_failure(kind, answer, log))
                if answer["type"] == request["type"]:
                    return answer
                if answer["type"] != messages.NOTIFY or notified is None:
                    raise CriuError(f"criu answered a request of another type: {kind}")
                notification = answer.get("notify", {})
                await notified(notification.get("script", ""), notification.get("pid", 0), file)
            finally:
                if file >= 0:
                    os.close(file)
            await self._say({"type": messages.NOTIFY, "notify_success": True})

    async def _say(self, request: Message) -> None:
        try:
            socket.send(self._connection, messages.encode(request, messages.REQUEST))
        except OSError:
            raise CriuError(await self._how_it_ended()) from None

    async def _listen(self) -> tuple[dict[str, Any], int]:
        await self._waiter.wait_any({self._connection.fileno(): POLLIN})
        try:
            packet, files = socket.receive(self._connection, _LIMIT, 1)
        except ConnectionResetError:
            packet, files = b"", []
        except OSError as error:
            raise CriuError(f"read from criu: {reason(error)}") from None
        if not packet:
            raise CriuError(await self._how_it_ended())
        try:
            return messages.decode(packet, messages.ANSWER), files[0] if files else -1
        except ValueError as fault:
            for file in files:
                os.close(file)
            raise CriuError(f"criu sent {fault}") from None

    async def _how_it_ended(self) -> str:
        return f"criu ended with status {await self.end()} before it answered"

    async def end(self, *, patience: float | None = _PATIENCE) -> int | None:
        """Let it go, and wait until it has ended: its exit status, None if it isn't ours to know.

        One that is in the middle of its work sees us gone at the next stage, and undoes what it did: a dump lets the container
        go on. One that hasn't ended after `patience` seconds gets KILL, which leaves processes as they are then.
        """
        if self.pidfd < 0:
            return None
        self._connection.close()
        if not await self._waiter.wait_any({self.pidfd: POLLIN}, patience):
            send(self.pidfd, SIGKILL)
            await self._waiter.wait_any({self.pidfd: POLLIN})
        status = reap_child(self.pidfd)
        self.release()
        return status

    def release(self) -> None:
        """Close what is ours of it."""
        self._connection.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


_GO_NAMES = {"mem_track": "MemTrack", "lazy_pages": "LazyPages"}


def _number(version: Message) -> int:
    """As runc counts: one built from git is the next minor version to be."""
    number = int(version.get("major_number", 0)) * 10000 + int(version.get("minor_number", 0)) * 100
    return number + 100 if version.get("gitid") else number + int(version.get("sublevel", 0))


def _failure(kind: str, answer: Message, log: str) -> str:
    """runc's sentence, and what criu itself says of it: the first error of its log."""
    said = answer.get("cr_errmsg") or _first_error(log)
    text = f"criu failed: type {kind} errno {answer.get('cr_errno', 0)}"
    return text + (f": {' '.join(said.split())}" if said else "") + (f" (log file: {log})" if log else "")


def _first_error(log: str) -> str:
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            return next((line.partition(") ")[2] or line for line in file if "Error (" in line), "")
    except OSError:
        return ""
