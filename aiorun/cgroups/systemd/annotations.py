"""`org.systemd.property.NAME` annotations: properties that a user gives the unit. Their values are GVariant text.

GVariant Text Format (docs.gtk.org/glib/gvariant-text-format.html), as far as runc takes it: numbers, booleans, texts,
arrays, tuples, `@type value`, and `uint64 value` with the names of types.
"""

from __future__ import annotations

from aiorun.cgroups.systemd.cgroup import PREFIX
from aiorun.cgroups.systemd.message import INTEGERS, types
from aiorun.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiorun.cgroups.systemd.properties import Properties, Value

_NAMES = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t",
    "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
_NUMBERS, _TEXTS, _TYPES = "ynqiuxtd", "sog", "ybnqiuxtdsogav(){}"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_DEPTH = 16


def properties(annotations: Mapping[str, str]) -> Properties:
    """The properties that these annotations ask for. Raises InvalidSpec.

    As in runc TimeoutStopSec and the like, whose unit is the second, become systemd's TimeoutStopUSec.
    """
    found: Properties = {}
    for key, text in annotations.items():
        name = key.removeprefix(PREFIX)
        if name == key:
            continue
        at = f'annotations["{key}"]'
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise InvalidSpec(at, f'"{name}" is not the name of a property')
        try:
            value = parse(text)
            if name.endswith("Sec") and name[-4:-3].islower():
                name, value = f"{name[:-3]}USec", _microseconds(value)
        except (ValueError, IndexError) as error:
            raise InvalidSpec(at, f'read "{text}": {error}') from None
        found[name] = value
    return found


def _microseconds(value: Value) -> Value:
    kind, seconds = value
    if kind not in _NUMBERS:
        raise ValueError("it is not a number of seconds")
    return "t", int(seconds * 1_000_000)


def parse(text: str) -> Value:
    """(type, value) of a GVariant text. Without a type a whole number is an `i`, another one a `d`. Raises ValueError."""
    reader = _Text(text)
    kind, value = reader.value("", 0)
    if reader.peek():
        raise ValueError(f'nothing may follow, but there is "{text[reader.at :]}"')
    return kind, value


class _Text:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        """The next character that isn't a blank; empty at the end."""
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def value(self, kind: str, depth: int) -> Value:
        """The next value, of the type `kind` if that is known."""
        if depth > _DEPTH:
            raise ValueError("it nests too deep")
        first = self.peek()
        if first == "@":
            self.at += 1
            return self.value(self._type(), depth)
        if first in ("[", "("):
            return self._array(kind, depth) if first == "[" else self._tuple(kind, depth)
        if first in ("'", '"'):
            return self._checked(kind or "s", _TEXTS), self._quoted(first)
        if first == "<":
            self.at += 1
            inner = self.value("", depth + 1)
            self._expect(">")
            return self._checked(kind or "v", "v"), inner
        word = self._word()
        if word in _NAMES:
            return self.value(_NAMES[word], depth)
        if word in ("true", "false"):
            return self._checked(kind or "b", "b"), word == "true"
        return self._number(word, kind)

    def _number(self, word: str, kind: str) -> Value:
        if not word:
            raise ValueError("there is no value")
        try:
            number: int | float = int(word, 0)
        except ValueError:
            number, kind = float(word), kind or "d"
        kind = self._checked(kind or "i", _NUMBERS)
        if kind == "d":
            return kind, float(number)
        if isinstance(number, float):
            raise ValueError(f'"{word}" is not a whole number')
        size, signed = INTEGERS[kind]
        try:
            number.to_bytes(size, "little", signed=signed)
        except OverflowError:
            raise ValueError(f'"{word}" does not fit the type "{kind}"') from None
        return kind, number

    def _array(self, kind: str, depth: int) -> Value:
        inner = self._checked(kind or "a", "a")[1:]
        self.at += 1
        values = []
        while self.peek() != "]":
            found, value = self.value(inner, depth + 1)
            if inner and found != inner:
                raise ValueError(f'an array of "{inner}" has a "{found}"')
            inner = found
            values.append(value)
            if self.peek() != "]":
                self._expect(",")
        self.at += 1
        if not inner:
            raise ValueError("an empty array needs a type, such as @as []")
        return f"a{inner}", values

    def _tuple(self, kind: str, depth: int) -> Value:
        wanted = types(self._checked(kind or "(", "(")[1:-1])
        self.at += 1
        kinds: list[str] = []
        values: list[object] = []
        while self.peek() != ")":
            found, value = self.value(wanted[len(kinds)] if kind else "", depth + 1)
            kinds.append(found)
            values.append(value)
            if self.peek() != ")":
                self._expect(",")
        self.at += 1
        if kind and len(kinds) != len(wanted):
            raise ValueError(f'{len(kinds)} values for the type "{kind}"')
        return f"({''.join(kinds)})", values

    def _quoted(self, quote: str) -> str:
        self.at += 1
        out = []
        while (character := self._next()) != quote:
            if character == "\\":
                character = self._next()
                if character in ("u", "U"):
                    size = 4 if character == "u" else 8
                    code, self.at = self.text[self.at : self.at + size], self.at + size
                    out.append(chr(int(code, 16)))
                    continue
                character = _ESCAPES.get(character, character)
            out.append(character)
        return "".join(out)

    def _next(self) -> str:
        if self.at >= len(self.text):
            raise ValueError("a text has no end")
        self.at += 1
        return self.text[self.at - 1]

    def _word(self) -> str:
        return self._while(lambda character: not character.isspace() and character not in "[]()<>,'\"")

    def _type(self) -> str:
        text = self._while(lambda character: character in _TYPES)
        found = types(text)
        if len(found) != 1:
            raise ValueError(f'"{text}" is not one type')
        return text

    def _while(self, belongs: Callable[[str], bool]) -> str:
        start = self.at
        while self.at < len(self.text) and belongs(self.text[self.at]):
            self.at += 1
        return self.text[start : self.at]

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            raise ValueError(f'"{character}" is missing after "{self.text[: self.at]}"')
        self.at += 1

    @staticmethod
    def _checked(kind: str, allowed: str) -> str:
        """`kind`, if a value of this form can be of it."""
        if kind[0] not in allowed:
            raise ValueError(f'it is no value of the type "{kind}"')
        return kind
