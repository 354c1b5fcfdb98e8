"""Who may say what when, walked state by state on both sides; and that nothing else gets through (docs/security.md, P6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from aiorun.wire.protocol import (
    FROM_INIT,
    FROM_PARENT,
    LIMIT,
    Conversation,
    Failed,
    Found,
    Listener,
    Message,
    Proceed,
    ProtocolViolation,
    Ready,
    RunHooks,
    decode,
    encode,
)

MESSAGES = (Proceed(), Found("/path"), RunHooks(), Listener(7), Ready(), Failed("why", 5))
STATES = sorted(
    {
        *FROM_PARENT,
        *FROM_INIT,
        "created",
        "failed",
        *(s for t in (FROM_PARENT, FROM_INIT) for m in t.values() for s in m.values()),
    }
)


def at(state: str, *, init: bool) -> Conversation:
    """A conversation that has come to a state, by the messages that lead there."""
    for path in paths():
        if (path and path[-1][2] == state) or (not path and state == "cloned"):
            conversation = Conversation(init=init)
            for from_parent, message, _ in path:
                if from_parent != init:
                    conversation.sent(message)
                else:
                    conversation.received(encode(message))
            assert conversation.state == state
            return conversation
    raise AssertionError(f"no way leads to {state}")


def paths(depth: int = 6) -> Iterator[list[tuple[bool, Message, str]]]:
    """Each way along the two tables from the beginning: (whether the parent spoke, the message, the state after it)."""
    ways: list[list[tuple[bool, Message, str]]] = [[]]
    for _ in range(depth):
        yield from ways
        ways = [
            [*way, (table is FROM_PARENT, message, table[state][type(message)])]
            for way in ways
            for state in [way[-1][2] if way else "cloned"]
            for table in (FROM_PARENT, FROM_INIT)
            for message in MESSAGES
            if type(message) in table.get(state, {})
        ]


@pytest.mark.parametrize("init", [False, True], ids=["the parent's side", "the init's side"])
@pytest.mark.parametrize("state", STATES)
def test_each_message_is_taken_and_sent_in_its_states_alone(state: str, init: bool) -> None:
    mine, theirs = (FROM_INIT, FROM_PARENT) if init else (FROM_PARENT, FROM_INIT)
    for message in MESSAGES:
        for table, move in ((mine, "sent"), (theirs, "received")):
            conversation = at(state, init=init)
            following = table.get(state, {}).get(type(message))

            def say(conversation: Conversation = conversation, move: str = move, message: Message = message) -> object:
                return conversation.sent(message) if move == "sent" else conversation.received(encode(message))

            if following is None:
                with pytest.raises(ProtocolViolation, match=f"^{type(message).__name__} in state {state}$"):
                    say()
                assert conversation.state == state
            else:
                assert say() == (encode(message) if move == "sent" else message)
                assert conversation.state == following


def test_both_sides_come_to_the_same_state_by_every_way() -> None:
    walked = 0
    for way in paths():
        parent, init = Conversation(init=False), Conversation(init=True)
        for from_parent, message, state in way:
            speaker, listener = (parent, init) if from_parent else (init, parent)
            assert listener.received(speaker.sent(message)) == message
            assert parent.state == init.state == state
        walked += 1
    assert walked > 10


def test_nobody_speaks_after_the_end() -> None:
    assert "failed" not in FROM_PARENT
    assert "failed" not in FROM_INIT
    assert "created" not in FROM_PARENT
    assert set(FROM_INIT["created"]) == {Failed}  # of an exec


def test_a_turn_belongs_to_one_side() -> None:
    """Where the parent may speak the init may only fail: no two messages cross."""
    for state, said in FROM_PARENT.items():
        assert said
        assert set(FROM_INIT.get(state, {})) <= {Failed}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_the_same_after_the_wire(message: Message) -> None:
    assert decode(encode(message)) == message


@hypothesis.given(text=st.text(), errno=st.integers(0, 4095))
def test_any_failure_is_the_same_after_the_wire(text: str, errno: int) -> None:
    assert decode(encode(Failed(text, errno))) == Failed(text, errno)


@pytest.mark.parametrize("character", ["x", "\x01", "ü", "\U0001f600", "\ud800", '"'])
@pytest.mark.parametrize("length", [LIMIT // 20, LIMIT - 20, LIMIT, 65_536, 1 << 20])
def test_a_text_that_is_too_long_is_cut_to_a_packet(character: str, length: int) -> None:
    packet = encode(Failed(character * length, 7))
    assert len(packet) <= LIMIT
    said = decode(packet)
    assert isinstance(said, Failed)
    assert said.errno == 7
    assert said.text
    assert (character * length).startswith(said.text)


WRONG: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"Ready",
    "half of it": b'["Ready"',
    "two": b'["Ready"]["Ready"]',
    "no UTF-8": b'["\xff"]',
    "no list": b'{"Ready": 1}',
    "a name alone": b'"Ready"',
    "an empty list": b"[]",
    "a list in a list": b'[["Ready"]]',
    "a number for a name": b"[1]",
    "null for a name": b"[null]",
    "an unknown name": b'["Exec"]',
    "the base": b'["Message"]',
    "a dunder": b'["__init__"]',
    "the name in lower case": b'["ready"]',
    "a field too many": b'["Ready", 1]',
    "a field too few": b'["Failed", "x"]',
    "fields the wrong way round": b'["Failed", 5, "x"]',
    "true for a number": b'["Failed", "x", true]',
    "a fraction": b'["Failed", "x", 1.0]',
    "null for a text": b'["Failed", null, 1]',
    "a list for a text": b'["Failed", ["x"], 1]',
    "not a number": b'["Failed", "x", NaN]',
    "nested too deep": b"[" * (LIMIT - 1),
    "too long by one": b'["Failed","' + b"x" * (LIMIT - 14) + b'",1]',
    "65,536 bytes": b'["Failed", "' + b"x" * (65_536 - 16) + b'", 1]',
    "a negative errno": b'["Failed", "x", -1]',
    "an errno that there isn't": b'["Failed", "x", 4096]',
    "a descriptor that there isn't": b'["Listener", -1]',
    "a descriptor that there can't be": b'["Listener", 2147483648]',
    "a number of 10,000 digits": b'["Failed", "x", ' + b"9" * 10_000 + b"]",
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("state", STATES)
def test_what_is_no_message_is_refused_in_every_state(case: str, state: str) -> None:
    for init in (False, True):
        conversation = at(state, init=init)
        with pytest.raises(ProtocolViolation):
            conversation.received(WRONG[case])
        assert conversation.state == state


def test_the_longest_packet_is_taken() -> None:
    packet = b'["Failed","' + b"x" * (LIMIT - 15) + b'",1]'
    assert len(packet) == LIMIT
    assert isinstance(decode(packet), Failed)


@hypothesis.settings(max_examples=500)
@hypothesis.given(
    packet=st.one_of(st.binary(max_size=64), st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
)
def test_no_packet_does_anything_but_come_to_a_message_or_be_refused(packet: bytes) -> None:
    try:
        message = decode(packet)
    except ProtocolViolation:
        return
    assert type(message) in (Proceed, Found, RunHooks, Listener, Ready, Failed)


FIELDS: Any = st.lists(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([])), max_size=3
)


@hypothesis.given(name=st.sampled_from(["Proceed", "Found", "RunHooks", "Listener", "Ready", "Failed"]), fields=FIELDS)
def test_a_message_has_its_fields_of_their_types_and_no_others(name: str, fields: list[Any]) -> None:
    packet = json.dumps([name, *fields]).encode()
    right = {"Failed": [str, int], "Listener": [int], "Found": [str]}.get(name, [])
    numbers = [field for field in fields if type(field) is int]
    most = 4095 if name == "Failed" else 2**31 - 1
    if [type(field) for field in fields] == right and all(0 <= number <= most for number in numbers):
        assert type(decode(packet)).__name__ == name
    else:
        with pytest.raises(ProtocolViolation):
            decode(packet)
