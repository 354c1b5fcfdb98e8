"""`create --console-socket`: the terminal's master goes to whoever listens there, as conmon, go-runc and recvtty want it."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.waiting import until

NO_SOCKET = "cannot allocate tty if runc will detach without setting console socket"
NO_TERMINAL = "cannot use console socket if runc will not detach or allocate tty"


class Engine:
    """Listens at a console socket as the shim and buildah do: it accepts only when it's asked to."""

    def __init__(self, address: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(address)
        self._listening.listen()
        self._fds: list[int] = []

    def take(self) -> tuple[bytes, list[tuple[int, int, bytes]], bytes]:
        """The first message's payload and ancillary data, and what comes after it until the end."""
        self._listening.settimeout(30)
        connection, _ = self._listening.accept()
        with connection:
            payload, control, flags, _ = connection.recvmsg(65536, 65536)
            assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
            for _, _, content in control:
                self._fds += socket_fds(content)
            return payload, control, connection.recv(1)

    def master(self) -> int:
        self.take()
        return self._fds[-1]

    def asked_again(self) -> bool:
        """Whether anybody else has connected."""
        self._listening.settimeout(0)
        try:
            self._listening.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._listening.close()
        for fd in self._fds:
            os.close(fd)


def socket_fds(content: bytes) -> list[int]:
    return [int.from_bytes(content[at : at + 4], "little") for at in range(0, len(content) - len(content) % 4, 4)]


@contextmanager
def listening(address: str | Path) -> Iterator[Engine]:
    engine = Engine(str(address))
    try:
        yield engine
    finally:
        engine.close()


def read_to_the_end(master: int) -> bytes:
    """All that comes from a terminal, until its hang-up, which is EIO on the master's side."""
    text = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError as error:
            assert error.errno == errno.EIO
            return text
        assert chunk
        text += chunk


@pytest.fixture(params=["runc", "aiorun"])
def runtime(request: pytest.FixtureRequest) -> CommandLine:
    """One runtime after the other: what runc promises an engine, aiorun does."""
    chosen: CommandLine = request.getfixturevalue(request.param)
    return chosen


def nothing_is_left(runtime: CommandLine) -> bool:
    return runtime("list", "-q", check=True).stdout == "" and not list(runtime.root.iterdir() if runtime.root.exists() else [])


# --- who must give a socket, and who mustn't -------------------------------------------------------------------


@pytest.mark.parametrize("command", [["create"], ["run", "--detach"]])
def test_a_detached_terminal_without_a_socket_is_refused_in_runcs_words(
    runtime: CommandLine, bundle: Bundles, command: list[str]
) -> None:
    ended = runtime(*command, "--bundle", bundle(terminal=True), "box")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f'{command[0]} failed: {NO_SOCKET}"\n' in ended.stderr
    assert nothing_is_left(runtime)


@pytest.mark.parametrize("command", [["create"], ["run", "--detach"], ["run"]])
def test_a_socket_that_no_terminal_comes_from_is_refused_in_runcs_words(
    runtime: CommandLine, bundle: Bundles, tmp_path: Path, command: list[str]
) -> None:
    with listening(tmp_path / "s") as engine:
        with_terminal = command == ["run"]  # in the foreground the terminal is the caller's
        ended = runtime(*command, "--bundle", bundle(terminal=with_terminal), "--console-socket", tmp_path / "s", "box")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert f'{command[0]} failed: {NO_TERMINAL}"\n' in ended.stderr
        assert not engine.asked_again()
    assert nothing_is_left(runtime)


def make_nothing(path: Path) -> None:
    pass


def make_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [(make_nothing, "no such file or directory"), (make_stale, "connection refused"), (Path.touch, "connection refused")],
    ids=["missing", "stale", "a file"],
)
def test_a_socket_where_nobody_listens_fails_create_and_leaves_nothing(
    runtime: CommandLine, bundle: Bundles, tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(tmp_path / "s")
    ended = runtime("create", "--bundle", bundle(terminal=True), "--console-socket", tmp_path / "s", "box")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert f"{tmp_path}/s" in ended.stderr
    assert reason in ended.stderr
    assert nothing_is_left(runtime)


# --- what comes over the socket --------------------------------------------------------------------------------


def test_one_message_with_one_master_comes_to_whoever_accepts_after_create_has_returned(
    runtime: CommandLine, bundle: Bundles, tmp_path: Path
) -> None:
    with listening(tmp_path / "s") as engine:
        runtime(
            "create", "--bundle", bundle(args=["echo", "hello"], terminal=True), "--console-socket", tmp_path / "s", "box",
            check=True,
        )  # fmt: skip
        payload, control, rest = engine.take()
        assert 1 <= len(payload) < 4096
        assert [(level, kind, len(content)) for level, kind, content in control] == [(socket.SOL_SOCKET, socket.SCM_RIGHTS, 4)]
        assert rest == b""  # then it's closed
        assert not engine.asked_again()
        master = engine._fds[0]
        runtime("start", "box", check=True)
        assert read_to_the_end(master) == b"hello\r\n"
    until(lambda: runtime.state("box")["status"] == "stopped", "the program's end")
    runtime("delete", "box", check=True)


def test_run_detached_sends_its_terminal_too(runtime: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    with listening(tmp_path / "s") as engine:
        runtime(
            "run", "--detach", "--bundle", bundle(args=["tty"], terminal=True), "--console-socket", tmp_path / "s", "box",
            check=True,
        )  # fmt: skip
        assert read_to_the_end(engine.master()) == b"/dev/pts/0\r\n"
    until(lambda: runtime.state("box")["status"] == "stopped", "the program's end")
    runtime("delete", "box", check=True)


def test_a_create_that_fails_after_all_hangs_the_terminal_up(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    with listening(tmp_path / "s") as engine:
        ended = aiorun(
            "create", "--bundle", bundle(args=["nosuch"], terminal=True), "--console-socket", tmp_path / "s", "box"
        )  # fmt: skip
        assert ended.returncode == 1
        assert read_to_the_end(engine.master()) == b""
    assert nothing_is_left(aiorun)


# --- where the socket may be -----------------------------------------------------------------------------------


def hello_through(aiorun: CommandLine, engine: Engine, id: str) -> None:
    aiorun("start", id, check=True)
    assert read_to_the_end(engine.master()) == b"hello\r\n"


def test_a_relative_socket_is_the_bundles_as_runc_has_it(runtime: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    made = bundle(args=["echo", "hello"], terminal=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with listening(made / "s") as engine, listening(elsewhere / "s") as other:
        runtime("create", "--bundle", made, "--console-socket", "s", "box", check=True, cwd=elsewhere)
        hello_through(runtime, engine, "box")
        assert not other.asked_again()
    runtime("delete", "--force", "box", check=True)


def test_a_path_of_two_hundred_characters_works(
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], tmp_path: Path
) -> None:
    long = tmp_path / ("d" * 100) / ("s" * 100)
    long.parent.mkdir()
    here = os.open(long.parent, os.O_PATH)
    with listening(f"/proc/self/fd/{here}/s") as engine:
        (long.parent / "s").rename(long)
        assert len(str(long)) > 200
        id = container(bundle(args=["echo", "hello"], terminal=True), "--console-socket", long)
        hello_through(aiorun, engine, id)
    os.close(here)


def test_an_abstract_socket_works(aiorun: CommandLine, bundle: Bundles, container: Callable[..., str]) -> None:
    name = f"aiorun-test-{os.getpid()}"
    with listening(f"\0{name}") as engine:
        id = container(bundle(args=["echo", "hello"], terminal=True), "--console-socket", f"@{name}")
        hello_through(aiorun, engine, id)


# --- the terminal ----------------------------------------------------------------------------------------------

LOOK = """
stty -a | head -n 1
readlink /proc/self/fd/0; readlink /proc/self/fd/1; readlink /proc/self/fd/2 2>&1
tty
stat -c '%t,%T' /dev/console /dev/pts/0
stat -c '%u %g %a' /dev/console
echo through console >/dev/console
echo through tty >/dev/tty
read pid comm state ppid pgrp session tty_nr foreground rest </proc/1/stat
echo $pid $pgrp $session $tty_nr $foreground
ls -1 /proc/1/fd
true
"""


def test_the_program_sits_at_a_terminal_of_its_own_with_the_size_that_was_asked_for(
    runtime: CommandLine, bundle: Bundles, tmp_path: Path
) -> None:
    made = bundle(
        {"process": {"consoleSize": {"height": 41, "width": 117}, "user": {"uid": 1000, "gid": 1000}}},
        args=["sh", "-c", LOOK],
        terminal=True,
    )
    with listening(tmp_path / "s") as engine:
        runtime("create", "--bundle", made, "--console-socket", tmp_path / "s", "box", check=True)
        master = engine.master()
        if runtime.command.endswith("aiorun"):  # runc 1.1.5 sets it too, but only just before the program
            assert os.get_terminal_size(master) == (117, 41)
        runtime("start", "box", check=True)
        lines = read_to_the_end(master).decode().replace("\r\n", "\n").splitlines()
    runtime("delete", "--force", "box", check=True)
    assert "rows 41; columns 117;" in lines[0]
    assert lines[1:5] == ["/dev/pts/0"] * 4
    assert lines[5] == lines[6]  # /dev/console is that terminal
    assert lines[7] == "1000 5 620"
    assert lines[8:10] == ["through console", "through tty"]
    pid, group, session, device, foreground = lines[10].split()
    assert (pid, group, session) == ("1", "1", "1")
    assert device == str(os.makedev(136, 0))
    assert foreground == "1"
    assert lines[11:] == ["0", "1", "2"]  # whoever else is open would be open for ever


def test_stdout_and_stderr_of_create_end_with_it(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    # Go's CombinedOutput reads one pipe to its end: whoever of ours kept it open would hang the engine's create.
    with listening(tmp_path / "s") as engine:
        argv: list[str | Path] = ["create", "--bundle", bundle(terminal=True), "--console-socket", tmp_path / "s", "box"]
        process = aiorun.popen(*argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, b"")
        assert aiorun.state("box")["status"] == "created"
        engine.master()
    aiorun("delete", "--force", "box", check=True)
