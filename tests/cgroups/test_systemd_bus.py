"""The conversation with systemd, where the other side isn't as it should be: with a socket that says what the test wants."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiorun.cgroups import systemd
from aiorun.cgroups.systemd import bus as buses
from aiorun.cgroups.systemd import message as messages
from aiorun.cgroups.systemd.message import Message
from aiorun.errors import CgroupError
from aiorun.waiter import PollWaiter, drive
from tests.conftest import CHECKOUT

UNIT = systemd.Unit("x.scope", "user.slice", user=True)
JOB = "/org/freedesktop/systemd1/job/7"
Answer = list[Message] | bytes | None


def returns(*body: Any, signature: str = "") -> Message:
    return Message(kind=messages.METHOD_RETURN, signature=signature, body=body)


def error(name: str, text: str) -> Message:
    return Message(kind=messages.ERROR, error=f"org.freedesktop.{name}", signature="s", body=(text,))


def ended(result: str, job: str = JOB) -> Message:
    return Message(
        kind=messages.SIGNAL, path="/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager",
        member="JobRemoved", signature="uoss", body=(7, job, "x.scope", result),
    )  # fmt: skip


class Other:
    """Listens where a user's systemd does. `answers` are what it says to one call after the other; bytes as they are."""

    def __init__(self, directory: Path) -> None:
        self.calls: list[Message] = []
        self.greeted: list[bytes] = []
        self.answers: list[Answer] = []
        self.greeting = [b"DATA\r\nOK 0123456789abcdef\r\n"]
        (directory / "systemd").mkdir()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{directory}/systemd/private")
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._talk(connection)
                except (OSError, EOFError):
                    pass

    def _talk(self, connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        self.greeted = [lines.readline() for _ in range(3)]
        for say in self.greeting:
            connection.sendall(say)
        for serial in itertools.count(1):
            start = lines.read(messages.HEADER)
            if len(start) < messages.HEADER:
                return
            call = messages.decode(start + lines.read(messages.length(start) - messages.HEADER))
            self.calls.append(call)
            answer = self.answers.pop(0) if self.answers else None
            if answer is None:
                return
            if isinstance(answer, bytes):
                connection.sendall(answer)
                continue
            for said in answer:
                kind = {"reply_to": serial} if said.kind != messages.SIGNAL else {}
                connection.sendall(messages.encode(Message(**{**said.__dict__, **kind}), serial))


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves_nothing: None) -> Iterator[Other]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    made = Other(tmp_path)
    yield made
    made.close()


def talk(do: Callable[[buses.Bus], Any]) -> Any:
    async def whole() -> Any:
        bus = await buses.connect(PollWaiter(), user=True)
        try:
            return await do(bus)
        finally:
            bus.close()

    return drive(whole())


def start() -> None:
    talk(lambda bus: systemd.start(bus, UNIT, os.getpid(), {}))


def test_a_job_that_ends_before_its_call_returns_is_not_missed(other: Other) -> None:
    other.answers = [[ended("done"), returns(JOB, signature="o")]]
    start()
    assert other.greeted == [b"\0AUTH EXTERNAL\r\n", b"DATA\r\n", b"BEGIN\r\n"], "who we are, the socket tells"
    assert other.calls[0].member == "StartTransientUnit"
    name, mode, properties, _ = other.calls[0].body
    assert (name, mode) == ("x.scope", "replace")
    assert ["PIDs", ("au", [os.getpid()])] in properties


def test_the_end_of_other_jobs_is_not_ours(other: Other) -> None:
    other.answers = [[returns(JOB, signature="o"), ended("failed", JOB + "1"), ended("done")]]
    start()


@pytest.mark.parametrize("result", ["failed", "canceled", "timeout", "dependency", "skipped"])
def test_a_job_that_fails_is_told_and_the_unit_forgotten(result: str, other: Other) -> None:
    other.answers = [[returns(JOB, signature="o"), ended(result)], [returns()]]
    with pytest.raises(CgroupError, match=f'^start the systemd unit "x.scope": {result}$'):
        start()
    assert [call.member for call in other.calls] == ["StartTransientUnit", "ResetFailedUnit"]


def test_a_unit_that_failed_earlier_is_forgotten_and_the_start_tried_again(other: Other) -> None:
    exists = error("systemd1.UnitExists", "Unit x.scope already exists.")
    other.answers = [[exists], [returns()], [returns(JOB, signature="o"), ended("done")]]
    start()
    other.answers = [[exists], [returns()], [exists]]
    with pytest.raises(systemd.NotStarted, match=r'^start the systemd unit "x.scope": unit x\.scope already exists$'):
        start()


def test_a_unit_that_is_not_there_is_stopped(other: Other) -> None:
    missing = error("systemd1.NoSuchUnit", "Unit x.scope not loaded.")
    other.answers = [[missing], [missing]]
    talk(lambda bus: systemd.stop(bus, UNIT))
    other.answers = [[error("DBus.Error.AccessDenied", "Access denied")]]
    with pytest.raises(CgroupError, match=r'^stop the systemd unit "x.scope": access denied$'):
        talk(lambda bus: systemd.stop(bus, UNIT))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "the connection was closed"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "not a D-Bus message of this machine's byte order"),
        (b"B\2\1\1" + bytes(12), "not a D-Bus message of this machine's byte order"),
        (b"l\2\1\1\xff\xff\xff\x7f" + bytes(8), "a message of"),
        (b"l\2\1\1" + bytes(8) + b"\x05\0\0\0abcdefgh", ""),
        ([returns()], ""),
    ],
)
def test_what_is_no_answer_is_one_sentence(answer: Answer, words: str, other: Other) -> None:
    other.answers = [answer]
    with pytest.raises(CgroupError, match=rf"^StartTransientUnit: .*{words}"):
        start()


@pytest.mark.parametrize("greeting", [[b"REJECTED EXTERNAL\r\nERROR\r\n"], [b"DATA\r\nERROR\r\n"], [b"x" * 140000], [b""]])
def test_who_does_not_let_us_in_is_named(greeting: list[bytes], other: Other, tmp_path: Path) -> None:
    other.greeting = greeting
    if greeting == [b""]:
        other.close()
    with pytest.raises(CgroupError, match=f'^connect to the user\'s systemd: "{tmp_path}/systemd/private": '):
        start()


@pytest.mark.parametrize("second", [b"OK 0123456789abcdef\r\n", b"ERROR\r\n"])
def test_a_systemd_before_246_which_answers_at_once_will_do(second: bytes, other: Other) -> None:
    other.greeting = [b"OK 0123456789abcdef\r\n", second]
    other.answers = [[returns(JOB, signature="o"), ended("done")]]
    start()


def test_without_a_place_to_look_at_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    with pytest.raises(CgroupError, match=r"neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set$"):
        start()


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("unix:path=/run/user/1000/bus", "/run/user/1000/bus"),
        ("unix:abstract=/tmp/x,guid=1", "@/tmp/x"),
        ("tcp:host=x;unix:path=/a%20b%3b", "/a b;"),
        ("unix:path=/a%zz", "/a%zz"),
    ],
)
def test_the_bus_is_where_the_environment_says(address: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    places = buses.addresses(user=True)
    assert places == [("/run/user/1/systemd/private", False), (path, True), ("/run/user/1/bus", True)]


def test_a_systemds_version_is_its_first_number(other: Other) -> None:
    for text, number in (("252.39-1~deb12u1", 252), ("v245", 245), ("257~rc1", 257), ("", 0), ("x", 0)):
        other.answers = [[returns(("s", text), signature="v")]]
        assert talk(systemd.version) == number


def test_no_command_needs_jeepney() -> None:
    """It is what the tests hold our own D-Bus against; its import costs more than a command."""
    sources = (CHECKOUT / "aiorun").rglob("*.py")
    assert not [path for path in sources if "import jeepney" in path.read_text() or "from jeepney" in path.read_text()]
