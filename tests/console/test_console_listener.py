"""The console socket's receiving side: one terminal from a trusted peer, anything else is one sentence."""

from __future__ import annotations

import fcntl
import os
import socket as _sockets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from aiorun.console import Listener, Received, receive
from aiorun.errors import ConsoleError
from aiorun.linux import socket
from aiorun.trio_waiter import TrioWaiter
from aiorun.waiter import PollWaiter, drive


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "tty.sock")


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    ends = os.openpty()
    yield ends
    for fd in ends:
        os.close(fd)


async def accepted(listener: Listener) -> Received:
    waiter = PollWaiter()
    return await receive(waiter, await listener.accept(waiter))


def sent(path: str, payload: bytes, fds: list[int]) -> Received:
    """What a listener at `path` makes of a runtime that sends this."""
    with Listener(path) as listener:
        with closing(socket.connect(path)) as client:
            if payload or fds:
                socket.send(client, payload, fds)
        return drive(accepted(listener))


@pytest.mark.parametrize("payload", [b"/dev/ptmx", b" ", b"\xff\x1b[2J"], ids=["runc", "crun", "garbage"])
def test_a_master_is_received_whatever_it_is_called(path: str, ends: tuple[int, int], payload: bytes) -> None:
    received = sent(path, payload, [ends[0]])
    assert os.fstat(received.master).st_ino == os.fstat(ends[0]).st_ino
    assert received.name == payload.decode(errors="replace")
    assert received.pid == os.getpid()
    os.close(received.master)


@pytest.mark.parametrize(
    "payload, choose, fault",
    [
        (b"", lambda master, peer, null: [], "closed the connection without a message"),
        (b"hello", lambda master, peer, null: [], "sent no file descriptor"),
        (b"x", lambda master, peer, null: [master, master], "sent 2 file descriptors instead of one"),
        (b"x", lambda master, peer, null: [master] * 17, "message too long"),
        (b"x", lambda master, peer, null: [peer], "isn't a terminal's master"),
        (b"x", lambda master, peer, null: [null], "isn't a terminal's master"),
    ],
    ids=["nothing", "no fd", "two fds", "seventeen fds", "the wrong end", "no terminal"],
)
def test_anything_but_one_master_is_refused_and_closed(
    path: str, ends: tuple[int, int], payload: bytes, choose: Callable[[int, int, int], list[int]], fault: str
) -> None:
    with open("/dev/null") as null, pytest.raises(ConsoleError, match=fault) as failure:
        sent(path, payload, choose(*ends, null.fileno()))
    assert str(failure.value).startswith(f"receive a terminal from process {os.getpid()}: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_terminal_of_another_user_is_refused(ends: tuple[int, int]) -> None:
    path = f"@aiorun-test-{os.getpid()}"  # CVE-2020-15257: an abstract socket asks for no permission
    with Listener(path) as listener:
        pid = os.fork()
        if pid == 0:
            try:
                os.setresuid(65534, 65534, 65534)
                socket.send(socket.connect(path), b"x", [ends[0]])
            finally:
                os._exit(0)
        with pytest.raises(ConsoleError, match=f"receive a terminal from process {pid}: it belongs to user 65534"):
            drive(accepted(listener))
        os.waitpid(pid, 0)


async def test_a_peer_that_says_nothing_keeps_nobody_waiting(path: str, ends: tuple[int, int]) -> None:
    with Listener(path) as listener, closing(socket.connect(path)):
        silent = await listener.accept(TrioWaiter())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, TrioWaiter(), silent)
            await trio.testing.wait_all_tasks_blocked()
            with closing(socket.connect(path)) as client:
                socket.send(client, b"x", [ends[0]])
                received = await receive(TrioWaiter(), await listener.accept(TrioWaiter()))
            os.close(received.master)
            nursery.cancel_scope.cancel()
        assert silent.fileno() == -1


# --- whose socket it is ----------------------------------------------------------------------------------------


def test_a_stale_socket_is_replaced_and_removed_at_the_end(path: str) -> None:
    socket.listen(path).close()
    with Listener(path):
        socket.connect(path).close()
    assert os.listdir(os.path.dirname(path)) == []


def test_a_live_socket_is_refused_and_stays(path: str) -> None:
    with Listener(path):
        with pytest.raises(ConsoleError, match=f'listen on "{path}": address already in use'):
            Listener(path)
        socket.connect(path).close()


def test_a_live_socket_whose_queue_is_full_is_refused_too(path: str) -> None:
    with closing(socket.listen(path, 0)), closing(socket.connect(path)), pytest.raises(ConsoleError):
        Listener(path)


def test_a_socket_of_another_kind_and_a_file_are_refused_and_stay(path: str) -> None:
    with _sockets.socket(_sockets.AF_UNIX, _sockets.SOCK_DGRAM) as other:
        other.bind(path)
        with pytest.raises(ConsoleError):
            Listener(path)
    os.unlink(path)
    Path(path).write_text("precious")
    with pytest.raises(ConsoleError):
        Listener(path)
    assert Path(path).read_text() == "precious"


def test_a_socket_that_another_put_there_meanwhile_stays(path: str) -> None:
    with Listener(path):
        os.unlink(path)
        other = socket.listen(path)
    socket.connect(path).close()
    other.close()


def test_of_many_who_find_a_stale_socket_one_gets_it(path: str) -> None:
    """Each holds it until all have tried."""
    socket.listen(path).close()
    start, done, answer = os.pipe(), os.pipe(), os.pipe()
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            os.close(start[1])
            os.close(done[1])
            os.read(start[0], 1)
            try:
                with Listener(path):
                    os.write(answer[1], b"+")
                    os.read(done[0], 1)
            except ConsoleError:
                os.write(answer[1], b"-")
            finally:
                os._exit(0)
        pids.append(pid)
    os.close(start[1])
    answers = b"".join(os.read(answer[0], 1) for _ in pids)
    os.close(done[1])
    for pid in pids:
        os.waitpid(pid, 0)
    for fd in (start[0], done[0], *answer):
        os.close(fd)
    assert sorted(answers) == sorted(b"-" * 7 + b"+")
    assert os.listdir(os.path.dirname(path)) == []


def test_a_stale_socket_that_another_is_replacing_is_left_to_it(path: str) -> None:
    socket.listen(path).close()
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with pytest.raises(ConsoleError, match="address already in use"):
        Listener(path)
    os.close(directory)
    Listener(path).close()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "absent" / "tty.sock")
    with pytest.raises(ConsoleError, match=f'listen on "{path}": no such file or directory'):
        Listener(path)
