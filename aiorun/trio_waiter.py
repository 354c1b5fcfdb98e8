"""`TrioWaiter`: what a lifecycle waits through in the library, where hundreds of tasks wait on the same few descriptors.

trio allows one waiter for a descriptor and direction. So all waits of a trio run share one epoll of ours, whose own
descriptor trio waits for: one watcher tells all who wait, pidfds, fifos and terminals alike, and a wait is entered
and left by a system call each, with no task of its own that a cancellation could leave behind.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, TypeVar

import trio
from trio.lowlevel import Abort, RaiseCancelT, RunVar, Task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

T = TypeVar("T")

_ALWAYS = select.POLLHUP | select.POLLERR  # told unasked
_EVENTS = 0xFFFF & ~select.POLLNVAL  # poll(2)'s and epoll(7)'s events are the same numbers below EPOLL's own flags


class TrioWaiter:
    """A Waiter for tasks of a trio run. It has no state: make as many as you like.

    `wait_any` and `sleep` are checkpoints. A cancelled wait has left nothing behind once it raises, so the caller
    may close its descriptors at once; closing them while another task still waits for them is a fault, as in trio.
    """

    async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
        poll = select.poll()
        for fd, events in fds.items():
            poll.register(fd, events)
        if timeout is None:
            return await _ready(poll, fds)
        ready: dict[int, int] | None = None
        with trio.move_on_after(max(0, timeout)):
            ready = await _ready(poll, fds)
        return dict(poll.poll(0)) if ready is None else ready

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def shield(self, work: Awaitable[T]) -> T:
        parent = trio.lowlevel.current_task().parent_nursery
        if parent is not None and parent.parent_task is trio.lowlevel.current_root_task():
            return await _in_task_of_its_own(work)
        with trio.CancelScope(shield=True):
            result = await work
        return result  # noqa: RET504 - mypy: a return inside may be swallowed by the scope


@trio.lowlevel.enable_ki_protection
async def _in_task_of_its_own(work: Awaitable[T]) -> T:
    """Await `work` for the main task, into whose waits trio raises KeyboardInterrupt, shielded or not."""
    ended = trio.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    async def to_its_end() -> None:
        try:
            with trio.CancelScope(shield=True):
                results.append(await work)
        except BaseException as error:  # noqa: BLE001 - the main task raises it
            errors.append(error)
        ended.set()

    trio.lowlevel.spawn_system_task(to_its_end)
    while not ended.is_set():
        try:
            with trio.CancelScope(shield=True):
                await ended.wait()
        except KeyboardInterrupt as interrupt:
            errors.append(interrupt)
    for error in errors:
        raise error
    return results[0]


async def _ready(poll: select.poll, fds: Mapping[int, int]) -> dict[int, int]:
    if poll.poll(0):
        await trio.lowlevel.checkpoint()
    else:
        await _watch().wait(fds)
    while not (ready := poll.poll(0)):  # another task was faster
        await _watch().wait(fds)
    return dict(ready)


class _Wait:
    def __init__(self, task: Task, fds: Mapping[int, int]) -> None:
        self.task = task
        self.fds = {fd: events & _EVENTS | _ALWAYS for fd, events in fds.items()}


class _Watch:
    """The epoll that all waits of one trio run share, and the one task that waits for it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waits: dict[int, set[_Wait]] = {}
        self._masks: dict[int, int] = {}  # what is registered for each: at least what its waits want

    async def wait(self, fds: Mapping[int, int]) -> None:
        """Until one of `fds` was ready, just now at least."""
        wait = _Wait(trio.lowlevel.current_task(), fds)
        try:
            for fd in wait.fds:
                self._enter(wait, fd)
        except BaseException:
            self._leave(wait)
            raise

        def abort(_raise_cancel: RaiseCancelT) -> Abort:
            self._leave(wait)
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def run(self) -> None:
        """Wake who waits for what became ready, until the run ends."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for fd, events in self._epoll.poll(0):
                    self._wake(fd, events)
        finally:
            _current.set(None)
            self._epoll.close()

    def _wake(self, fd: int, events: int) -> None:
        waits = self._waits.get(fd, set())
        ready = [wait for wait in waits if wait.fds[fd] & events]
        for wait in ready:
            # It leaves here and not when it runs: a level that stays up would keep `run` busy until then.
            self._leave(wait)
            trio.lowlevel.reschedule(wait.task)
        if waits and not ready:  # who wanted this has left
            self._masks[fd] = 0
            for wait in waits:
                self._masks[fd] |= wait.fds[fd]
            self._epoll.modify(fd, self._masks[fd])

    def _enter(self, wait: _Wait, fd: int) -> None:
        waits = self._waits.setdefault(fd, set())
        waits.add(wait)
        old = self._masks.get(fd, 0)
        mask = self._masks[fd] = old | wait.fds[fd]
        try:
            if not old:
                self._epoll.register(fd, mask)
            elif mask != old:
                self._epoll.modify(fd, mask)
        except PermissionError:
            pass  # epoll_ctl(2): a regular file. poll(2) had it ready at once, unless for HUP alone, which never comes

    def _leave(self, wait: _Wait) -> None:
        for fd in wait.fds:
            waits = self._waits.get(fd)
            if waits is None:
                continue
            waits.discard(wait)
            if not waits:
                del self._waits[fd], self._masks[fd]
                try:
                    self._epoll.unregister(fd)
                except OSError:
                    pass  # a regular file was never in it; who closed a descriptor took it out


_current: RunVar[_Watch | None] = RunVar("aiorun watch", default=None)


def _watch() -> _Watch:
    watch = _current.get()
    if watch is None:
        watch = _Watch()
        _current.set(watch)
        trio.lowlevel.spawn_system_task(watch.run)
    return watch
