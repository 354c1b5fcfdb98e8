"""D-Bus messages as bytes. D-Bus Specification, "Marshaling (Wire Format)" and "Message Format".

A value is what its signature says: numbers, bool, str, bytes for `ay`, lists for arrays and structs, and for a variant a
pair (signature, value). Only little-endian messages are made and taken, and no file descriptors: systemd's need no more.
"""

from __future__ import annotations

from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4
HEADER = 16  # bytes after which the length of the whole is known
LIMIT = 1 << 24  # of a message; systemd's are small

_LITTLE, _VERSION = ord("l"), 1
# Size in bytes, and whether it may be negative
INTEGERS = {"y": (1, False), "n": (2, True), "q": (2, False), "i": (4, True), "u": (4, False), "x": (8, True), "t": (8, False)}
_ALIGNMENT = {"b": 4, "d": 8, "s": 4, "o": 4, "g": 1, "a": 4, "v": 1, "(": 8, "{": 8}
_CLOSING = {"(": ")", "{": "}"}
_DEPTH = 64  # of arrays and structs
# The header's fields: number, name, type
_FIELDS = (
    (1, "path", "o"),
    (2, "interface", "s"),
    (3, "member", "s"),
    (4, "error", "s"),
    (5, "reply_to", "u"),
    (6, "destination", "s"),
    (7, "sender", "s"),
    (8, "signature", "g"),
)


class Message(Record):
    """One message. `reply_to` is the serial of the call that a return or an error answers."""

    kind: int
    path: str = ""
    interface: str = ""
    member: str = ""
    error: str = ""
    reply_to: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""
    body: tuple[Any, ...] = ()


def encode(message: Message, serial: int) -> bytes:
    """The message's bytes. Raises ValueError, TypeError, OverflowError for a body that its signature doesn't fit."""
    body = bytearray()
    kinds = types(message.signature)
    if len(kinds) != len(message.body):
        raise ValueError(f'{len(message.body)} values for the signature "{message.signature}"')
    for kind, value in zip(kinds, message.body):
        _put(body, kind, value)
    fields = [[number, (kind, value)] for number, name, kind in _FIELDS if (value := getattr(message, name))]
    out = bytearray((_LITTLE, message.kind, 0, _VERSION))
    for kind, value in (("u", len(body)), ("u", serial), ("a(yv)", fields)):
        _put(out, kind, value)
    _pad(out, 8)
    return bytes(out + body)


def length(start: bytes) -> int:
    """How long the message is that begins with these HEADER bytes. Raises ValueError for what is none, or too long."""
    if len(start) < HEADER or start[0] != _LITTLE or start[3] != _VERSION:
        raise ValueError("not a D-Bus message of this machine's byte order")
    body, fields = (int.from_bytes(start[at : at + 4], "little") for at in (4, 12))
    whole = HEADER + fields + -fields % 8 + body
    if whole > LIMIT:
        raise ValueError(f"a message of {whole} bytes")
    return whole


def decode(data: bytes) -> Message:
    """The message that these bytes, as many as `length` says, are. Raises ValueError."""
    if len(data) < HEADER or len(data) != length(data):
        raise ValueError("a message that is cut")
    reader = _Reader(data, 12)
    names = {number: (name, kind) for number, name, kind in _FIELDS}
    found: dict[str, Any] = {}
    for number, (signature, value) in reader.take("a(yv)"):
        name, kind = names.get(number, ("", ""))  # a field that we don't know is to be passed over
        if name and signature != kind:
            raise ValueError(f"the field {name} of the type {signature}")
        if name:
            found[name] = value
    reader.align(8)
    body = tuple(reader.take(kind) for kind in types(found.get("signature", "")))
    return Message(kind=data[1], body=body, **found)


def types(signature: str) -> list[str]:
    """The complete types that a signature is made of. Raises ValueError."""
    found = []
    at = 0
    while at < len(signature):
        end = _end(signature, at, 0)
        found.append(signature[at:end])
        at = end
    return found


def _end(signature: str, at: int, depth: int) -> int:
    """Where the complete type that begins at `at` ends."""
    code = signature[at : at + 1]
    if depth > _DEPTH:
        raise ValueError("a type that nests too deep")
    if code == "a":
        return _end(signature, at + 1, depth + 1)
    if code in _CLOSING:
        at += 1
        while signature[at : at + 1] != _CLOSING[code]:
            at = _end(signature, at, depth + 1)
        return at + 1
    if code and (code in INTEGERS or code in _ALIGNMENT):
        return at + 1
    raise ValueError(f'"{signature}" is not a D-Bus signature')


def _alignment(kind: str) -> int:
    return INTEGERS[kind[0]][0] if kind[0] in INTEGERS else _ALIGNMENT[kind[0]]


def _pad(out: bytearray, alignment: int) -> None:
    out += bytes(-len(out) % alignment)


def _put(out: bytearray, kind: str, value: Any) -> None:
    code = kind[0]
    _pad(out, _alignment(kind))
    if code in INTEGERS:
        size, signed = INTEGERS[code]
        out += int(value).to_bytes(size, "little", signed=signed)
    elif code == "b":
        out += bool(value).to_bytes(4, "little")
    elif code == "d":
        out += _doubles().pack("<d", value)
    elif code in "sog":
        text = value.encode("utf-8")
        if 0 in text:
            raise ValueError("a NUL in a text")
        out += len(text).to_bytes(1 if code == "g" else 4, "little") + text + b"\0"
    elif code == "v":
        _put(out, "g", value[0])
        _put(out, value[0], value[1])
    elif code == "a":
        _put_array(out, kind[1:], value)
    else:
        for inner, member in zip(types(kind[1:-1]), value, strict=True):
            _put(out, inner, member)


def _put_array(out: bytearray, kind: str, values: Any) -> None:
    place = len(out)
    out += bytes(4)
    _pad(out, _alignment(kind))  # not counted in the length
    start = len(out)
    for value in values:
        _put(out, kind, value)
    out[place : place + 4] = (len(out) - start).to_bytes(4, "little")


class _Reader:
    """Takes values out of a message, each checked against its end."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at, self._depth = data, at, 0

    def align(self, alignment: int) -> None:
        self._at += -self._at % alignment

    def take(self, kind: str) -> Any:
        code = kind[0]
        self.align(_alignment(kind))
        if code in INTEGERS:
            size, signed = INTEGERS[code]
            return int.from_bytes(self._bytes(size), "little", signed=signed)
        if code == "b":
            return self._bytes(4) != bytes(4)
        if code == "d":
            return _doubles().unpack("<d", self._bytes(8))[0]
        if code in "sog":
            size = int.from_bytes(self._bytes(1 if code == "g" else 4), "little")
            return self._bytes(size + 1)[:-1].decode("utf-8")
        self._depth += 1
        if self._depth > _DEPTH:
            raise ValueError("a value that nests too deep")
        try:
            return self._container(code, kind)
        finally:
            self._depth -= 1

    def _container(self, code: str, kind: str) -> Any:
        if code == "v":
            (inner,) = types(self.take("g"))
            return inner, self.take(inner)
        if code != "a":
            return [self.take(inner) for inner in types(kind[1:-1])]
        size = self.take("u")
        self.align(_alignment(kind[1:]))
        end = self._at + size
        if kind == "ay":
            return self._bytes(size)
        found = []
        while self._at < end:
            found.append(self.take(kind[1:]))
        if self._at != end:
            raise ValueError("an array whose last member is cut")
        return found

    def _bytes(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise ValueError("a message that is cut")
        self._at += size
        return part


def _doubles() -> Any:
    import struct  # only here: systemd has hardly a property of this type

    return struct
