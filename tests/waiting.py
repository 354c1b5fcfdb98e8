"""Waiting for what becomes true by itself, without an event to wait for: look again, until a deadline that means "never"."""

from __future__ import annotations

import time
from collections.abc import Callable

NEVER = 30.0  # seconds: whatever takes this long doesn't come
_LOOK_AGAIN = 0.01


def until(condition: Callable[[], object], what: str, *, seconds: float = NEVER) -> None:
    """Return once `condition` is true. Raises TimeoutError, which says `what` didn't come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} seconds for {what}")
        time.sleep(_LOOK_AGAIN)
