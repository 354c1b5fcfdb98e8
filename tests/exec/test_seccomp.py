"""exec: the container's seccomp profile holds for whatever is executed in it."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.container.filters import filters_of
from tests.container.test_seccomp import MKDIR, NNP, after_the_filter, documented, rule, seccomp
from tests.exec.conftest import Boxes
from tests.seccomp_agent import Agents
from tests.seccomp_agent import agent as agent
from tests.security.attacks import Trace


@pytest.mark.parametrize("nnp", NNP)
def test_the_containers_profile_holds(runtime: CommandLine, boxes: Boxes, nnp: bool) -> None:
    made = boxes(runtime, seccomp(rule(MKDIR, "ERRNO", errnoRet=errno.ENOTTY), nnp=nnp))
    assert os.strerror(errno.ENOTTY) in made("sh", "-c", "mkdir /tmp/made 2>&1; true")
    assert made("grep", "Seccomp", "/proc/self/status").split() == ["Seccomp:", "2", "Seccomp_filters:", "1"]


def test_it_is_the_very_same_filter(aiorun: CommandLine, boxes: Boxes) -> None:
    made = boxes(aiorun, seccomp(rule(MKDIR, "ERRNO")))
    aiorun("exec", "--detach", "--pid-file", made.bundle / "pid", made.id, "sleep", "1000", check=True)
    pid = int((made.bundle / "pid").read_text())
    try:
        assert filters_of(pid) == filters_of(made.pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # its orphan, and ours: the container's init can't die before it


def test_no_new_privs_of_the_command_line_decides_on_the_place(aiorun: CommandLine, boxes: Boxes, tmp_path: Path) -> None:
    made = boxes(aiorun, seccomp(rule(MKDIR, "ERRNO"), nnp=False))
    trace = Trace(aiorun, tmp_path / "with", "exec", "--no-new-privs", made.id, "true")
    assert after_the_filter(trace) == ["execve"]
    trace = Trace(aiorun, tmp_path / "without", "exec", made.id, "true")
    assert len(after_the_filter(trace)) > 5
    assert set(after_the_filter(trace)) <= documented("Without no_new_privs")


@pytest.mark.parametrize("nnp", NNP)
def test_a_listener_is_handed_on_with_the_pids_of_both(
    runtime: CommandLine, boxes: Boxes, tmp_path: Path, agent: Agents, nnp: bool
) -> None:
    supervisor = agent(lambda _number: errno.ENOTTY)
    made = boxes(runtime, seccomp(rule(MKDIR, "NOTIFY"), nnp=nnp, listenerPath=str(tmp_path / "agent")))
    assert os.strerror(errno.ENOTTY) in made("sh", "-c", "mkdir /tmp/made 2>&1; true")
    of_init, of_exec = supervisor.states
    assert of_exec["state"]["status"] == "running"
    assert of_exec["state"]["pid"] == of_init["pid"] == made.pid
    assert of_exec["pid"] != made.pid
