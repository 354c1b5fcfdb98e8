"""Who may say what when between an init and its parent: a table that both sides and the tests read.

SEQPACKET, one JSON message a packet: `["Name", …fields]`. What comes from an init is hostile: its container's
root may be an attacker's. So it is bounded, typed, and checked against the table.
"""

from __future__ import annotations

from aiorun.wire.json import dumps, loads
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LIMIT: Final = 16384  # bytes of a message; an init's text is cut to fit
_MAX_ERRNO: Final = 4095  # linux/err.h
_MAX_FD: Final = 2**31 - 1


class ProtocolViolation(Exception):
    """The other side sent what it may not send (now, or ever)."""


class Message(Record):
    """One of those below."""


class Proceed(Message):
    """Parent: your pid is on record, or the hooks have run, or what you reported is recorded. Go on."""


class Found(Message):
    """Parent: with this comes what you see at the host's `path`, where root of a user namespace may not get."""

    path: str


class RunHooks(Message):
    """Init: the mount namespace is made. Run the prestart and createRuntime hooks now."""


class Listener(Message):
    """Init: a seccomp filter is loaded that hands calls on; `fd` is my descriptor at which somebody has to answer."""

    fd: int


class Ready(Message):
    """Init: everything up to the program is done."""


class Failed(Message):
    """Init: this could not be done. `text` is a sentence, `errno` its cause or 0. The init ends after it."""

    text: str
    errno: int


# state → {message: next state}. The init starts in "cloned"; whose turn it is follows from the state.
FROM_PARENT: dict[str, dict[type[Message], str]] = {
    "cloned": {Found: "cloned", Proceed: "preparing"},
    "hooks": {Proceed: "hooked"},
    "filtered": {Proceed: "listened"},
    "ready": {Proceed: "created"},
}
FROM_INIT: dict[str, dict[type[Message], str]] = {
    "cloned": {Failed: "failed"},
    "preparing": {RunHooks: "hooks", Listener: "filtered", Ready: "ready", Failed: "failed"},
    "hooks": {Failed: "failed"},
    "hooked": {Listener: "filtered", Ready: "ready", Failed: "failed"},  # once: an attacker's init could run the hooks for ever
    "filtered": {Failed: "failed"},
    "listened": {Ready: "ready", Failed: "failed"},
    "ready": {Failed: "failed"},
    "created": {Failed: "failed"},  # an exec'd one, which could not be executed after all
}

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Proceed, Found, RunHooks, Listener, Ready, Failed)}
_FIELDS: dict[type[Message], tuple[type, ...]] = {
    **dict.fromkeys((Proceed, RunHooks, Ready), ()), Found: (str,), Listener: (int,), Failed: (str, int)
}  # fmt: skip

# Those that say nothing but their name, ready: most of what is said, and JSON's first use in an init is slow.
_PACKETS: dict[type[Message], bytes] = {kind: f'["{kind.__name__}"]'.encode() for kind in _FIELDS if not _FIELDS[kind]}
_NAMED: dict[bytes, Message] = {packet: kind() for kind, packet in _PACKETS.items()}


def encode(message: Message) -> bytes:
    """The packet of a message. A text that is too long is cut."""
    if type(message) in _PACKETS:
        return _PACKETS[type(message)]
    packet = dumps([type(message).__name__, *message.__dict__.values()]).encode()
    if len(packet) > LIMIT and isinstance(message, Failed):
        return encode(Failed(message.text[: len(message.text) // 2], message.errno))
    return packet


def decode(packet: bytes) -> Message:
    """The message of a packet. Raises ProtocolViolation for anything that isn't exactly one."""
    if packet in _NAMED:
        return _NAMED[packet]
    if len(packet) > LIMIT:
        raise ProtocolViolation(f"a message of {len(packet)} bytes")
    try:
        document = loads(packet)
    except ValueError as error:
        raise ProtocolViolation(f"a message that isn't JSON: {error}") from None
    if not isinstance(document, list) or not document or not isinstance(document[0], str):
        raise ProtocolViolation("a message that isn't a list with a name")
    kind = _KINDS.get(document[0])
    if kind is None:
        raise ProtocolViolation("a message of an unknown kind")
    if tuple(type(value) for value in document[1:]) != _FIELDS[kind]:
        raise ProtocolViolation(f"a {document[0]} with wrong fields")
    if kind is Failed and not 0 <= document[2] <= _MAX_ERRNO:
        raise ProtocolViolation("a Failed with an errno that there isn't")
    if kind is Listener and not 0 <= document[1] <= _MAX_FD:
        raise ProtocolViolation("a Listener with a descriptor that there isn't")
    return kind(*document[1:])


class Conversation:
    """The state of one init's conversation, on either side: `sent` and `received` move it along the table."""

    def __init__(self, *, init: bool) -> None:
        self.state = "cloned"
        self._mine, self._theirs = (FROM_INIT, FROM_PARENT) if init else (FROM_PARENT, FROM_INIT)

    def sent(self, message: Message) -> bytes:
        """The packet of a message of ours, which has to be allowed now."""
        self._move(self._mine, message)
        return encode(message)

    def received(self, packet: bytes) -> Message:
        """The message of a packet of theirs. Raises ProtocolViolation."""
        message = decode(packet)
        self._move(self._theirs, message)
        return message

    def _move(self, table: dict[str, dict[type[Message], str]], message: Message) -> None:
        following = table.get(self.state, {}).get(type(message))
        if following is None:
            raise ProtocolViolation(f"{type(message).__name__} in state {self.state}")
        self.state = following
