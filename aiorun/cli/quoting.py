"""Text as Go's strconv.Quote and logrus write it, so that nothing in it breaks a line or drives a terminal."""

from __future__ import annotations

_NAMED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_BARE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that isn't UTF-8, as PEP 383 carries it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xD800 <= code <= 0xDFFF:
        return "\\ufffd"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape(text: str) -> str:
    """`text` on one line: what can't be printed (newlines, ESC, U+202E, stray bytes) as Go's escapes."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def quote(text: str) -> str:
    """`text` between double quotes, as Go's %q has it."""
    return '"' + escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def log_value(text: str) -> str:
    """`text` as a value of a logrus line: bare where every character is harmless, else quoted."""
    return quote(text) if text.strip(_BARE) else text
