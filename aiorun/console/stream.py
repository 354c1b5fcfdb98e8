"""Reading and writing without ever blocking, though whoever started us shares our stdio.

O_NONBLOCK belongs to the open file description, which is the shell's too: set on our stdin it would be set on the
shell's. So a pipe or a terminal is opened anew, a socket is asked with MSG_DONTWAIT, and for the rest poll(2) decides.
"""

from __future__ import annotations

import errno
import os
import select
import stat

from aiorun.linux import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_PIPE_BUF = 4096  # pipe(7): what a pipe that polls writable takes without blocking


class Stream:
    """One end of a flow. `fd` is what to wait for. Raises BlockingIOError where reading or writing would block."""

    def __init__(self, fd: int) -> None:
        """`fd` is non-blocking already."""
        self.fd = fd

    def read_into(self, view: memoryview) -> int:
        """Bytes read; 0 at end of file."""
        return os.readv(self.fd, [view])

    def write(self, view: memoryview) -> int:
        """Bytes written."""
        return os.write(self.fd, view)

    def close(self) -> None:
        """Close what was opened for this stream; the `fd` that it was made of stays open."""


class _Reopened(Stream):
    def close(self) -> None:
        os.close(self.fd)


class _Socket(Stream):
    def __init__(self, fd: int) -> None:
        import _socket

        super().__init__(fd)
        self._socket: _socket.socket = _socket.socket(fileno=os.dup(fd))  # the constructor leaves the description as it is
        self._flags = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL

    def read_into(self, view: memoryview) -> int:
        return self._socket.recv_into(view, 0, self._flags)

    def write(self, view: memoryview) -> int:
        return self._socket.send(view, self._flags)

    def close(self) -> None:
        self._socket.close()


class _Polled(Stream):
    def read_into(self, view: memoryview) -> int:
        self._need(select.POLLIN)
        return os.readv(self.fd, [view])

    def write(self, view: memoryview) -> int:
        self._need(select.POLLOUT)
        return os.write(self.fd, view[:_PIPE_BUF])

    def _need(self, events: int) -> None:
        poll = select.poll()
        poll.register(self.fd, events)
        if not poll.poll(0):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def shared(fd: int, access: int) -> Stream:
    """A stream of `fd`, which others share; `access` is O_RDONLY or O_WRONLY. A closed `fd` is at its end."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            return _Socket(fd)
        # A regular file's offset is shared with the caller on purpose; a master opened anew is another terminal.
        if stat.S_ISFIFO(mode) or (terminal.is_terminal(fd) and not terminal.is_master(fd)):
            flags = access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return _Reopened(os.open(f"/proc/self/fd/{fd}", flags))
    except OSError:
        pass  # another user's terminal (after su), no /proc, a pipe without a reader
    return _Polled(fd)
