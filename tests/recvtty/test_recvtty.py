"""recvtty as a process: what a person and a script at its command line are promised."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest
from ptyprocess import PtyProcess

from aiorun.linux import socket
from aiorun.linux import terminal as pty

COMMAND = [sys.executable, "-m", "recvtty"]
CHECKOUT = Path(__file__).resolve().parent.parent.parent


class Server:
    """recvtty at `path`, which listens."""

    def __init__(self, process: subprocess.Popen[bytes], path: str) -> None:
        self.process = process
        self.path = path

    def send(self, *fds: int, payload: bytes = b"/dev/ptmx") -> None:
        """What a runtime does."""
        with closing(socket.connect(self.path)) as client:
            socket.send(client, payload, fds)

    def lend(self) -> int:
        """A terminal's inner end; recvtty alone has the master."""
        master, peer = os.openpty()
        self.send(master)
        os.close(master)
        return peer

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def read(self, until: bytes, *, stderr: bool = False) -> bytes:
        file = self.process.stderr if stderr else self.process.stdout
        assert file is not None
        read = b""
        while until not in read:
            chunk = os.read(file.fileno(), 65536)
            assert chunk, f"it ended: {read!r}"
            read += chunk
        return read


Start = Callable[..., Server]


def wait_for_pid_file(path: Path) -> None:
    """Until it's there, which says that recvtty listens. Its directory's changes are told by SIGIO: fcntl(2), F_NOTIFY."""
    directory = os.open(path.parent, os.O_RDONLY)
    signals = {signal.SIGIO, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        fcntl.fcntl(directory, fcntl.F_NOTIFY, fcntl.DN_RENAME | fcntl.DN_MULTISHOT)
        while not path.exists():
            assert signal.sigwait(signals) == signal.SIGIO, "recvtty ended"
    finally:
        os.close(directory)  # which ends the notices
        while signal.sigtimedwait(signals, 0):
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*flags: str, path: str | None = None, **popen: Any) -> Server:
        path = path or str(tmp_path / "tty.sock")
        pid_file = tmp_path / f"pid-{len(started)}"
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        options = {"cwd": CHECKOUT, **streams, **popen}
        process = subprocess.Popen([*COMMAND, "--pid-file", str(pid_file), *flags, path], **options)
        started.append(process)
        wait_for_pid_file(pid_file)
        return Server(process, path)

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_single_shows_what_the_program_writes_and_types_what_it_is_given(start: Start) -> None:
    server = start()
    peer = server.lend()
    os.write(peer, b"hello\n")
    server.read(b"\n")
    os.write(peer, b"plain newlines\n")
    assert server.read(b"\n") == b"plain newlines\n"  # ONLCR is cleared by now, and not in the middle of a line
    server.stdin.write(b"a line\n")
    server.stdin.flush()
    assert os.read(peer, 100) == b"a line\n"
    os.write(peer, b"the last")
    os.close(peer)
    assert server.read(b"the last").endswith(b"the last")
    assert server.process.wait() == 0
    assert not Path(server.path).exists()


def test_single_outlives_the_end_of_its_stdin(start: Start) -> None:
    server = start(stdin=subprocess.DEVNULL)
    peer = server.lend()
    for number in range(3):
        os.write(peer, b"%d\n" % number)
        server.read(b"%d" % number)
    os.close(peer)
    assert server.process.wait() == 0


def test_closed_standard_streams_are_no_hindrance(start: Start) -> None:
    server = start(preexec_fn=lambda: os.closerange(0, 3))
    peer = server.lend()
    os.write(peer, b"to nobody")
    os.close(peer)
    assert server.process.wait() == 0


def test_no_stdin_types_nothing(start: Start) -> None:
    server = start("--no-stdin")
    peer = server.lend()
    server.stdin.write(b"not for you\n")
    server.stdin.flush()
    os.write(peer, b"ready\n")
    server.read(b"ready")
    os.set_blocking(peer, False)
    with pytest.raises(BlockingIOError):
        os.read(peer, 100)
    os.close(peer)
    assert server.process.wait() == 0


def test_single_refuses_a_second_container(start: Start) -> None:
    server = start()
    peer = server.lend()
    os.write(peer, b"ready\n")
    server.read(b"ready")
    with pytest.raises(FileNotFoundError):
        socket.connect(server.path)
    os.close(peer)
    assert server.process.wait() == 0


@pytest.mark.parametrize("mode", ["single", "null"])
def test_bad_peers_cost_a_line_each_and_a_silent_one_nothing(start: Start, mode: str) -> None:
    server = start("--mode", mode)
    silent = socket.connect(server.path)
    with open("/dev/null") as null:
        for fds, fault in (((), b"no file descriptor"), ((0, 0), b"2 file descriptors"), ((null.fileno(),), b"isn't a terminal")):
            server.send(*fds, payload=b"\x1b[2Jgarbage\n")
            line = server.read(b"\n", stderr=True)
            assert line.startswith(b"recvtty: receive a terminal from process ")
            assert fault in line and line.count(b"\n") == 1 and b"\x1b" not in line
    peer = server.lend()
    if mode == "single":
        os.write(peer, b"good\n")
        assert server.read(b"\n").startswith(b"good")
        os.close(peer)
    else:
        os.close(peer)
        server.process.terminate()
    assert server.process.wait() == 0
    silent.close()


def test_null_drains_many_at_once_and_outlives_them(start: Start) -> None:
    server = start("--mode", "null")
    peers = [server.lend() for _ in range(50)]
    for _ in range(20):
        for peer in peers:
            assert os.write(peer, b"x" * 1000) == 1000  # 20 of them are more than a terminal holds
    for peer in peers:
        os.close(peer)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait() == 0
    assert not Path(server.path).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(start: Start, tmp_path: Path, number: int) -> None:
    server = start()
    assert (tmp_path / "pid-0").read_text() == f"{server.process.pid}\n"
    server.process.send_signal(number)
    assert server.process.wait() == 0
    assert os.listdir(tmp_path) == []
    assert server.process.stderr is not None and server.process.stderr.read() == b""


def test_a_pid_file_that_another_wrote_meanwhile_stays(start: Start, tmp_path: Path) -> None:
    server = start()
    (tmp_path / "pid-0").write_text("1\n")
    server.process.terminate()
    assert server.process.wait() == 0
    assert os.listdir(tmp_path) == ["pid-0"]


@pytest.mark.parametrize("kind", ["long", "abstract", "relative"])
def test_any_kind_of_path_is_served(start: Start, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ("d" * 150)).mkdir()
    paths = {"long": str(tmp_path / ("d" * 150) / ("s" * 60)), "abstract": f"@recvtty-{os.getpid()}", "relative": "tty.sock"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    server = start(path=paths[kind], cwd=tmp_path)
    peer = server.lend()
    os.close(peer)
    assert server.process.wait() == 0


def test_a_socket_in_use_and_an_impossible_pid_file_are_one_line(start: Start, tmp_path: Path) -> None:
    server = start()
    second = subprocess.run([*COMMAND, server.path], cwd=CHECKOUT, capture_output=True, text=True)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == f'recvtty: listen on "{server.path}": address already in use\n'
    absent = str(tmp_path / "absent" / "pid")
    third = subprocess.run([*COMMAND, "--pid-file", absent, str(tmp_path / "x")], cwd=CHECKOUT, capture_output=True, text=True)
    assert third.returncode == 1
    assert third.stderr == f'recvtty: write the pid file "{absent}": no such file or directory\n'
    assert not (tmp_path / "x").exists()


def test_a_stale_socket_is_replaced(start: Start, tmp_path: Path) -> None:
    server = start()
    server.process.kill()
    server.process.wait()
    assert Path(server.path).is_socket()
    (tmp_path / "pid-0").unlink()
    os.close(start().lend())


def test_help_teaches() -> None:
    shown = subprocess.run([*COMMAND, "--help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for word in ("--console-socket", "--mode", "single", "null", "--pid-file", "--no-stdin", "SOCKET"):
        assert word in shown
    wrong = subprocess.run([*COMMAND, "--mode", "both", "x"], cwd=CHECKOUT, capture_output=True, text=True)
    assert wrong.returncode == 2 and "single" in wrong.stderr


_PROGRAM = """
import os, signal, sys
def show(*_):
    size = os.get_terminal_size()
    print("size", size.lines, size.columns, flush=True)
signal.signal(signal.SIGWINCH, show)
while (typed := os.read(0, 1)) != b"q":
    print("typed", typed.hex())
    show()
"""


def test_in_a_terminal_it_is_raw_follows_resizes_and_puts_the_modes_back(
    terminal: Callable[..., PtyProcess], tmp_path: Path
) -> None:
    path = tmp_path / "tty.sock"
    child = terminal([*COMMAND, "--pid-file", str(tmp_path / "pid"), str(path)], size=(33, 99), cwd=str(CHECKOUT))
    before = termios.tcgetattr(child.fd)
    wait_for_pid_file(tmp_path / "pid")
    master, peer = os.openpty()
    pty.make_raw(peer)

    def lead_a_session() -> None:
        os.setsid()
        pty.make_controlling(0)

    program = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdin=peer, stdout=peer, preexec_fn=lead_a_session)
    os.close(peer)
    with closing(socket.connect(str(path))) as client:
        socket.send(client, b"x", [master])
    os.close(master)

    def shown(text: bytes) -> None:
        read = b""
        while text not in read:
            read += child.read()

    # The program is there once it answers; until recvtty has the terminal raw, ours would keep the letter for a line.
    child.write(b"a\n")
    shown(b"typed 61\r\nsize 33 99\r\n")
    assert not termios.tcgetattr(child.fd)[3] & termios.ISIG
    child.write(b"\x03")
    shown(b"typed 03")
    child.setwinsize(50, 132)
    shown(b"size 50 132\r\n")
    tty = os.open(f"/dev/pts/{pty.number(child.fd)}", os.O_RDWR | os.O_NOCTTY)  # keeps the modes until we have seen them
    child.write(b"q")
    assert program.wait() == 0
    assert child.wait() == 0
    assert termios.tcgetattr(tty) == before
    assert not fcntl.fcntl(tty, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(tty)
