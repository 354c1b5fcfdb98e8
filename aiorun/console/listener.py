"""The receiving side of a console socket: what a runtime's `--console-socket` connects to, and the terminal it sends."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from aiorun.errors import ConsoleError, reason
from aiorun.linux import socket, terminal
from aiorun.waiter import POLLIN
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from aiorun.waiter import Waiter

_PAYLOAD = 4096  # bytes; runc sends the terminal's name, crun a blank
_MAX_FDS = 16
# accept(2): no descriptor or no memory left. The connection stays in the queue, and poll(2) has it ready all the time.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SHORTAGE_SECONDS = 0.1


class Received(Record):
    """A terminal that came: its `master`, whose owner is the receiver; what the sender called it; who sent it."""

    master: int
    name: str
    pid: int


class Listener:
    """A console socket that is ours while the block lasts.

    A stale socket at `path` is replaced. Raises ConsoleError if somebody listens there, or something else is there.
    On the way out the socket is removed, unless the path is another's by then.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = _listen(path)
        self._identity = None if path.startswith("@") else _identity(path)

    async def accept(self, waiter: Waiter) -> _socket.socket:
        """The next that connects, for `receive`."""
        while True:
            try:
                return socket.accept(self._socket)
            except BlockingIOError:
                await waiter.wait_any({self._socket.fileno(): POLLIN})
            except ConnectionAbortedError:
                pass  # it gave up before its turn: accept(2)
            except OSError as error:
                if error.errno in _SHORTAGES:
                    await waiter.sleep(_SHORTAGE_SECONDS)
                    continue
                raise ConsoleError(f'accept on "{self.path}": {reason(error)}') from None

    def close(self) -> None:
        """Remove the socket, and stop listening: in this order, since a stale one may be replaced at any time."""
        identity, self._identity = self._identity, None
        try:
            if identity is not None and _identity(self.path) == identity:
                os.unlink(self.path)
        except OSError:
            pass  # it's gone
        self._socket.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


async def receive(waiter: Waiter, connection: _socket.socket) -> Received:
    """The terminal that comes over `connection`, which is closed then.

    Raises ConsoleError for another user's process that isn't root's (CVE-2020-15257: an abstract socket has no
    permissions, and a container in our network namespace reaches it), and for all but one master with a payload.
    Waits as long as the peer says nothing; cancelling closes.
    """
    try:
        pid, uid = socket.peer(connection)
        if uid not in (0, os.geteuid()):
            raise ConsoleError(f"receive a terminal from process {pid}: it belongs to user {uid}")
        while True:
            try:
                payload, fds = socket.receive(connection, _PAYLOAD, _MAX_FDS)
                break
            except BlockingIOError:
                await waiter.wait_any({connection.fileno(): POLLIN})
            except OSError as error:
                raise ConsoleError(f"receive a terminal from process {pid}: {reason(error)}") from None
    finally:
        connection.close()
    fault = _fault(payload, fds)
    if fault:
        for fd in fds:
            os.close(fd)
        raise ConsoleError(f"receive a terminal from process {pid}: {fault}")
    return Received(master=fds[0], name=payload.decode(errors="replace"), pid=pid)


def _fault(payload: bytes, fds: list[int]) -> str:
    if not payload:
        return "it closed the connection without a message"
    if not fds:
        return "it sent no file descriptor"
    if len(fds) > 1:
        return f"it sent {len(fds)} file descriptors instead of one"
    try:
        return "" if terminal.is_master(fds[0]) else "it sent a file descriptor that isn't a terminal's master"
    except OSError as error:
        return reason(error)


def _listen(path: str) -> _socket.socket:
    while True:
        try:
            return socket.listen(path)
        except OSError as error:
            # Only what refuses is stale. An abstract name is gone with its owner.
            if error.errno != errno.EADDRINUSE or path.startswith("@") or not _take_stale_away(path):
                raise ConsoleError(f'listen on "{path}": {reason(error)}') from None


def _take_stale_away(path: str) -> bool:
    """Remove a socket that nobody listens at; False if somebody does, or if it's no socket.

    Under a lock of its directory, or of two who find it stale the slower removes what the faster put there. Who
    doesn't get the lock at once is the slower one.
    """
    try:
        directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _identity(path) is None or not socket.refuses(path):
            return False
        os.unlink(path)
    except FileNotFoundError:
        pass  # somebody else removed it: whoever listens first has it
    except OSError:
        return False
    finally:
        os.close(directory)
    return True


def _identity(path: str) -> tuple[int, int, int] | None:
    """Which socket it is, None if it's something else. The number of an inode is used again, hardly at the same instant."""
    found = os.lstat(path)
    return (found.st_dev, found.st_ino, found.st_mtime_ns) if stat.S_ISSOCK(found.st_mode) else None
