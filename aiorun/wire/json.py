"""JSON on top of the C scanner and encoder that Python has built in; the json module only where that fails.

`import json` costs 7 ms, half of what a whole command may take; `_json` costs 0.3.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any] | list[Any] | str | int | float | bool | None

_SPACE = " \t\n\r"


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _Context:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_constant)
    memo: dict[str, str] = {}


_scan = make_scanner(_Context())  # type: ignore[arg-type]  # typeshed has its own class for it


def loads(text: str | bytes) -> Any:
    """The value that `text` (str, or UTF-8 bytes) is the JSON of.

    Raises ValueError, whose text says what and where, for anything else, also for what nests too deep.
    """
    if isinstance(text, bytes):
        text = text.decode()  # UnicodeDecodeError is a ValueError
    stripped = text.strip(_SPACE)
    try:
        value, end = _scan(stripped, 0)
        if end == len(stripped):
            return value
    except RecursionError:
        raise ValueError("nested too deep") from None
    except (StopIteration, ValueError, SystemError):
        pass  # SystemError: the scanner finds its exception class only where json.decoder is loaded
    return _loads_for_its_message(text)


def _loads_for_its_message(text: str) -> Any:
    import json

    return json.loads(text, parse_constant=_constant)


def _unknown(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


def dumps(value: object) -> str:
    """Compact JSON in ASCII. Raises ValueError for what JSON doesn't have (NaN, a cycle, other types)."""
    encoder = make_encoder({}, _unknown, encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encoder(value, 0))


def dumps_indented(value: object, *, step: str = "  ", indent: str = "\n") -> str:
    """JSON for people and for programs that compare with Go's MarshalIndent: one member a line."""
    inner = indent + step
    if isinstance(value, dict) and value:
        members = (f"{dumps(key)}: {dumps_indented(item, step=step, indent=inner)}" for key, item in value.items())
        return "{" + inner + ("," + inner).join(members) + indent + "}"
    if isinstance(value, (list, tuple)) and value:
        items = (dumps_indented(item, step=step, indent=inner) for item in value)
        return "[" + inner + ("," + inner).join(items) + indent + "]"
    return dumps(value)
