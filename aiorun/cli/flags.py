"""The flag parser: runc's syntax (urfave/cli on top of Go's flag package), fed by tables.

Both `-name` and `--name`, `--name value` and `--name=value`; a boolean takes a value only after `=`; `--` ends flags.
Errors are worded as Go words them, since people and scripts know these.
"""

from __future__ import annotations

from aiorun.errors import UsageError
from aiorun.wire.record import Record
from aiorun.wire.text import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Value = str | bool | int | float

# What a flag takes. STRINGS and INTS may be repeated, DURATION is Go's ("1m30s") in seconds.
STRING, BOOL, INT, DURATION, STRINGS, INTS = range(6)

_EMPTY: tuple[Value, ...] = ("", False, 0, 0.0)
_TRUE = ("1", "t", "T", "TRUE", "true", "True")  # strconv.ParseBool
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_DURATION = (2**63 - 1) / 1e9


class Flag(Record):
    """One flag. The first of `names` is what `Options` knows it by; `default` None is the kind's empty value."""

    names: tuple[str, ...]
    kind: int = STRING
    default: str | int | float | None = None
    help: str = ""


HELP = Flag(("help", "h"), BOOL, help="show help")


class Options:
    """The flags of one command line, by their first names."""

    def __init__(self, flags: tuple[Flag, ...]) -> None:
        self._values: dict[str, Value] = {}
        self._lists: dict[str, list[Value]] = {}
        self._given: set[str] = set()
        for flag in flags:
            if flag.kind in (STRINGS, INTS):
                self._lists[flag.names[0]] = []
            else:
                self._values[flag.names[0]] = _EMPTY[flag.kind] if flag.default is None else flag.default

    def is_set(self, name: str) -> bool:
        """Whether the flag was given, with whatever value."""
        return name in self._given

    def boolean(self, name: str) -> bool:
        return self._values[name] is True

    def string(self, name: str) -> str:
        return str(self._values[name])

    def integer(self, name: str) -> int:
        return int(self._values[name])

    def seconds(self, name: str) -> float:
        return float(self._values[name])

    def strings(self, name: str) -> list[str]:
        return [str(value) for value in self._lists[name]]

    def integers(self, name: str) -> list[int]:
        return [int(value) for value in self._lists[name]]

    def set(self, flag: Flag, value: Value) -> None:
        """Used by `parse`: the last value counts, repeatable flags collect theirs."""
        name = flag.names[0]
        if flag.kind in (STRINGS, INTS):
            self._lists[name].append(value)
        else:
            self._values[name] = value
        self._given.add(name)


def parse(flags: tuple[Flag, ...], arguments: list[str], *, interspersed: bool = True) -> tuple[Options, list[str]]:
    """The flags that `arguments` set, and what is left of them. Raises UsageError.

    With `interspersed`, known flags are taken after the first argument too, as urfave/cli does; anything else that
    looks like a flag there is an argument. Without it the first argument ends the flags (`exec ID CMD -x`).
    """
    known = {name: flag for flag in flags for name in flag.names}
    options = Options(flags)
    used: set[str] = set()
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--" or (rest and not interspersed):
            # urfave/cli: after an argument, "--" is one itself
            rest += [word, *words] if rest else words
        elif len(word) < 2 or word[0] != "-" or (rest and _name(word) not in known):
            rest.append(word)
        else:
            used.add(_take(word, words, known, options))
    for flag in flags:
        forms = [name for name in flag.names if name in used]
        if len(forms) > 1:
            raise UsageError(f"Cannot use two forms of the same flag: {forms[1]} {forms[0]}")
    return options, rest


def _name(word: str) -> str:
    return word[2 if word.startswith("--") else 1 :].partition("=")[0]


def _take(word: str, words: Iterator[str], known: dict[str, Flag], options: Options) -> str:
    """Set the flag `word`, with a value from `words` if it needs one; the name it was called by. Go's parseOne."""
    text = word[2 if word.startswith("--") else 1 :]
    if text[:1] in ("", "-", "="):
        raise UsageError(f"bad flag syntax: {word}")
    name, equals, value = text.partition("=")
    flag = known.get(name)
    if flag is None:
        raise UsageError(f"flag provided but not defined: -{name}")
    if flag.kind == BOOL:
        if not equals:
            options.set(flag, True)
        elif value in _TRUE or value in _FALSE:
            options.set(flag, value in _TRUE)
        else:
            raise UsageError(f"invalid boolean value {quote(value)} for -{name}: parse error")
        return name
    if not equals:
        following = next(words, None)
        if following is None:
            raise UsageError(f"flag needs an argument: -{name}")
        value = following
    try:
        options.set(flag, _convert(flag.kind, value))
    except ValueError as error:
        raise UsageError(f"invalid value {quote(value)} for flag -{name}: {error}") from None
    return name


def _convert(kind: int, text: str) -> Value:
    """`text` as a value of `kind`. Raises ValueError with Go's words."""
    if kind == DURATION:
        return duration(text)
    if kind not in (INT, INTS):
        return text
    try:
        value = _go_integer(text)
    except ValueError:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax" if kind == INTS else "parse error") from None
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range" if kind == INTS else "value out of range")
    return value


def _go_integer(text: str) -> int:
    """strconv.ParseInt with base 0: 0x, 0o, 0b, and unlike Python's, octal after a bare 0."""
    if not text.isascii() or text.strip() != text:
        raise ValueError
    sign = text[:1] if text[:1] in ("+", "-") else ""
    digits = text[len(sign) :]
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_":
        digits = "0o" + digits[1:]
    return int(sign + digits, 0)


def duration(text: str) -> float:
    """Go's time.ParseDuration, in seconds: "300ms", "1h15m", "-1.5s". Raises ValueError."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total = 0.0
    while True:
        unit_and_rest = rest.lstrip("0123456789.")
        number = rest[: len(rest) - len(unit_and_rest)]
        unit = unit_and_rest
        for index, character in enumerate(unit_and_rest):
            if character in "0123456789.":
                unit = unit_and_rest[:index]
                break
        if number.count(".") > 1 or number in ("", ".") or unit not in _SECONDS:
            raise ValueError("parse error")
        total += float(number) * _SECONDS[unit]
        rest = unit_and_rest[len(unit) :]
        if total > _LONGEST_DURATION:
            raise ValueError("parse error")
        if not rest:
            return -total if text[0] == "-" else total


def parse_bool(text: str) -> bool:
    """Go's strconv.ParseBool. Raises UsageError in its words."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise UsageError(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")
