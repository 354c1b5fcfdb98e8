"""Waiting by blocking in poll(2): the Waiter of one-shot commands and of the init (aiorun.waiter has the interface)."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

POLLIN, POLLOUT, POLLHUP, POLLERR = select.POLLIN, select.POLLOUT, select.POLLHUP, select.POLLERR


class PollWaiter:
    """Waits by blocking in poll(2). Its coroutines never suspend."""

    async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
        poll = select.poll()
        for fd, events in fds.items():
            poll.register(fd, events)
        return dict(poll.poll(None if timeout is None else max(0, timeout) * 1000))

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def shield(self, work: Awaitable[T]) -> T:
        return await work


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that only ever waits through a PollWaiter to its end, and return its value."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise RuntimeError("the coroutine waited for something else than its PollWaiter")
