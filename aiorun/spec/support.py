"""What the specification has and aiorun doesn't do yet. It is an error that names the property, never ignored.

One table. Who teaches aiorun a property deletes its row.
"""

from __future__ import annotations

from aiorun.errors import UnsupportedSpec
from aiorun.spec.checks import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import Spec

# (the property, the values of it that aiorun lacks: none named means all). `[]` is each item of an array,
# `{}` each name in an object. An option is meant with its value, too: idmap is idmap=… as well.
TABLE: tuple[tuple[str, tuple[str, ...]], ...] = ()

_NOT_YET = "not supported yet by this version of aiorun"


def unsupported(spec: Spec) -> list[UnsupportedSpec]:
    """An error for each property of the checked document that aiorun doesn't do yet, in the table's order.

    What is empty or zero counts as absent: engines write every member, and mean "unset" by a zero (Docker does).
    """
    faults = []
    for name, values in TABLE:
        for path, value in _values(spec, name.replace("[]", ".[]").replace("{}", ".{}").split("."), ""):
            if not values and _asks(value):
                faults.append(UnsupportedSpec(path, _NOT_YET))
            elif isinstance(value, str) and value.partition("=")[0] in values:
                faults.append(UnsupportedSpec(path, f"{quoted(value)} is {_NOT_YET}"))
    return faults


def supports(name: str, value: str = "") -> bool:
    """Whether aiorun does the property `name`, written as in the table, and with `value` whether it does this value of it."""
    for lacking, values in TABLE:
        whole = name == lacking or name.startswith((f"{lacking}.", f"{lacking}[", f"{lacking}{{"))
        if (whole and not values) or (name == lacking and value in values):
            return False
    return True


def _values(holder: object, steps: list[str], path: str) -> Iterator[tuple[str, object]]:
    """What the property is in this document: each (path, value)."""
    if not steps:
        yield path, holder
        return
    step, rest = steps[0], steps[1:]
    if step == "[]" and isinstance(holder, list):
        for index, item in enumerate(holder):
            yield from _values(item, rest, f"{path}[{index}]")
    elif step == "{}" and isinstance(holder, dict):
        for name in holder:  # the name alone asks for something: netDevices' objects may be empty
            yield f"{path}[{quoted(name)}]", name
    elif isinstance(holder, dict) and step in holder:
        yield from _values(holder[step], rest, f"{path}.{step}" if path else step)


def _asks(value: object) -> bool:
    """Whether there is anything in it but zeros, empty strings, arrays and objects."""
    if isinstance(value, dict):
        return any(map(_asks, value.values()))
    if isinstance(value, list):
        return any(map(_asks, value))
    return bool(value)
