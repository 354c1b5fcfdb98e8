"""containerd with aiorun in place of runc, through its shim: docs/engines.md."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from ptyprocess import PtyProcess

from tests.engines.daemons import Containerd
from tests.waiting import until

LOOP = "trap 'exit 5' TERM; echo up; while :; do sleep 1000 & wait; done"


def status(containerd: Containerd, id: str) -> str:
    """That of `ctr tasks ls`, "" without a task."""
    lines = [line.split() for line in containerd("tasks", "ls").stdout.splitlines()[1:]]
    return next((words[-1] for words in lines if words[0] == id), "")


def test_a_container_runs_with_its_output_and_its_exit_code(containerd: Containerd) -> None:
    ended = containerd("run", "--rm", "--env", "WORD=ä", "--", "box", "sh", "-c", "echo $WORD; id -u >&2; exit 7")
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "ä\n", "0\n")
    assert os.listdir(containerd.runtime_root) == []


def test_what_cannot_be_run_is_told_in_aioruns_words(containerd: Containerd) -> None:
    """The shim has them from the last line of the log."""
    ended = containerd("run", "--rm", "--", "box", "nosuch")
    assert ended.returncode == 1
    assert "OCI runtime create failed: aiorun create failed: unable to start container process: " in ended.stderr
    assert 'exec: "nosuch": executable file not found in $PATH' in ended.stderr.replace("\\", "")
    assert os.listdir(containerd.runtime_root) == []


def test_a_life_with_exec_pause_resume_and_kill(containerd: Containerd) -> None:
    assert containerd("run", "--detach", "--", "box", "sh", "-c", LOOP).returncode == 0
    assert status(containerd, "box") == "RUNNING"
    executed = containerd("tasks", "exec", "--exec-id", "more", "box", "sh", "-c", "echo inside; exit 3")
    assert (executed.returncode, executed.stdout) == (3, "inside\n")
    pids = [line.split()[0] for line in containerd("tasks", "ps", "box").stdout.splitlines()[1:]]
    assert len(pids) >= 2
    assert containerd("tasks", "pause", "box").returncode == 0
    assert status(containerd, "box") == "PAUSED"
    assert containerd("tasks", "resume", "box").returncode == 0
    assert status(containerd, "box") == "RUNNING"
    assert containerd("tasks", "kill", "--signal", "SIGTERM", "box").returncode == 0
    until(lambda: status(containerd, "box") == "STOPPED", "the container's end")
    removed = containerd("tasks", "rm", "box")
    assert "exit with non-zero exit code 5" in removed.stdout + removed.stderr
    assert containerd("containers", "rm", "box").returncode == 0
    assert os.listdir(containerd.runtime_root) == []


def test_a_running_one_is_removed_with_force(containerd: Containerd) -> None:
    """`kill --all ID 9` comes when the first process is dead already."""
    containerd("run", "--detach", "--", "box", "sh", "-c", LOOP)
    removed = containerd("tasks", "rm", "--force", "box")
    assert removed.returncode in (0, 1) and "unknown error" not in removed.stderr, removed.stderr
    assert status(containerd, "box") == ""
    assert os.listdir(containerd.runtime_root) == []


def test_a_terminal_has_its_keys_and_its_exit_code(containerd: Containerd, terminal: Callable[..., PtyProcess]) -> None:
    # The client sets the size once the program runs.
    script = "tty; read line; until stty size | grep '33 99'; do usleep 10000; done 2>/dev/null; echo got $line; exit 9"
    child = terminal(containerd.run_argv("--rm", "--tty", "--", "box", "sh", "-c", script), size=(33, 99))
    screen = b""
    while b"/dev/pts/0" not in screen:
        screen += child.read()
    child.write(b"a word\r")
    while b"got a word" not in screen:
        screen += child.read()
    assert b"33 99" in screen
    assert child.wait() == 9


def test_ten_at_once(containerd: Containerd) -> None:
    argvs = [containerd.run_argv("--rm", "--", f"box{n}", "sh", "-c", f"echo {n}; exit {n}") for n in range(10)]
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for argv in argvs]
    said = [(child.communicate(timeout=120)[0], child.returncode) for child in children]
    assert said == [(f"{n}\n", n) for n in range(10)]
    assert os.listdir(containerd.runtime_root) == []


def test_the_default_profile_holds(containerd: Containerd) -> None:
    ended = containerd(
        "run", "--rm", "--seccomp", "--", "box", "sh", "-c", "grep Seccomp: /proc/self/status; mkdir /tmp/made && echo made"
    )
    assert ended.stdout == "Seccomp:\t2\nmade\n"
