"""pause and resume: all processes of a container stopped where they are, and let go on, by the freezer of its cgroup."""

from __future__ import annotations

from aiorun import cgroups
from aiorun.errors import CgroupError, ContainerNotFound, InvalidState
from aiorun.runtime import status as states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.store import Directory, State, Store
    from aiorun.waiter import Waiter


async def pause(store: Store, id: str, *, waiter: Waiter, created: str = "") -> None:
    """Stop all processes of a created or running container; returns when they have stopped.

    With `created` only the container that was created then. On an error and on a cancel it isn't paused.
    Raises ContainerNotFound, InvalidState ("container not running"), CgroupError.
    """
    with store.open(id) as directory:
        state = _read(directory, created)
        if states.status(state) not in (states.CREATED, states.RUNNING):
            raise InvalidState("container not running")
        cgroup = cgroups.load(state.cgroup_paths)
        await cgroup.freeze(waiter)
        try:
            with directory.locked():  # a delete that began meanwhile has thawed it already, and waits for its processes to die
                directory.check_not_removing()
        except BaseException:
            cgroup.thaw_quietly()
            raise


def resume(store: Store, id: str, *, created: str = "") -> None:
    """Let the processes of a paused container go on. With `created` only the container that was created then.

    Raises ContainerNotFound, InvalidState ("container not paused"), CgroupError, also where a cgroup above it is frozen.
    """
    with store.open(id) as directory:
        state = _read(directory, created)
        if states.status(state) != states.PAUSED:
            raise InvalidState("container not paused")
        cgroup = cgroups.load(state.cgroup_paths)
        cgroup.thaw()
        if cgroup.frozen():
            raise CgroupError("thaw the container's cgroup: a cgroup above it is frozen")


def _read(directory: Directory, created: str) -> State:
    state = directory.read()
    if created and state.created != created:
        raise ContainerNotFound(directory.id)
    return state
