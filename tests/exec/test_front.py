"""exec in the foreground: the caller's streams or terminal are the process's, and signals reach it. Beside runc."""

from __future__ import annotations

import hashlib
import os
import random
import re
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from ptyprocess import PtyProcess

from tests.conftest import CommandLine
from tests.exec.conftest import Box, Boxes
from tests.waiting import NEVER

SIZE = 10 << 20
Terminals = Callable[..., PtyProcess]


def stream(of: IO[bytes] | None) -> IO[bytes]:
    assert of is not None
    return of


def start(box: Box, *command: str, flags: tuple[str | Path, ...] = (), **popen: Any) -> subprocess.Popen[bytes]:
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0, **popen}
    return box.command_line.popen("exec", *flags, box.id, *command, **options)


def test_ten_mebibytes_go_in_and_out_whole(ours: Box) -> None:
    large = random.Random(1).randbytes(SIZE)
    with start(ours, "sh", "-c", "cat; echo -n end >&2; exit 7", stderr=subprocess.PIPE) as process:
        out, err = process.communicate(large, timeout=60)
    assert (process.returncode, err) == (7, b"end")
    assert hashlib.sha256(out).digest() == hashlib.sha256(large).digest()


TRAPS = """
for name in TERM INT USR1 HUP WINCH; do trap "echo $name" $name; done
trap 'echo USR2; exit 4' USR2
echo ready
while :; do read line; done
"""


def test_every_signal_but_a_new_size_is_passed_on(box: Box) -> None:
    with start(box, "sh", "-c", TRAPS) as process:
        assert stream(process.stdout).readline() == b"ready\n"
        process.send_signal(signal.SIGWINCH)
        for name in ("TERM", "INT", "USR1", "HUP", "USR2"):
            process.send_signal(signal.Signals[f"SIG{name}"])
            assert stream(process.stdout).readline() == f"{name}\n".encode()
        assert process.wait() == 4


def test_the_containers_end_is_the_process_s(runtime: CommandLine, boxes: Boxes) -> None:
    box = boxes(runtime)
    with start(box, "sh", "-c", "echo up; exec sleep 1000") as process:
        assert stream(process.stdout).readline() == b"up\n"
        runtime("kill", box.id, "KILL", check=True)
        assert process.wait() == 128 + signal.SIGKILL


# --- a terminal. Of aiorun alone: `runc exec -t` (1.1.5) loses a new size, the last output, or on a busy machine all of it


def read_until(child: PtyProcess, pattern: bytes) -> bytes:
    read = b""
    while not re.search(pattern, read):
        assert select.select([child.fd], [], [], NEVER)[0], read
        read += child.read()
    return read


def on(terminal: Terminals, box: Box, *command: str, flags: tuple[str, ...] = ("-t",), **options: Any) -> PtyProcess:
    return terminal(box.command_line.argv("exec", *flags, box.id, *command), **options)


SIZES = """
show() { stty -a | head -n 1; }
trap show WINCH
tty
show
while :; do read line; [ "$line" = quit ] && exit 5; done
"""


def test_the_terminal_is_the_containers_and_has_the_callers_size(terminal: Terminals, ours: Box) -> None:
    child = on(terminal, ours, "sh", "-c", SIZES, size=(33, 99))
    read_until(child, rb"/dev/pts/0\r\n[^\n]*rows 33; columns 99;.*\r\n")
    for rows, columns in ((50, 132), (24, 80)):
        child.setwinsize(rows, columns)
        read_until(child, b"rows %d; columns %d;.*\r\n" % (rows, columns))
    child.write(b"quit\r")
    assert child.wait() == 5


def test_two_terminals_of_one_container_are_two(terminal: Terminals, ours: Box) -> None:
    script = "tty; read line"
    first = on(terminal, ours, "sh", "-c", script)
    read_until(first, b"/dev/pts/0\r\n")
    second = on(terminal, ours, "sh", "-c", script)
    read_until(second, b"/dev/pts/1\r\n")
    for child in (first, second):
        child.write(b"\r")
        assert child.wait() == 0


def test_control_c_reaches_the_program_and_not_us(terminal: Terminals, ours: Box) -> None:
    child = on(terminal, ours, "sh", "-c", "trap 'echo caught' INT; echo ready; read x; read x; exit 6")
    read_until(child, b"ready\r\n")
    child.write(b"\x03")
    read_until(child, b"caught\r\n")
    child.write(b"\r\r\r")
    assert child.wait() == 6


def test_a_shell_has_job_control(terminal: Terminals, ours: Box) -> None:
    child = on(terminal, ours, "sh", "-i")
    child.write(b"sh -c 'echo u''p; exec sleep 1000'\r")
    read_until(child, b"\nup\r\n")
    child.write(b"\x1a")
    read_until(child, rb"Stopped.*\r\n")
    child.write(b"exit 4\rexit 4\r")  # the first one makes it say that a job is stopped
    assert child.wait() == 4


def test_the_terminal_belongs_to_the_user(terminal: Terminals, ours: Box) -> None:
    child = on(terminal, ours, "sh", "-c", "stat -c %u:%a $(tty); echo x > $(tty); read line", flags=("-t", "-u", "1000"))
    read_until(child, b"1000:620\r\nx\r\n")
    child.write(b"\r")
    assert child.wait() == 0


def test_the_containers_own_console_is_left_alone(terminal: Terminals, ours: Box) -> None:
    child = on(terminal, ours, "sh", "-c", "grep -c /dev/console /proc/self/mountinfo; read line")
    read_until(child, b"0\r\n")
    child.write(b"\r")
    child.wait()


def test_without_any_terminal_the_caller_is_told(box: Box) -> None:
    said = box.refuses("true", flags=["-t"], stdin=subprocess.DEVNULL, start_new_session=True)
    assert said == "open /dev/tty: no such device or address"


def test_the_modes_are_as_before_after_an_error(ours: Box) -> None:
    import termios

    master, tty = os.openpty()
    before = termios.tcgetattr(tty)
    with start(ours, "nosuch", flags=("-t",), stdin=tty, stdout=tty, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert b"executable file not found in $PATH" in stream(process.stderr).read()
        assert process.wait() == 255
    assert termios.tcgetattr(tty) == before
    os.close(master)
    os.close(tty)


@pytest.mark.parametrize("word", ["a piped word"])
def test_a_piped_stdin_feeds_the_program_on_a_terminal(ours: Box, word: str) -> None:
    master, tty = os.openpty()
    with start(ours, "sh", "-c", "read x; echo got $x", flags=("-t",), stdout=tty, stderr=tty, start_new_session=True) as process:
        stream(process.stdin).write(f"{word}\n".encode())
        read = b""
        while b"got a piped word" not in read:
            read += os.read(master, 65536)
        assert process.wait() == 0
    os.close(master)
    os.close(tty)
