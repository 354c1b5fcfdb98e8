"""How a lifecycle waits. Every lifecycle is written once, as `async def`, and waits only through a Waiter.

`PollWaiter` blocks in poll(2), so that a one-shot command drives the same coroutine to its end without trio
(`drive`). `aiorun.trio_waiter.TrioWaiter` is the other one, for the library.
"""

from __future__ import annotations

from aiorun.linux.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from typing import Protocol, TypeVar

    T = TypeVar("T")

    class Waiter(Protocol):
        """What a lifecycle may wait for."""

        async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
            """Wait until one of `fds` ({fd: poll(2) events}) is ready; {fd: revents} of those that are.

            Empty after `timeout` seconds (None: no limit). The revents may hold POLLHUP and POLLERR unasked.
            """

        async def sleep(self, seconds: float) -> None:
            """Wait `seconds`."""

        async def shield(self, work: Awaitable[T]) -> T:
            """Await `work` to its end even if the caller is cancelled meanwhile. For undoing, so keep it short."""


__all__ = ["POLLERR", "POLLHUP", "POLLIN", "POLLOUT", "PollWaiter", "Waiter", "drive"]
