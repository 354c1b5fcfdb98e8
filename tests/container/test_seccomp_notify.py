"""SCMP_ACT_NOTIFY: a supervisor that answers for a container's calls, with aiorun and with runc."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bundles, CommandLine, Config
from tests.container.conftest import Sandbox
from tests.container.test_seccomp import MKDIR, NNP, rule, seccomp

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND
_CONTINUE = 1


class Agent:
    """Listens at a path, takes what is sent there, and answers for each call with an errno; 0 lets it through."""

    def __init__(self, path: Path, answer: Callable[[int], int]) -> None:
        self.states: list[Config] = []
        self.calls = 0
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._stop, self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        os.close(self._stopping)
        self._thread.join()
        self._socket.close()
        os.close(self._stop)

    def _serve(self) -> None:
        listeners: list[int] = []
        poll = select.poll()
        for fd in (self._socket.fileno(), self._stop):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, event in poll.poll():
                if fd == self._stop:
                    for listener in listeners:
                        os.close(listener)
                    return
                if fd == self._socket.fileno():
                    listeners.append(self._take())
                    poll.register(listeners[-1], select.POLLIN)
                elif event & select.POLLIN:
                    self._handle(fd)
                else:
                    poll.unregister(fd)  # nobody has the filter any more

    def _take(self) -> int:
        connection, _ = self._socket.accept()
        with connection:
            content, fds, _, _ = socket.recv_fds(connection, 65536, 8)
            self.states.append(json.loads(content))
            (listener,) = fds
        return listener

    def _handle(self, listener: int) -> None:
        notification = bytearray(80)
        fcntl.ioctl(listener, _RECEIVE, notification)
        self.calls += 1
        number = int.from_bytes(notification[16:20], "little")
        code = self._answer(number)
        answer = notification[:8] + bytes(8) + (-code).to_bytes(4, "little", signed=True)
        fcntl.ioctl(listener, _SEND, bytearray(answer + (0 if code else _CONTINUE).to_bytes(4, "little")))


@pytest.fixture
def agent(tmp_path: Path, leaves_nothing: None) -> Iterator[Callable[[Callable[[int], int]], Agent]]:
    made: list[Agent] = []

    def make(answer: Callable[[int], int]) -> Agent:
        made.append(Agent(tmp_path / "agent", answer))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


def notifying(tmp_path: Path, *names: str, nnp: bool, **members: Any) -> Config:
    change = seccomp(rule([*(names or MKDIR)], "NOTIFY"), nnp=nnp, listenerPath=str(tmp_path / "agent"), **members)
    return {**change, "annotations": {"org.example": "x"}}


@pytest.mark.parametrize("nnp", NNP)
def test_a_supervisor_answers_for_the_calls(sandbox: Sandbox, tmp_path: Path, agent: Callable[..., Agent], nnp: bool) -> None:
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
def test_the_inits_own_calls_are_answered_for_too(ours: Sandbox, tmp_path: Path, agent: Callable[..., Agent], nnp: bool) -> None:
    """All that it may do after the filter, but for the one with which it tells of the listener."""
    supervisor = agent(lambda _number: 0)
    names = "sendmsg recvmsg read close openat prctl capget capset newfstatat access prlimit64 execve".split()
    change = notifying(tmp_path, *names, nnp=nnp)
    assert ours(change, "echo hello") == "hello"
    assert supervisor.calls > 5


def test_wait_killable_goes_with_a_listener(ours: Sandbox, tmp_path: Path, agent: Callable[..., Agent]) -> None:
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
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], tmp_path: Path, agent: Callable[..., Agent]
) -> None:
    supervisor = agent(lambda _number: errno.ENOTTY)
    id = container(bundle(notifying(tmp_path, nnp=True)))
    assert [state["state"]["id"] for state in supervisor.states] == [id]
    assert supervisor.states[0]["pid"] == aiorun.state(id)["pid"]
