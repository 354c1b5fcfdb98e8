"""Text as Go's strconv.Quote and logrus write it, so that nothing in it breaks a line or drives a terminal.

An init writes such lines too, so nothing here asks the C library for anything: its time zones are files of the root's.
"""

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


def rfc3339(moment: float, offset: int) -> str:
    """`moment` (seconds since the epoch) as RFC 3339 to the second, in the zone that is `offset` seconds east of UTC."""
    days, seconds = divmod(int(moment // 1) + offset, 86400)
    year, month, day = _civil(days)
    hours, minutes = divmod(abs(offset) // 60, 60)
    zone = f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}" if offset else "Z"
    return f"{year:04}-{month:02}-{day:02}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{zone}"


def _civil(days: int) -> tuple[int, int, int]:
    """(year, month, day) of a number of days since the epoch. Years begin in March here, so that a leap day ends one."""
    era, day = divmod(days + 719468, 146097)  # 400 years
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    march_first = month + 3 if month < 10 else month - 9
    return year + 400 * era + (march_first <= 2), march_first, day - (153 * month + 2) // 5 + 1


def text_line(level: str, message: str, moment: float, offset: int) -> str:
    """One line as logrus' TextFormatter writes it; whatever `message` holds, it stays one line."""
    return f'time="{rfc3339(moment, offset)}" level={level} msg={log_value(message)}\n'
