"""run with --keep, with --pid-file, and with closed streams: as runc does."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.runtime.life import Ended, refused

RUNTIMES = ["aiorun", "runc"]


@pytest.fixture(params=RUNTIMES)
def program(request: pytest.FixtureRequest) -> CommandLine:
    """aiorun's command line, and runc's beside it."""
    found: CommandLine = request.getfixturevalue(request.param)
    return found


def test_keep_leaves_a_stopped_container(program: CommandLine, bundle: Bundles) -> None:
    made = bundle(args=["sh", "-c", "exit 7"])
    assert program("run", "--keep", "--bundle", made, "x").returncode == 7
    state = program.state("x")
    assert (state["status"], state["pid"]) == ("stopped", 0)
    assert program("run", "--bundle", made, "x").returncode == 1  # the id is taken
    program("delete", "x", check=True)
    assert program("state", "x").returncode == 1


def test_without_keep_nothing_is_left(program: CommandLine, bundle: Bundles) -> None:
    assert program("run", "--bundle", bundle(args=["sh", "-c", "exit 7"]), "x").returncode == 7
    assert program("state", "x").returncode == 1


def test_keep_after_a_signal_keeps_it_too(program: CommandLine, bundle: Bundles) -> None:
    made = bundle(args=["sh", "-c", "echo ready; read x"])
    child = program.popen("run", "--keep", "--bundle", made, "x", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    program("kill", "x", "KILL", check=True)
    child.communicate(timeout=60)
    assert child.returncode == 128 + 9
    assert program.state("x")["status"] == "stopped"
    program("delete", "x", check=True)


@pytest.mark.parametrize("flag", ["--detach", "-d"])
def test_a_pid_file_is_whole_when_run_returns(program: CommandLine, bundle: Bundles, tmp_path: Path, flag: str) -> None:
    pid_file = tmp_path / "pid"
    program("run", flag, "--pid-file", pid_file, "--bundle", bundle(args=["sleep", "100"]), "x", check=True)
    assert pid_file.read_text() == str(program.state("x")["pid"])  # no newline: go-runc parses the whole of it
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    program("delete", "--force", "x", check=True)


def test_a_pid_file_of_a_foreground_run_is_there_before_the_program(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    """runc writes it once the program runs, which is too late for a short one."""
    pid_file = tmp_path / "pid"
    child = aiorun.popen(
        "run", "--pid-file", pid_file, "--bundle", bundle(args=["sh", "-c", "echo ready; read x"]), "x",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    assert pid_file.read_text() == str(aiorun.state("x")["pid"])
    child.communicate(b"\n", timeout=60)


def test_a_pid_file_that_cannot_be_written_leaves_nothing(aiorun: CommandLine, bundle: Bundles) -> None:
    ended = aiorun("run", "-d", "--pid-file", "/proc/nowhere/pid", "--bundle", bundle(args=["sleep", "100"]), "x")
    assert refused(ended) == 'aiorun run failed: write the pid file "/proc/nowhere/pid": no such file or directory'
    assert aiorun("state", "x").returncode == 1


# --- closed streams


def with_closed(program: CommandLine, streams: str, *arguments: str | Path) -> Ended:
    """Run it from a shell that closes streams: "2>&-"."""
    argv = " ".join(shlex.quote(word) for word in program.argv(*arguments))
    return subprocess.run(["sh", "-c", f"exec {argv} {streams}"], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("streams", ["2>&-", "<&-", "<&- 2>&-"])
def test_closed_streams_are_dev_null_to_the_program(aiorun: CommandLine, bundle: Bundles, streams: str) -> None:
    """And never a file of the runtime's own, which would otherwise get the free number. runc has pipes there."""
    made = bundle(args=["sh", "-c", "readlink /proc/self/fd/0; readlink /proc/self/fd/2; ls /proc/self/fd; exit 7"])
    ended = with_closed(aiorun, streams, "run", "--bundle", made, "x")
    stdin, stderr, *fds = ended.stdout.split()
    assert ended.returncode == 7
    assert fds == ["0", "1", "2", "3"]  # the last is that of ls
    assert stdin == "/dev/null" or "<&-" not in streams
    assert stderr == "/dev/null" or "2>&-" not in streams


def test_closed_output_is_no_file_of_ours(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    volume = {"destination": "/said", "source": str(tmp_path), "type": "bind", "options": ["bind", "rw"]}
    made = bundle(
        lambda config: config["mounts"].append(volume), args=["sh", "-c", "exec 5>&1; readlink /proc/self/fd/5 >/said/it; exit 7"]
    )
    ended = with_closed(aiorun, ">&- 2>&-", "run", "--bundle", made, "x")
    assert (ended.returncode, ended.stdout) == (7, "")
    assert (tmp_path / "it").read_text() == "/dev/null\n"


def test_an_error_with_stderr_closed_is_an_exit_status(program: CommandLine, bundle: Bundles) -> None:
    made = bundle(args=["nosuch"])
    ended = with_closed(program, "2>&-", "run", "--bundle", made, "x")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert program("state", "x").returncode == 1


def test_an_error_that_nobody_reads_is_an_exit_status(aiorun: CommandLine, bundle: Bundles) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    child = aiorun.popen("run", "--bundle", bundle(args=["nosuch"]), "x", stderr=writing)
    os.close(writing)
    assert child.wait(60) == 1
    assert aiorun("state", "x").returncode == 1


def test_detached_with_all_streams_closed_has_no_file_of_ours(aiorun: CommandLine, bundle: Bundles) -> None:
    """runc 1.1.5 hands its own on: a pipe, its epoll, the host's /sys/fs/cgroup."""
    made = bundle(args=["sleep", "100"])
    assert with_closed(aiorun, "<&- >&- 2>&-", "run", "-d", "--bundle", made, "x").returncode == 0
    pid = aiorun.state("x")["pid"]
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    aiorun("delete", "--force", "x", check=True)
