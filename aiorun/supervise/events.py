"""What happens to a supervisor's containers, as one stream: `async for event in runtime.events()`.

What the supervisor does itself is told by what does it. What comes from outside, the end of a program and the want of memory, is
seen by a Watch, one for each container while there is a stream.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import trio

from aiorun.errors import AiorunError
from aiorun.runtime import events as runtime_events
from aiorun.runtime import status as states
from aiorun.supervise.exit import Exit
from aiorun.trio_waiter import TrioWaiter
from aiorun.waiter import POLLIN
from aiorun.wire.record import Record

if TYPE_CHECKING:
    from types import TracebackType

    from aiorun.supervise.container import Container

_KEPT = 10_000
"""Events that a stream keeps for a reader that is slow. What comes on top is counted, and told as Missed."""


class Event(Record):
    """Something that happened to the container `id`."""

    id: str


class Created(Event):
    """It was created; its program waits for `start`."""


class Started(Event):
    """Its program runs, and the poststart hooks have run."""


class Paused(Event):
    """All its processes stand still."""


class Resumed(Event):
    """They go on."""


class Oom(Event):
    """The kernel killed something in it for want of memory."""


class Exited(Event):
    """Its program ended."""

    exit: Exit


class Deleted(Event):
    """It's gone."""


class FailedHook(Event):
    """A hook of it failed: `error` is a sentence. Of a poststop hook this alone tells; the others raise HookFailed, too."""

    error: str


class Stats(Event):
    """What it has used so far: `data` as `aiorun events` prints it, CPU time in nanoseconds and memory in bytes."""

    data: dict[str, Any]

    @property
    def cpu_seconds(self) -> float:
        seconds: float = self.data["cpu"]["usage"].get("total", 0) / 1e9
        return seconds

    @property
    def memory_bytes(self) -> int:
        """In use now, the page cache with it."""
        used: int = self.data["memory"]["usage"].get("usage", 0)
        return used

    @property
    def processes(self) -> int:
        number: int = self.data["pids"].get("current", 0)
        return number


class Missed(Record):
    """Here `count` events are missing: the stream was read too slowly."""

    count: int


class Events:
    """A stream of events: `async for`, in any number of tasks. It begins when it is made, and ends with the Runtime or `close`.

    One of a single container ends after its Deleted. To be closed, or forgotten; `async with` closes it.
    """

    def __init__(self, hub: Hub, stats_every: float | None, only: Container | None) -> None:
        self._hub, self._only = hub, only
        self._kept: deque[Event | Missed] = deque()
        self._missed = 0
        self._ended = False
        self._readers = trio.lowlevel.ParkingLot()
        self._stats_every = inf if stats_every is None else stats_every
        self._next_stats = trio.current_time() + self._stats_every

    def put(self, event: Event) -> None:
        """An event has happened."""
        if self._ended or (self._only is not None and event.id != self._only.id):
            return
        if len(self._kept) >= _KEPT:
            self._missed += 1
        else:
            self._tell_missed()
            self._kept.append(event)
        if self._only is not None and isinstance(event, Deleted):
            self.close()
        self._readers.unpark_all()

    def _tell_missed(self) -> None:
        if self._missed:
            self._kept.append(Missed(self._missed))
            self._missed = 0

    def close(self) -> None:
        """No more events; those that have come can still be read."""
        self._ended = True
        self._hub.drop(self)
        self._readers.unpark_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Missed:
        """The next event, in the order in which they came. A checkpoint; a cancel loses none."""
        await trio.lowlevel.checkpoint()
        while True:
            if trio.current_time() >= self._next_stats:
                self._look()
            if not self._kept:
                self._tell_missed()
            if self._kept:
                return self._kept.popleft()
            if self._ended:
                raise StopAsyncIteration
            with trio.move_on_at(self._next_stats):
                await self._readers.park()

    def _look(self) -> None:
        """Put the Stats of each container that lives."""
        self._next_stats = trio.current_time() + self._stats_every
        for container in [self._only] if self._only is not None else self._hub.living():
            if container.status not in (states.CREATING, states.STOPPED):
                self.put(stats_of(container))

    async def aclose(self) -> None:
        """`close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def stats_of(container: Container) -> Stats:
    """What it has used so far."""
    return Stats(container.id, runtime_events.stats_event(container.state)["data"])


class Hub:
    """Who tells of events, and who reads them. Both come and go."""

    def __init__(self) -> None:
        self._streams: WeakSet[Events] = WeakSet()
        self._containers: WeakSet[Container] = WeakSet()
        self._watching = False
        self._closed = False

    def add(self, container: Container) -> None:
        """A container whose events are told."""
        self._containers.add(container)
        if self._streams:
            container.watch()

    def living(self) -> list[Container]:
        return sorted(self._containers, key=lambda container: container.id)

    def tell(self, event: Event) -> None:
        """Put it into every stream."""
        for stream in tuple(self._streams):
            stream.put(event)
        if not self._streams:  # the last one may have been forgotten without having been closed
            self._unwatch()

    def open(self, *, stats_every: float | None = None, only: Container | None = None) -> Events:
        """A stream of what happens from now on: of one container, or of all."""
        stream = Events(self, stats_every, only)
        if self._closed:
            stream.close()
            return stream
        self._streams.add(stream)
        self._watching = True
        for container in tuple(self._containers):
            container.watch()
        return stream

    def drop(self, stream: Events) -> None:
        self._streams.discard(stream)
        if not self._streams:
            self._unwatch()

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.close()
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            for container in tuple(self._containers):
                container.unwatch()


class Watch:
    """Sees the end of a container's program, and kills for want of memory, while somebody reads of it.

    A system task: the container belongs to no nursery, and whoever reads may do so in any task. Owns what it waits for.
    """

    def __init__(self, hub: Hub, container: Container) -> None:
        self._hub, self._container = hub, container
        self._scope = trio.CancelScope()
        try:
            self._oom = runtime_events.oom_watch(container.state)
        except AiorunError:
            self._oom = None  # its end can be seen all the same
        trio.lowlevel.spawn_system_task(self._run)

    def cancel(self) -> None:
        self._scope.cancel()

    def tell_ooms(self) -> None:
        """Tell of the kills that weren't told yet."""
        for _ in range(self._oom.take() if self._oom is not None else 0):
            self._hub.tell(Oom(self._container.id))

    async def _run(self) -> None:
        waits = {} if self._oom is None else {self._oom.fd: self._oom.events}
        try:
            with self._scope, self._container.waited_for() as pidfd:
                ready: dict[int, int] = {}
                while pidfd not in ready:
                    ready = await TrioWaiter().wait_any({**waits, pidfd: POLLIN})
                    self.tell_ooms()
                    if self._oom is not None and self._oom.gone:
                        waits = {}
                self._container.ended()
        except Exception:  # noqa: BLE001, S110 - a system task's error would end the whole run; `wait` raises the same one
            pass
        finally:
            if self._oom is not None:
                self._oom.close()
                self._oom = None
