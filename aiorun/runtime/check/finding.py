"""One line of `aiorun check`."""

from __future__ import annotations

import os

from aiorun.wire.record import Record

# There; not there, which does no harm here; not there, and asked for.
OK, ABSENT, NEEDED = "ok", "absent", "needed"


class Finding(Record):
    """What was looked at, what was found, and what to do about it where it isn't as it should be.

    `at` are the JSON paths of config.json that ask for it.
    """

    name: str
    found: str
    status: str = OK
    remedy: str = ""
    at: tuple[str, ...] = ()


def words(errno: int) -> str:
    """An errno's text as our errors have it."""
    text = os.strerror(errno)
    return text[:1].lower() + text[1:]
