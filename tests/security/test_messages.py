"""P6: an init is only as trustworthy as the file system it works in. Whatever it says, the parent ends with one error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aiorun.errors import AiorunError
from aiorun.launch.spawn import Spawned
from aiorun.linux import socket
from aiorun.runtime.create import Options, create
from aiorun.spec import read
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from aiorun.wire.json import dumps
from aiorun.wire.protocol import (
    FROM_INIT,
    LIMIT,
    Conversation,
    Failed,
    Listener,
    Proceed,
    ProtocolViolation,
    Ready,
    RunHooks,
    decode,
    encode,
)
from tests import leaks
from tests.conftest import Bundles, Change, CommandLine, changed, need_root

READY, HOOKS = b'["Ready"]', b'["RunHooks"]'

WRONG: dict[str, bytes] = {
    "an empty packet": b"",
    "no JSON": b"\x00\xff\xfe garbage",
    "cut off": b'["Failed","x"',
    "two in one": b'["Ready"]["Ready"]',
    "not a list": b'{"Ready":[]}',
    "an empty list": b"[]",
    "no name": b"[1]",
    "an unknown kind": b'["Reboot"]',
    "a name of the class's": b'["Message"]',
    "the parent's word": b'["Proceed"]',
    "too few fields": b'["Failed","x"]',
    "too many fields": b'["Ready",1]',
    "a truth for a number": b'["Failed","x",true]',
    "a fraction for a number": b'["Failed","x",1.0]',
    "a number for a text": b'["Failed",1,1]',
    "null for a text": b'["Failed",null,1]',
    "an errno out of range": b'["Failed","x",99999999999999999999999]',
    "a negative errno": b'["Failed","x",-1]',
    "a number of a million digits": b'["Failed","x",' + b"9" * (LIMIT - 20) + b"]",
    "nested too deep": b"[" * (LIMIT - 1),
    "not a number": b'["Failed","x",NaN]',
    "too long": b'["Failed","' + b"a" * LIMIT + b'",1]',
}


class Impostor:
    """Spawns a process that says what it was told to, hears out `patience` answers or the end, and is gone.

    With `closes` it closes its end instead, and stays.
    """

    def __init__(self, *packets: bytes, files: tuple[int, ...] = (), closes: bool = False, patience: int = 10) -> None:
        self._packets, self._files, self._closes, self._patience = packets, files, closes, patience

    async def spawn(self, plan: Any, files: Mapping[str, int]) -> Spawned:
        ours, theirs = socket.pair()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                self._talk(theirs)
            finally:
                os._exit(0)
        theirs.close()
        return Spawned(pid, os.pidfd_open(pid), ours)

    def _talk(self, channel: Any) -> None:
        for packet in self._packets:
            socket.send(channel, packet, self._files)
        if self._closes:
            channel.close()
            os.read(os.pipe()[0], 1)  # for ever
        while self._patience and socket.receive(channel, LIMIT)[0]:
            self._patience -= 1


@pytest.fixture
def made_by(bundle: Bundles, root_dir: Path) -> Iterator[Callable[[Impostor], str]]:
    """The error of a create whose init is an impostor. Nothing of the container is left."""
    need_root()
    directory = bundle({"hooks": {"createRuntime": [{"path": "/bin/true"}]}})

    def refused(impostor: Impostor, change: Change = None) -> str:
        Bundles.write(directory, changed(Bundles.read(directory), change))
        store = Store(str(root_dir))
        spec = read(str(directory))
        with pytest.raises(AiorunError) as raised:
            drive(create(store, "x", spec, str(directory), Options(), waiter=PollWaiter(), spawner=impostor))
        assert store.ids() == []
        assert not leaks.living_since(frozenset())
        return str(raised.value)

    yield refused


NOTIFYING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    "listenerPath": "/nosuch",
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("before", [(), (HOOKS,)], ids=["preparing", "after the hooks"])
def test_a_wrong_message_ends_the_create_in_any_state(
    made_by: Callable[[Impostor], str], before: tuple[bytes, ...], wrong: str
) -> None:
    error = made_by(Impostor(*before, WRONG[wrong]))
    assert "init sent" in error or "read from init" in error or "init died" in error
    assert len(error) < 1000


def test_the_hooks_are_run_once_however_often_an_init_asks(made_by: Callable[[Impostor], str]) -> None:
    assert "RunHooks in state" in made_by(Impostor(HOOKS, HOOKS, patience=3))


def test_a_message_with_files_is_refused_and_they_are_closed(made_by: Callable[[Impostor], str]) -> None:
    file = os.open("/", os.O_RDONLY)
    before = leaks.fds()
    for count in (1, 16, 17, 200):
        error = made_by(Impostor(READY, files=(file,) * count))
        assert "with files" in error or "message too long" in error
    assert leaks.fds() == before
    os.close(file)


def test_a_listener_that_nobody_asked_for_is_not_even_looked_at(made_by: Callable[[Impostor], str]) -> None:
    assert "init sent a Listener that nobody asked for" in made_by(Impostor(b'["Listener",0]'))


def test_a_listener_that_is_another_file_is_not_handed_on(made_by: Callable[..., str]) -> None:
    before = leaks.fds()
    change = {"linux": {"seccomp": NOTIFYING}}
    assert "init sent a Listener that is none" in made_by(Impostor(b'["Listener",0]'), change)
    assert "take the seccomp listener from the init: bad file descriptor" in made_by(Impostor(b'["Listener",99999]'), change)
    assert leaks.fds() == before


def test_an_init_that_closes_its_end_and_lives_on_is_not_waited_for(made_by: Callable[[Impostor], str]) -> None:
    assert "init died" in made_by(Impostor(closes=True))
    assert "init died" in made_by(Impostor(HOOKS, closes=True))


def test_what_an_init_says_is_shown_as_one_harmless_line(aiorun: CommandLine, bundle: Bundles) -> None:
    """Its text is its own; only how it is written is ours (tests/security/test_log.py)."""
    failed = decode(dumps(["Failed", "\x1b[2J\n\u202e\ud800", 1]).encode())
    assert isinstance(failed, Failed)
    assert failed.text == "\x1b[2J\n\u202e\ud800"


# --- the table, for either side

MESSAGES = (Proceed(), RunHooks(), Listener(5), Ready(), Failed("why", 2))


@pytest.mark.parametrize("state", sorted({*FROM_INIT, "created", "failed"}))
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_only_what_the_table_has_is_received_in_a_state(state: str, message: Any) -> None:
    conversation = Conversation(init=False)
    conversation.state = state
    allowed = FROM_INIT.get(state, {}).get(type(message))
    if allowed:
        assert conversation.received(encode(message)) == message
        assert conversation.state == allowed
    else:
        with pytest.raises(ProtocolViolation):
            conversation.received(encode(message))
        assert conversation.state == state


def test_a_text_that_is_too_long_is_cut_to_fit() -> None:
    for text in ("a" * 100_000, "\x00" * 100_000, "\U0001f600" * 50_000):
        packet = encode(Failed(text, 7))
        assert len(packet) <= LIMIT
        failed = decode(packet)
        assert isinstance(failed, Failed)
        assert text.startswith(failed.text[:-1])
        assert failed.errno == 7
