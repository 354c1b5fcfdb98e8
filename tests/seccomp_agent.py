"""A supervisor that answers for a container's system calls, at the listenerPath of its profile."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.conftest import Config

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


Agents: TypeAlias = Callable[[Callable[[int], int]], Agent]


@pytest.fixture
def agent(tmp_path: Path, leaves_nothing: None) -> Iterator[Agents]:
    made: list[Agent] = []

    def make(answer: Callable[[int], int]) -> Agent:
        made.append(Agent(tmp_path / "agent", answer))
        return made[-1]

    yield make
    for agent in made:
        agent.close()
