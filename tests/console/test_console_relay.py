"""The relay in front of a terminal: nothing is lost, nobody is kept waiting, and the caller's terminal comes back as it was."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest
import trio
import trio.testing
from ptyprocess import PtyProcess

from aiorun.console.relay import drain, relay
from aiorun.console.terminal import Terminal
from aiorun.linux import terminal as pty
from aiorun.trio_waiter import TrioWaiter
from aiorun.waiter import PollWaiter, drive
from tests.waiting import until

FRONT = [sys.executable, "-S", str(Path(__file__).with_name("front.py"))]
SIZE = 10 << 20

Terminals = Callable[..., PtyProcess]


def front(argv: list[str], **popen: Any) -> subprocess.Popen[bytes]:
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "start_new_session": True, **popen}
    return subprocess.Popen([*FRONT, *argv], **options)


def stream(of: IO[bytes] | None) -> IO[bytes]:
    assert of is not None
    return of


def read_until(child: PtyProcess, text: bytes) -> bytes:
    read = b""
    while text not in read:
        read += child.read()
    return read


def read_line(fd: int, line: bytes) -> None:
    """Read this line, which may come in pieces, and nothing else, or fail."""
    seen = b""
    while not seen.endswith(line[-1:]):
        seen += os.read(fd, 100)
    assert seen == line


@pytest.fixture
def outer() -> Iterator[tuple[int, int]]:
    """The terminal that a person sits at: its master and itself."""
    ends = os.openpty()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def inner() -> tuple[int, int]:
    """The terminal of a program: its master, which the relay closes, and itself, which the test does."""
    return os.openpty()


@pytest.fixture
def running() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A program that lives until it's killed, and its pidfd."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        pidfd = os.pidfd_open(process.pid)
        yield process, pidfd
        os.close(pidfd)
        process.kill()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


# --- what goes through -----------------------------------------------------------------------------------------


def test_ten_mebibytes_of_output_arrive_whole_though_stdin_ended_at_once(large: Path) -> None:
    with front(["sh", "-c", f"stty raw -echo; cat {large}"]) as process:
        received = stream(process.stdout).read()
    assert len(received) == SIZE
    assert hashlib.sha256(received).digest() == hashlib.sha256(large.read_bytes()).digest()
    assert process.returncode == 0


def test_ten_mebibytes_of_piped_input_arrive_whole(large: Path) -> None:
    script = f"stty raw -echo; echo ready; head -c {SIZE} | sha256sum"
    with front(["sh", "-c", script], stdin=subprocess.PIPE) as process:
        assert stream(process.stdout).readline() == b"ready\n"
        stream(process.stdin).write(large.read_bytes())
        assert stream(process.stdout).read().split()[0].decode() == hashlib.sha256(large.read_bytes()).hexdigest()


@pytest.mark.parametrize("attempt", range(20))
def test_the_last_byte_of_a_program_that_exits_at_once_is_never_lost(attempt: int) -> None:
    with front(["sh", "-c", "printf 'the first\\nthe last'"]) as process:
        assert stream(process.stdout).read() == b"the first\nthe last"


def test_output_to_a_file_is_appended_where_the_caller_was(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb", buffering=0) as out:
        out.write(b"before\n")
        front(["echo", "between"], stdout=out).wait()
        out.write(b"after\n")
    assert (tmp_path / "out").read_bytes() == b"before\nbetween\nafter\n"


def test_output_to_a_socket_arrives() -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = front(["sh", "-c", "read line; echo got $line"], stdin=theirs, stdout=theirs)
        theirs.close()
        ours.sendall(b"a line\n")
        with ours.makefile("rb") as file:
            assert file.read() == b"a line\ngot a line\n"  # the echo of the inner terminal first
        assert process.wait() == 0


def test_a_closed_stdin_is_at_its_end_and_no_file_of_ours() -> None:
    with front(["sh", "-c", "echo alive; readlink /proc/$PPID/fd/0"], stdin=None, preexec_fn=lambda: os.close(0)) as process:
        assert stream(process.stdout).read() == b"alive\n/dev/null\n"


# --- who is slow, blocked or gone ------------------------------------------------------------------------------

_FLOOD = """
import os
os.write(1, b"%d\\n" % os.getpid())
while True:
    os.write(1, b"x" * 65536)
"""


def test_a_signal_reaches_the_program_while_nobody_reads_and_a_second_one_gives_up_its_output() -> None:
    with front([sys.executable, "-c", _FLOOD], bufsize=0) as process:
        pidfd = os.pidfd_open(int(stream(process.stdout).readline()))
        writer = os.open(f"/proc/self/fd/{stream(process.stdout).fileno()}", os.O_WRONLY | os.O_NONBLOCK)
        until(lambda: not select.select([], [writer], [], 0)[1], "a full pipe")
        os.close(writer)
        process.send_signal(signal.SIGTERM)
        select.select([pidfd], [], [])  # it ended, and what it wrote is more than the pipe holds
        os.close(pidfd)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def test_a_broken_stdout_hangs_the_program_up() -> None:
    with front(["sh", "-c", "while echo more; do :; done; exec sleep 1000"]) as process:
        stream(process.stdout).close()
        assert process.wait() == 128 + signal.SIGHUP


def test_a_background_child_that_keeps_the_terminal_is_not_waited_for() -> None:
    script = "trap '' HUP; sleep 1000 & echo $!; echo last"
    with front(["sh", "-c", script]) as process:
        child, last = stream(process.stdout).read().split()
        assert last == b"last"
    pidfd = os.pidfd_open(int(child))
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)  # it became ours: the test run is a subreaper
    os.close(pidfd)


def test_a_background_child_that_writes_for_ever_is_not_waited_for() -> None:
    script = "trap '' HUP; echo $$; yes & read go; exit 3"
    with front(["sh", "-c", script], stdin=subprocess.PIPE, bufsize=0) as process:
        program = os.pidfd_open(int(stream(process.stdout).readline()))
        assert stream(process.stdout).readline() == b"y\n"
        stream(process.stdin).write(b"\n")
        select.select([program], [], [])
        rest = 0
        while chunk := stream(process.stdout).read(1024):  # slower than it writes: there's always more
            rest += len(chunk)
        assert rest < 1 << 20
        assert process.wait() == 3
    os.close(program)
    os.wait()  # EIO ended it, since the master is closed; it became ours, since the test run is a subreaper


async def test_a_terminal_that_hung_up_and_comes_back_is_read_again(
    inner: tuple[int, int], running: tuple[subprocess.Popen[bytes], int]
) -> None:
    master, peer = inner
    again = os.dup(master)
    stdin, stdout = os.pipe(), os.pipe()
    process, pidfd = running
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await relay(TrioWaiter(), master, stdin=stdin[0], stdout=stdout[1], until=pidfd)

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        os.write(peer, b"once\n")
        await trio.lowlevel.wait_readable(stdout[0])
        assert os.read(stdout[0], 100) == b"once\n"
        os.close(peer)
        os.write(stdin[1], b"for whoever comes\n")
        await trio.testing.wait_all_tasks_blocked()  # it comes to rest, though poll(2) says HUP all the time
        peer = pty.open_peer(again)
        os.write(peer, b"twice\n")
        output = b""
        while b"twice" not in output or b"comes" not in output:  # what was typed meanwhile is there too, and echoed
            await trio.lowlevel.wait_readable(stdout[0])
            output += os.read(stdout[0], 100)
        assert os.read(peer, 100) == b"for whoever comes\n"
        process.kill()
    for fd in (peer, again, *stdin, *stdout):
        os.close(fd)


async def test_without_a_pidfd_the_hang_up_is_the_end(inner: tuple[int, int]) -> None:
    master, peer = inner
    reader, writer = os.pipe()
    os.write(peer, b"all of it")
    os.close(peer)
    await relay(TrioWaiter(), master, stdin=None, stdout=writer)
    os.close(writer)
    assert os.read(reader, 100) == b"all of it"
    os.close(reader)


async def test_a_drain_ends_with_its_terminal(inner: tuple[int, int]) -> None:
    master, peer = inner
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, TrioWaiter(), master)
        for _ in range(100):  # more than a terminal holds
            await trio.to_thread.run_sync(os.write, peer, b"x" * 1000)
        os.close(peer)


# --- the caller's terminal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["stdin", "stdout"])
def test_the_shells_descriptors_never_become_non_blocking(outer: tuple[int, int], which: str) -> None:
    _, tty = outer
    before = fcntl.fcntl(tty, fcntl.F_GETFL)
    reader, writer = os.pipe()
    with front(["sh", "-c", "echo ready; read x"], **{"stdin": reader, "stdout": subprocess.PIPE, which: tty}) as process:
        select.select([stream(process.stdout).fileno() if which == "stdin" else outer[0]], [], [])  # the relay runs
        assert fcntl.fcntl(tty, fcntl.F_GETFL) == before
        assert not fcntl.fcntl(reader, fcntl.F_GETFL) & os.O_NONBLOCK
        os.write(outer[0] if which == "stdin" else writer, b"\n")
    assert fcntl.fcntl(tty, fcntl.F_GETFL) == before
    os.close(reader)
    os.close(writer)


def test_control_characters_reach_the_program_as_bytes(terminal: Terminals) -> None:
    child = terminal([*FRONT, "--terminal", "sh", "-c", "stty raw -echo; echo ready; head -c 4 | od -An -tx1"])
    read_until(child, b"ready")
    child.write(b"\x03\x1a\x1c\x11")
    assert b"03 1a 1c 11" in read_until(child, b"11")
    assert child.wait() == 0


def test_control_c_interrupts_the_program_and_not_the_front(terminal: Terminals) -> None:
    child = terminal([*FRONT, "--terminal", "sh", "-c", "echo ready; exec sleep 1000"])
    read_until(child, b"ready")
    child.write(b"\x03")
    assert child.wait() == 128 + signal.SIGINT


_SIZES = """
import os, signal
def show(*_):
    size = os.get_terminal_size()
    print("size", size.lines, size.columns, flush=True)
signal.signal(signal.SIGWINCH, show)
show()
signal.sigwait([signal.SIGTERM])
"""


def test_the_program_sees_the_first_size_and_every_resize(terminal: Terminals) -> None:
    script = _SIZES.replace("signal.sigwait([signal.SIGTERM])", "while True: signal.pause()")
    child = terminal([*FRONT, "--terminal", sys.executable, "-c", script], size=(33, 99))
    read_until(child, b"size 33 99\r\n")
    for rows, columns in ((50, 132), (24, 80)):
        child.setwinsize(rows, columns)
        read_until(child, f"size {rows} {columns}\r\n".encode())
    child.kill(signal.SIGTERM)
    assert child.wait() == 128 + signal.SIGTERM


def test_newlines_become_carriage_return_and_newline_once(terminal: Terminals) -> None:
    child = terminal([*FRONT, "--terminal", "echo", "a line"])
    assert read_until(child, b"\n") == b"a line\r\n"
    child.wait()


def test_the_terminal_is_raw_meanwhile_and_as_before_at_the_end(outer: tuple[int, int]) -> None:
    master, tty = outer
    before = termios.tcgetattr(tty)
    process = front(["sh", "-c", "echo ready; read x"], stdin=tty, stdout=tty, stderr=tty)
    assert b"ready" in os.read(master, 100)
    assert not termios.tcgetattr(tty)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    os.write(master, b"\r")
    assert process.wait() == 0
    assert termios.tcgetattr(tty) == before


class Fails(PollWaiter):
    async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
        raise RuntimeError("in the middle")


def test_the_terminal_is_as_before_after_an_exception(outer: tuple[int, int], inner: tuple[int, int]) -> None:
    before = termios.tcgetattr(outer[1])
    with pytest.raises(RuntimeError, match="in the middle"):
        drive(relay(Fails(), inner[0], stdin=outer[1], stdout=outer[1], terminal=Terminal(outer[1])))
    assert termios.tcgetattr(outer[1]) == before
    os.close(inner[1])


async def test_the_terminal_is_as_before_after_a_cancellation(outer: tuple[int, int], inner: tuple[int, int]) -> None:
    before = termios.tcgetattr(outer[1])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                await relay(TrioWaiter(), inner[0], stdin=outer[1], stdout=outer[1], terminal=Terminal(outer[1]))

            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            assert termios.tcgetattr(outer[1]) != before
            scope.cancel()
    assert termios.tcgetattr(outer[1]) == before
    os.close(inner[1])


def test_without_any_terminal_the_caller_is_told() -> None:
    with front(["--terminal", "true"], stderr=subprocess.PIPE) as process:
        assert stream(process.stderr).read() == b"open /dev/tty: no such device or address\n"
        assert process.wait() == 1


def test_a_piped_stdin_feeds_the_program_of_a_terminal(outer: tuple[int, int]) -> None:
    process = front(["sh", "-c", "stty -echo; echo ready; read x; echo got $x"], stdin=subprocess.PIPE, stdout=outer[1])
    read_line(outer[0], b"ready\r\n")
    stream(process.stdin).write(b"a line\n")
    stream(process.stdin).close()
    read_line(outer[0], b"got a line\r\n")
    assert process.wait() == 0
