"""The kinds of values that config.json is made of. Each check takes a value and one argument, and raises InvalidSpec.

A *rule* is a pair (check, argument), so that a table of names and rules describes an object (aiorun.spec.shapes). A check
knows only the path below its value: whoever holds the value puts its own name before it, and nothing builds a path
unless something is wrong.
"""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.wire.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Rule = tuple[Callable[[object, Any], None], Any]
    Shape = tuple[Mapping[str, Rule], tuple[str, ...], Callable[[dict[str, Any]], None] | None]

UINT8 = (0, 2**8 - 1)
UINT16 = (0, 2**16 - 1)
UINT32 = (0, 2**32 - 1)
UINT64 = (0, 2**64 - 1)
INT32 = (-(2**31), 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)

_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_QUOTED_AT_MOST = 64


def quoted(value: str) -> str:
    """A string as a person reads it in an error: in quotes, control characters and Unicode escaped, not endless."""
    return dumps(value) if len(value) <= _QUOTED_AT_MOST else dumps(value[:_QUOTED_AT_MOST]) + "..."


def wrong_kind(wanted: str, value: object) -> InvalidSpec:
    found = "null" if value is None else _KINDS.get(type(value), type(value).__name__)
    return InvalidSpec("", f"must be {wanted}, not {found}")


def below(step: str, fault: InvalidSpec) -> InvalidSpec:
    """The same fault, seen from the value that holds the faulty one under `step`."""
    dot = "." if fault.path and not fault.path.startswith("[") else ""
    return InvalidSpec(step + dot + fault.path, fault.reason)


def boolean(value: object, _: None) -> None:
    if value is not True and value is not False:
        raise wrong_kind("a boolean", value)


def integer(value: object, limits: tuple[int, int]) -> None:
    """`limits` are the least and the greatest value. True is not 1, and neither is 1.0."""
    if type(value) is not int:
        raise wrong_kind("an integer", value)
    if not limits[0] <= value <= limits[1]:
        raise InvalidSpec("", f"must be from {limits[0]} to {limits[1]}")


def text(value: object, _: None = None) -> None:
    """A string that the kernel's interfaces can carry: no NUL, and encodable, so no half of a surrogate pair."""
    if type(value) is not str:
        raise wrong_kind("a string", value)
    if "\0" in value:
        raise InvalidSpec("", "must not contain a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidSpec("", "must not contain half of a surrogate pair") from None


def filled(value: object, _: None) -> None:
    text(value)
    if not value:
        raise InvalidSpec("", "must not be empty")


def absolute(value: object, _: None) -> None:
    text(value)
    if not isinstance(value, str) or not value.startswith("/"):
        raise InvalidSpec("", "must be an absolute path")


def absolute_or_empty(value: object, _: None) -> None:
    if value != "":
        absolute(value, None)


def choice(value: object, choices: tuple[str, ...]) -> None:
    text(value)
    if value not in choices:
        raise InvalidSpec("", f"must be one of {', '.join(filter(None, choices))}, not {quoted(str(value))}")


def made_of(value: object, characters: str) -> None:
    """Each character of the string is one of `characters`."""
    text(value)
    if str(value).strip(characters):
        raise InvalidSpec("", f"must consist of the characters {quoted(characters)} alone, not {quoted(str(value))}")


def variable(value: object, _: None) -> None:
    """One entry of an environment. runc's words."""
    text(value)
    if "=" not in str(value):
        raise InvalidSpec("", f"invalid environment variable: missing '=' in {quoted(str(value))}")
    if str(value).startswith("="):
        raise InvalidSpec("", "invalid environment variable: name cannot be empty")


def texts(value: object, _: None) -> None:
    """An array of strings: `items` with the check of its items written in, since a document is mostly these."""
    if not isinstance(value, list):
        raise wrong_kind("an array", value)
    for index, item in enumerate(value):
        if type(item) is not str or not item.isascii() or "\0" in item:
            try:
                text(item)
            except InvalidSpec as fault:
                raise below(f"[{index}]", fault) from None


def filled_texts(value: object, fault: str) -> None:
    texts(value, None)
    if not value:
        raise InvalidSpec("", fault)


def items(value: object, rule: Rule) -> None:
    """An array whose items all follow `rule`."""
    if not isinstance(value, list):
        raise wrong_kind("an array", value)
    check, argument = rule
    index = 0
    try:
        for index, item in enumerate(value):  # noqa: B007 - the fault's path needs it
            check(item, argument)
    except InvalidSpec as fault:
        raise below(f"[{index}]", fault) from None


def unique(value: object, rule_and_key: tuple[Rule, str]) -> None:
    """An array of objects, no two of which have the same value under the key."""
    rule, key = rule_and_key
    items(value, rule)
    seen: set[str] = set()
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if item[key] in seen:
            raise InvalidSpec(f"[{index}].{key}", f"duplicated: {quoted(item[key])} is in the list already")
        seen.add(item[key])


def mapping(value: object, rule: Rule) -> None:
    """An object with keys of the author's own, whose values all follow `rule`."""
    if not isinstance(value, dict):
        raise wrong_kind("an object", value)
    check, argument = rule
    for key, item in value.items():
        try:
            filled(key, None)
        except InvalidSpec as fault:
            raise InvalidSpec("", f"each name in it {fault.reason}") from None
        try:
            check(item, argument)
        except InvalidSpec as fault:
            raise below(f"[{quoted(key)}]", fault) from None


def members(value: object, shape: Shape) -> None:
    """An object with the members that `shape` (a table, the names required, a rule for the whole or None) describes.

    Members that the table doesn't have are ignored, as config.md, "Extensibility", demands.
    """
    if not isinstance(value, dict):
        raise wrong_kind("an object", value)
    table, required, whole = shape
    for name in required:
        if name not in value:
            raise InvalidSpec(name, "is required")
    try:
        for name, member in value.items():
            rule = table.get(name)
            if rule is not None:
                rule[0](member, rule[1])
    except InvalidSpec as fault:
        raise below(name, fault) from None
    if whole is not None:
        whole(value)


BOOLEAN: Rule = (boolean, None)
TEXT: Rule = (text, None)
TEXTS: Rule = (texts, None)
FILLED: Rule = (filled, None)
ABSOLUTE: Rule = (absolute, None)
ENVIRONMENT: Rule = (items, (variable, None))
TEXT_BY_NAME: Rule = (mapping, TEXT)


def shape(table: Mapping[str, Rule], *required: str, whole: Callable[[dict[str, Any]], None] | None = None) -> Rule:
    """The rule of an object."""
    return (members, (table, required, whole))
