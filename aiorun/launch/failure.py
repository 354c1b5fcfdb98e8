"""Why there is no init. Not in aiorun.errors: who asks for an init makes an InitFailed of it, in its own words."""

from __future__ import annotations


class SpawnFailed(Exception):
    """There is no init: `text` says what could not be done, `errno` why (0: the text says that, too)."""

    def __init__(self, text: str, errno: int = 0) -> None:
        super().__init__(text)
        self.text, self.errno = text, errno
        self.ended: tuple[int, ...] = ()  # pidfds of processes that were made for it, and that have to be reaped
