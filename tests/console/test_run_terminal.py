"""`aiorun run` with a terminal, as a person at one expects it: real containers on real terminals."""

from __future__ import annotations

import hashlib
import os
import random
import re
import select
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ptyprocess import PtyProcess

from tests.conftest import Bundles, CommandLine
from tests.waiting import until

SIZE = 10 << 20
RAW = termios.ICANON | termios.ECHO | termios.ISIG

Terminals = Callable[..., PtyProcess]


@pytest.fixture(params=["runc", "aiorun"])
def runtime(request: pytest.FixtureRequest) -> CommandLine:
    """One runtime after the other."""
    chosen: CommandLine = request.getfixturevalue(request.param)
    return chosen


class Outer:
    """The terminal that a person sits at, without the person: `master` is the screen and the keyboard."""

    def __init__(self) -> None:
        self.master, self.tty = os.openpty()

    @property
    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.tty)

    @property
    def is_raw(self) -> bool:
        return not self.modes[3] & RAW

    def start(self, runtime: CommandLine, made: Path, *flags: str, **popen: Any) -> subprocess.Popen[bytes]:
        options = {"stdin": self.tty, "stdout": self.tty, "stderr": self.tty, "start_new_session": True, **popen}
        return runtime.popen("run", "--bundle", made, *flags, "box", **options)

    def read_until(self, text: bytes) -> bytes:
        read = b""
        while text not in read:
            read += os.read(self.master, 65536)
        return read

    def read_until_exit(self, process: subprocess.Popen[bytes]) -> bytes:
        """All that is on the screen when the command has ended."""
        pidfd = os.pidfd_open(process.pid)
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        read = b""
        while self.master in (ready := dict(poll.poll())):
            read += os.read(self.master, 65536)
        assert pidfd in ready
        os.close(pidfd)
        return read

    def close(self) -> None:
        os.close(self.master)
        os.close(self.tty)


@pytest.fixture
def outer(leaves_nothing: None) -> Iterator[Outer]:
    outer = Outer()
    yield outer
    outer.close()


def is_gone(runtime: CommandLine) -> bool:
    return runtime("list", "-q", check=True).stdout == ""


def on(terminal: Terminals, runtime: CommandLine, made: Path, **options: Any) -> PtyProcess:
    return terminal(runtime.argv("run", "--bundle", made, "box"), **options)


def read_until(child: PtyProcess, pattern: bytes) -> bytes:
    read = b""
    while not re.search(pattern, read):
        read += child.read()
    return read


# --- the size, the keys, the exit code -------------------------------------------------------------------------

SIZES = """
show() { stty -a | head -n 1; }
trap show WINCH
show
while :; do read line; [ "$line" = quit ] && exit 5; done
"""


def test_the_program_sees_the_first_size_and_every_resize_and_its_exit_code_is_ours(
    terminal: Terminals, runtime: CommandLine, bundle: Bundles
) -> None:
    child = on(terminal, runtime, bundle(args=["sh", "-c", SIZES], terminal=True), size=(33, 99))
    read_until(child, b"rows 33; columns 99;.*\r\n")
    for rows, columns in ((50, 132), (24, 80), (2, 500)):
        child.setwinsize(rows, columns)
        read_until(child, b"rows %d; columns %d;.*\r\n" % (rows, columns))
    child.write(b"quit\r")
    assert child.wait() == 5
    assert is_gone(runtime)


def test_the_size_that_config_json_asks_for_does_not_keep_us_from_the_callers(
    terminal: Terminals, runtime: CommandLine, bundle: Bundles
) -> None:
    made = bundle({"process": {"consoleSize": {"height": 7, "width": 8}}}, args=["sh", "-c", SIZES], terminal=True)
    child = on(terminal, runtime, made, size=(33, 99))
    read_until(child, b"rows 33; columns 99;.*\r\n")
    child.write(b"quit\r")
    assert child.wait() == 5


def test_control_c_reaches_the_program_and_not_us(terminal: Terminals, runtime: CommandLine, bundle: Bundles) -> None:
    script = "trap 'echo caught' INT; echo ready; read x; read x; exit 6"
    child = on(terminal, runtime, bundle(args=["sh", "-c", script], terminal=True))
    read_until(child, b"ready\r\n")
    child.write(b"\x03")
    read_until(child, b"caught\r\n")
    child.write(b"\r\r\r")
    assert child.wait() == 6


def test_a_shell_has_job_control(terminal: Terminals, runtime: CommandLine, bundle: Bundles) -> None:
    child = on(terminal, runtime, bundle(args=["sh", "-i"], terminal=True))
    child.write(b"sh -c 'echo u''p; exec sleep 1000'\r")
    read_until(child, b"\nup\r\n")
    child.write(b"\x1a")
    read_until(child, rb"Stopped.*\r\n")
    child.write(b"exit 4\rexit 4\r")  # the first one makes it say that a job is stopped
    assert child.wait() == 4


def test_a_line_is_not_longer_by_a_carriage_return(terminal: Terminals, runtime: CommandLine, bundle: Bundles) -> None:
    child = on(terminal, runtime, bundle(args=["echo", "a line"], terminal=True))
    assert read_until(child, b"\n") == b"a line\r\n"
    assert child.wait() == 0


# --- nothing is lost -------------------------------------------------------------------------------------------


def test_ten_mebibytes_arrive_whole(runtime: CommandLine, bundle: Bundles, outer: Outer) -> None:
    made = bundle(args=["sh", "-c", "stty raw; cat /large"], terminal=True)
    large = random.Random(1).randbytes(SIZE)
    (made / "rootfs" / "large").write_bytes(large)
    process = outer.start(runtime, made, stdout=subprocess.PIPE)
    received, _ = process.communicate(timeout=60)
    assert (process.returncode, len(received)) == (0, SIZE)
    assert hashlib.sha256(received).digest() == hashlib.sha256(large).digest()


def test_the_last_byte_of_a_program_that_exits_at_once_is_never_lost(aiorun: CommandLine, bundle: Bundles, outer: Outer) -> None:
    made = bundle(args=["printf", "the first the last"], terminal=True)
    for _ in range(100):
        with outer.start(aiorun, made) as process:
            assert outer.read_until_exit(process) == b"the first the last"


def test_a_piped_stdin_feeds_the_program(runtime: CommandLine, bundle: Bundles, outer: Outer) -> None:
    made = bundle(args=["sh", "-c", "stty -echo; echo ready; read x; echo got $x"], terminal=True)
    with outer.start(runtime, made, stdin=subprocess.PIPE) as process:
        outer.read_until(b"ready")
        assert process.stdin is not None
        process.stdin.write(b"a line\n")
        process.stdin.close()
        outer.read_until(b"got a line")
    assert process.returncode == 0


# --- every end -------------------------------------------------------------------------------------------------


def hook(*command: str) -> list[dict[str, Any]]:
    return [{"path": command[0], "args": list(command)}]


@pytest.mark.parametrize(
    ("args", "change", "status", "said"),
    [
        (["sh", "-c", "exit 3"], None, 3, b""),
        (["nosuch"], None, 1, b'exec: \\"nosuch\\": executable file not found in $PATH'),
        (["true"], {"hooks": {"createRuntime": hook("/bin/false")}}, 1, b"error running"),
        (["true"], {"hooks": {"startContainer": hook("/bin/false")}}, 1, b"error running"),
        (["true"], {"hooks": {"poststart": hook("/bin/false")}}, 1, b"error running"),
        (["true"], {"mounts": None, "root": {"path": "nosuch"}}, 1, b"no such file or directory"),
    ],
    ids=["exit", "no program", "createRuntime", "startContainer", "poststart", "no root"],
)
def test_the_terminal_is_as_before_after_an_end_that_aiorun_sees_coming(
    aiorun: CommandLine, bundle: Bundles, outer: Outer, args: list[str], change: dict[str, Any], status: int, said: bytes
) -> None:
    before = outer.modes
    with outer.start(aiorun, bundle(change, args=args, terminal=True)) as process:
        screen = outer.read_until_exit(process)
    assert process.returncode == status
    assert said in screen
    assert outer.modes == before
    assert is_gone(aiorun)


@pytest.mark.parametrize("ending", ["kill", "delete", "TERM", "HUP"])
def test_the_terminal_is_raw_meanwhile_and_as_before_after_an_end_from_outside(
    aiorun: CommandLine, bundle: Bundles, outer: Outer, ending: str
) -> None:
    before = outer.modes
    script = "trap 'exit 8' TERM HUP; echo ready; read x"
    with outer.start(aiorun, bundle(args=["sh", "-c", script], terminal=True)) as process:
        outer.read_until(b"ready")
        assert outer.is_raw
        if ending == "kill":
            aiorun("kill", "box", "KILL", check=True)
        elif ending == "delete":
            aiorun("delete", "--force", "box", check=True)
        else:
            process.send_signal(signal.Signals[f"SIG{ending}"])
        outer.read_until_exit(process)
    assert process.returncode == (8 if ending.isupper() else 128 + signal.SIGKILL)
    assert outer.modes == before
    assert is_gone(aiorun)


def test_a_window_that_is_closed_ends_what_reads_from_it(terminal: Terminals, aiorun: CommandLine, bundle: Bundles) -> None:
    child = on(terminal, aiorun, bundle(args=["sh", "-c", "echo ready; read x"], terminal=True))
    read_until(child, b"ready\r\n")
    pidfd = os.pidfd_open(child.pid)
    child.fileobj.close()  # the terminal emulator is gone, and the master with it
    select.select([pidfd], [], [])
    os.close(pidfd)
    until(lambda: is_gone(aiorun), "the container's end")


def test_children_in_the_background_end_with_the_program(aiorun: CommandLine, bundle: Bundles, outer: Outer) -> None:
    script = "trap '' HUP; sleep 1000 & echo last"
    with outer.start(aiorun, bundle(args=["sh", "-c", script], terminal=True)) as process:
        assert outer.read_until_exit(process) == b"last\r\n"
    assert process.returncode == 0
    assert is_gone(aiorun)


# --- no terminal -----------------------------------------------------------------------------------------------


def test_without_any_terminal_the_caller_is_told_and_nothing_is_left(runtime: CommandLine, bundle: Bundles) -> None:
    made = bundle(args=["true"], terminal=True)
    ended = runtime("run", "--bundle", made, "box", start_new_session=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith('run failed: open /dev/tty: no such device or address"\n')
    assert is_gone(runtime)
