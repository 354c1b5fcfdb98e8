"""events: what a container uses and what befalls it, while it lives."""

from __future__ import annotations

import os
import time

from aiorun.cgroups import oom
from aiorun.cgroups.stats import stats as _stats
from aiorun.errors import InvalidState
from aiorun.runtime import status as states
from aiorun.runtime.process import open_init
from aiorun.undo import Undo
from aiorun.waiter import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aiorun.cgroups.oom import OomWatch
    from aiorun.store import State, Store
    from aiorun.waiter import Waiter

    Event = dict[str, Any]


def stats(store: Store, id: str) -> Event:
    """A "stats" event of now. Raises ContainerNotFound, InvalidState, AiorunError."""
    return stats_event(_living(store, id))


def stats_event(state: State) -> Event:
    """A "stats" event of this container."""
    return {"type": "stats", "id": state.id, "data": _stats(state.cgroup_paths)}


def oom_watch(state: State) -> OomWatch | None:
    """A watch on this container's kills for want of memory; None without a memory controller. Raises CgroupError."""
    return oom.watch(state.cgroup_paths)


async def events(store: Store, id: str, tell: Callable[[Event], None], *, interval: float, waiter: Waiter) -> None:
    """Tell of the container until it ends: "stats" each `interval` seconds, "oom" for each kill for want of memory.

    Raises ContainerNotFound, InvalidState, CgroupError, and what `tell` raises.
    """
    state = _living(store, id)
    with Undo() as closing:
        pidfd = open_init(state)
        if pidfd < 0:
            raise _not_running(id)
        closing.add(lambda: os.close(pidfd))
        watch = oom_watch(state)
        if watch is not None:
            closing.add(watch.close)
        waits = {pidfd: POLLIN} | ({watch.fd: watch.events} if watch is not None else {})
        next_stats = time.monotonic() + interval
        ready: dict[int, int] = {}
        while pidfd not in ready:
            ready = await waiter.wait_any(waits, max(0.0, next_stats - time.monotonic()))
            for _ in range(watch.take() if watch is not None else 0):
                tell({"type": "oom", "id": id})
            if watch is not None and watch.gone:
                waits = {pidfd: POLLIN}
            if not ready:
                tell(stats_event(state))
                next_stats += interval


def _living(store: Store, id: str) -> State:
    with store.open(id) as directory:
        state = directory.read()
    if states.status(state) == states.STOPPED:
        raise _not_running(id)
    return state


def _not_running(id: str) -> InvalidState:
    return InvalidState(f"container with id {id} is not running")
