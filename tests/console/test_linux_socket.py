"""aiorun.linux.socket: what a message carries arrives whole or is an error, and a path may be as long as it likes."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import closing
from pathlib import Path

import pytest

from aiorun.linux import socket


def test_a_descriptor_arrives_close_on_exec_and_is_the_same_file(tmp_path: Path) -> None:
    left, right = socket.pair()
    with closing(left), closing(right), open(tmp_path / "file", "w") as file:
        socket.send(left, b"here", [file.fileno()])
        payload, (received,) = socket.receive(right, 100)
        assert payload == b"here"
        assert os.fstat(received).st_ino == os.fstat(file.fileno()).st_ino
        assert fcntl.fcntl(received, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(received)


def test_the_end_of_file_is_an_empty_message() -> None:
    left, right = socket.pair()
    with closing(right):
        left.close()
        assert socket.receive(right, 100) == (b"", [])


@pytest.mark.parametrize("limit, max_fds", [(100, 1), (2, 16)])
def test_a_message_that_was_cut_is_an_error_and_leaves_no_descriptor(limit: int, max_fds: int) -> None:
    left, right = socket.pair()
    with closing(left), closing(right):
        socket.send(left, b"four", [0, 1])
        with pytest.raises(OSError) as failure:
            socket.receive(right, limit, max_fds)
        assert failure.value.errno == errno.EMSGSIZE


def test_a_full_socket_and_a_message_too_long_surface_as_oserror() -> None:
    left, right = socket.pair()
    with closing(left), closing(right):
        with pytest.raises(OSError) as failure:
            socket.send(left, bytes(8 << 20))
        assert failure.value.errno == errno.EMSGSIZE
        left.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                socket.send(left, b"x" * 1000)


def _paths(directory: Path) -> list[str]:
    deep = directory / ("d" * 120)
    deep.mkdir()
    return ["short", str(directory / "absolute"), str(deep / ("n" * 200)), f"@aiorun-test-{os.getpid()}"]


@pytest.mark.parametrize("which", range(4), ids=["relative", "absolute", "long", "abstract"])
def test_a_path_of_any_kind_is_listened_on_and_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    monkeypatch.chdir(tmp_path)
    path = _paths(tmp_path)[which]
    with (
        closing(socket.listen(path)) as listener,
        closing(socket.connect(path)) as client,
        closing(socket.accept(listener)) as server,
    ):
        client.send(b"hello")
        assert server.recv(100) == b"hello"
        assert socket.peer(server) == (os.getpid(), os.getuid())
        with pytest.raises(OSError) as failure:
            socket.listen(path)
        assert failure.value.errno == errno.EADDRINUSE
        assert failure.value.filename == path
    if not path.startswith("@"):
        assert [name for name in os.listdir(os.path.dirname(path) or ".") if "socket" in name] == []


def test_an_absent_path_and_one_without_a_listener_are_named(tmp_path: Path) -> None:
    for path in (str(tmp_path / "absent"), str(tmp_path / ("n" * 200)), str(tmp_path / "no" / "directory")):
        with pytest.raises(FileNotFoundError) as failure:
            socket.connect(path)
        assert failure.value.filename == path
    stale = str(tmp_path / "stale")
    socket.listen(stale).close()
    with pytest.raises(ConnectionRefusedError):
        socket.connect(stale)


@pytest.mark.parametrize("path, code", [("", errno.ENOENT), ("a\0b", errno.EINVAL), ("@" + "x" * 108, errno.ENAMETOOLONG)])
def test_a_path_that_no_socket_can_have_is_refused(path: str, code: int) -> None:
    for attempt in (socket.connect, socket.listen):
        with pytest.raises(OSError) as failure:
            attempt(path)
        assert failure.value.errno == code
