"""SCMP_ACT_NOTIFY: a supervisor that answers for a container's calls, with aiorun and with runc."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bundles, CommandLine, Config
from tests.container.conftest import Sandbox
from tests.container.test_seccomp import MKDIR, NNP, rule, seccomp
from tests.seccomp_agent import Agents
from tests.seccomp_agent import agent as agent


def notifying(tmp_path: Path, *names: str, nnp: bool, **members: Any) -> Config:
    change = seccomp(rule([*(names or MKDIR)], "NOTIFY"), nnp=nnp, listenerPath=str(tmp_path / "agent"), **members)
    return {**change, "annotations": {"org.example": "x"}}


@pytest.mark.parametrize("nnp", NNP)
def test_a_supervisor_answers_for_the_calls(sandbox: Sandbox, tmp_path: Path, agent: Agents, nnp: bool) -> None:
    supervisor = agent(lambda _number: errno.ENOTTY)
    change = notifying(tmp_path, nnp=nnp, listenerMetadata="for you")
    said = sandbox(change, "mkdir /tmp/made 2>&1; ls -d /tmp/made 2>/dev/null; true")
    assert os.strerror(errno.ENOTTY) in said
    assert supervisor.calls == 1
    (state,) = supervisor.states
    assert state["fds"] == ["seccompFd"]
    assert state["metadata"] == "for you"
    assert state["pid"] == state["state"]["pid"] > 0
    assert state["state"]["status"] == "creating"
    assert state["state"]["annotations"]["org.example"] == "x"
    assert set(state) == {"ociVersion", "fds", "pid", "metadata", "state"}
    assert {"ociVersion", "id", "status", "pid", "bundle", "annotations"} == set(state["state"])


@pytest.mark.parametrize("nnp", NNP)
def test_the_inits_own_calls_are_answered_for_too(ours: Sandbox, tmp_path: Path, agent: Agents, nnp: bool) -> None:
    """All that it may do after the filter, but for the one with which it tells of the listener."""
    supervisor = agent(lambda _number: 0)
    names = "sendmsg recvmsg read close openat prctl capget capset newfstatat access prlimit64 execve".split()
    change = notifying(tmp_path, *names, nnp=nnp)
    assert ours(change, "echo hello") == "hello"
    assert supervisor.calls > 5


def test_wait_killable_goes_with_a_listener(ours: Sandbox, tmp_path: Path, agent: Agents) -> None:
    supervisor = agent(lambda _number: 0)
    change = notifying(tmp_path, nnp=True, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    assert ours(change, "mkdir /tmp/made; ls -d /tmp/made") == "/tmp/made"
    assert supervisor.calls == 1


def test_nobody_at_the_path_is_an_error(sandbox: Sandbox, tmp_path: Path) -> None:
    said = sandbox.refuses(notifying(tmp_path, nnp=True))
    assert "no such file or directory" in said


def test_the_error_names_the_path(ours: Sandbox, tmp_path: Path) -> None:
    said = ours.refuses(notifying(tmp_path, nnp=True))
    path = tmp_path / "agent"
    assert f'send the seccomp listener to "{path}" (linux.seccomp.listenerPath): no such file or directory' in said


def test_a_created_container_has_its_listener_handed_on(
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], tmp_path: Path, agent: Agents
) -> None:
    supervisor = agent(lambda _number: errno.ENOTTY)
    id = container(bundle(notifying(tmp_path, nnp=True)))
    assert [state["state"]["id"] for state in supervisor.states] == [id]
    assert supervisor.states[0]["pid"] == aiorun.state(id)["pid"]
