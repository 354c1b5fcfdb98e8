"""Unix sockets and the descriptors they carry: unix(7), sendmsg(2), recvmsg(2).

On `_socket`, since `import socket` costs a command 6 ms (docs/design.md, the import budget).
A path may be relative, longer than sun_path's 107 bytes, or `@name` for the abstract namespace.
"""

from __future__ import annotations

import _socket
import errno
import os
import sys

from aiorun.linux._call import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SUN_PATH = 107  # bytes of a path that struct sockaddr_un holds beside the closing NUL
_FD = 4  # sizeof(int)
_PEERCRED = 12  # sizeof(struct ucred): pid, uid, gid


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Two connected SEQPACKET ends, close-on-exec, as the messages between us and an init want them."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def send(sock: _socket.socket, payload: bytes, fds: Sequence[int] = ()) -> None:
    """Send `payload` and copies of `fds` as one message; the caller keeps its own descriptors.

    Raises OSError: EAGAIN when a non-blocking socket is full, EMSGSIZE when it doesn't fit, EPIPE when nobody reads.
    """
    control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(fd.to_bytes(_FD, sys.byteorder) for fd in fds))]
    sent = sock.sendmsg([payload], control if fds else [], _socket.MSG_NOSIGNAL)
    if sent != len(payload):  # only a stream does this, and then the rest would be a message of its own
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))


def receive(sock: _socket.socket, limit: int, max_fds: int = 16) -> tuple[bytes, list[int]]:
    """One message of at most `limit` bytes with at most `max_fds` descriptors, close-on-exec; b"" at end of file.

    A message that was cut (MSG_TRUNC, MSG_CTRUNC) is an OSError EMSGSIZE, and what came of it is closed.
    """
    # CMSG_LEN, not CMSG_SPACE: its padding would be room for one more descriptor.
    payload, control, flags, _ = sock.recvmsg(limit, _socket.CMSG_LEN(max_fds * _FD), _socket.MSG_CMSG_CLOEXEC)
    fds = []
    for level, kind, content in control:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            whole = len(content) - len(content) % _FD
            fds += [int.from_bytes(content[at : at + _FD], sys.byteorder) for at in range(0, whole, _FD)]
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    return payload, fds


def connect(path: str) -> _socket.socket:
    """A blocking stream socket connected to `path`. Raises OSError with `path`."""
    return _connect(path, blocking=True)


def connect_at_once(path: str) -> _socket.socket:
    """The same, but BlockingIOError where it would have to wait for room in the listener's queue. connect(2), EAGAIN."""
    connected = _connect(path, blocking=False)
    connected.setblocking(True)
    return connected


def refuses(path: str) -> bool:
    """Whether a socket is at `path` that nobody listens at any more. Raises OSError where that can't be told."""
    try:
        _connect(path, blocking=False).close()
    except ConnectionRefusedError:
        return True
    except BlockingIOError:
        pass  # its queue is full: connect(2)
    return False


def _connect(path: str, *, blocking: bool) -> _socket.socket:
    with _Address(path) as address:
        sock = _stream()
        try:
            sock.setblocking(blocking)
            sock.connect(address.of_socket())
        except OSError as error:
            sock.close()
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
        return sock


def listen(path: str, backlog: int = 16) -> _socket.socket:
    """A non-blocking stream socket that listens at `path`, where nothing may be yet (EADDRINUSE).

    It takes its name only once it listens, so that nobody finds a socket there that refuses. Raises OSError with `path`.
    """
    with _Address(path) as address:
        sock = _stream()
        try:
            sock.setblocking(False)
            address.listen_with(sock, backlog)
        except OSError as error:
            sock.close()
            code = errno.EADDRINUSE if error.errno == errno.EEXIST else error.errno or 0
            raise OSError(code, os.strerror(code), path) from None
        return sock


def accept(sock: _socket.socket) -> _socket.socket:
    """The next connection, non-blocking and close-on-exec. Raises BlockingIOError when there is none."""
    fd, _ = sock._accept()  # type: ignore[attr-defined]  # what socket.socket.accept itself calls
    connection = _socket.socket(fileno=fd)
    connection.setblocking(False)
    return connection


def bind_datagram(path: str, mode: int) -> _socket.socket:
    """A non-blocking datagram socket at `path`, where nothing may be yet, with this mode. Raises OSError with `path`."""
    with _Address(path) as address:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
        try:
            address.bind(sock, mode)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
        return sock


def connect_datagram(path: str) -> _socket.socket:
    """A non-blocking datagram socket that writes to `path`. Raises OSError with `path`."""
    with _Address(path) as address:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
        try:
            sock.connect(address.of_socket())
        except OSError as error:
            sock.close()
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
        return sock


def peer(sock: _socket.socket) -> tuple[int, int]:
    """Process id and user id of who connected. unix(7): SO_PEERCRED."""
    content = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _PEERCRED)
    return int.from_bytes(content[:4], sys.byteorder), int.from_bytes(content[4:8], sys.byteorder)


def _stream() -> _socket.socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)


class _Address:
    """What bind(2) and connect(2) take for a path of any length: through /proc/self/fd where it's too long.

    Raises OSError with `path` if its directory can't be opened, it holds a NUL, or an abstract name is too long.
    """

    def __init__(self, path: str) -> None:
        self._path = encode(path)
        self._fds: list[int] = []
        self.abstract = self._path.startswith(b"@")
        if not self._path or (self.abstract and len(self._path) > _SUN_PATH + 1):  # abstract names need no closing NUL
            code = errno.ENAMETOOLONG if self._path else errno.ENOENT
            raise OSError(code, os.strerror(code), path)

    def __enter__(self) -> _Address:
        return self

    def __exit__(self, *_error: object) -> None:
        for fd in self._fds:
            os.close(fd)

    def of_socket(self) -> bytes:
        """The address of the socket that is there."""
        if self.abstract:
            return b"\0" + self._path[1:]
        if len(self._path) <= _SUN_PATH:
            return self._path
        return b"/proc/self/fd/%d" % self._open(self._path, os.O_PATH)

    def listen_with(self, sock: _socket.socket, backlog: int) -> None:
        if self.abstract:
            sock.bind(self.of_socket())
            sock.listen(backlog)
            return
        name = os.path.basename(self._path)
        directory = self._open(os.path.dirname(self._path) or b".", os.O_PATH | os.O_DIRECTORY)
        # bind(2) alone leaves a socket that refuses until listen(2): whoever looks then takes it for a stale one.
        unready = b".%d.%d.socket" % (os.getpid(), sock.fileno())
        sock.bind(b"/proc/self/fd/%d/%s" % (directory, unready))
        try:
            sock.listen(backlog)
            os.link(unready, name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.unlink(unready, dir_fd=directory)

    def bind(self, sock: _socket.socket, mode: int) -> None:
        name = os.path.basename(self._path)
        directory = self._open(os.path.dirname(self._path) or b".", os.O_PATH | os.O_DIRECTORY)
        sock.bind(b"/proc/self/fd/%d/%s" % (directory, name))
        os.chmod(name, mode, dir_fd=directory)  # whatever the umask was

    def _open(self, path: bytes, flags: int) -> int:
        try:
            fd = os.open(path, flags | os.O_CLOEXEC)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), os.fsdecode(self._path)) from None
        self._fds.append(fd)
        return fd


def stream(fd: int) -> _socket.socket:
    """The socket that `fd` is, which it owns from here on."""
    return _socket.socket(fileno=fd)
