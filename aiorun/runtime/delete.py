"""delete: undo all that create made. runtime.md, "delete"."""

from __future__ import annotations

import os

from aiorun import cgroups
from aiorun.errors import AiorunError, CgroupError, ContainerNotFound, HookFailed, InvalidState
from aiorun.runtime import status as states
from aiorun.runtime.hooks import run_hooks
from aiorun.runtime.process import SIGKILL, await_death, open_init, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from aiorun.store import Directory, State, Store
    from aiorun.waiter import Waiter


_TICK = 0.01  # seconds after which a delete looks whether another one has finished


async def delete(
    store: Store, id: str, *, waiter: Waiter, force: bool = False, warn: Callable[[str], None] | None = None, created: str = ""
) -> None:
    """Remove a container: its process (created, or with `force` in any state), cgroup and directory; then the poststop hooks.

    A hook that fails is told to `warn` alone. With `created` only the container that was created then. Of two deletes the
    second waits for the first. Raises ContainerNotFound (not with `force`), InvalidState, AiorunError.
    """
    try:
        with store.open(id) as directory:
            await waiter.shield(_remove(directory, waiter=waiter, force=force, warn=warn, created=created))
    except ContainerNotFound:
        if not force:
            raise


async def destroy(directory: Directory, *, waiter: Waiter, warn: Callable[[str], None] | None = None) -> None:
    """Remove a container whatever state it is in, as `delete` with `force` does. Raises ContainerNotFound, AiorunError."""
    await _remove(directory, waiter=waiter, force=True, warn=warn)


async def _remove(
    directory: Directory, *, waiter: Waiter, force: bool, warn: Callable[[str], None] | None, created: str = ""
) -> None:
    right, state = await claim(directory, waiter=waiter, force=force, created=created)
    try:
        if state is not None:
            await _end(state, waiter)
            leave_resctrl(state.resctrl)
        with directory.locked():
            directory.remove()
    finally:
        os.close(right)
    if state is None:
        return
    try:
        await run_hooks(waiter, state, "poststop", states.STOPPED, pid=0)
    except HookFailed as failure:
        if warn is not None:
            warn(str(failure))


async def claim(directory: Directory, *, waiter: Waiter, force: bool, created: str = "") -> tuple[int, State | None]:
    """Take the right to remove the container (an fd to be closed), and its state at that moment.

    With `force` no state, or a broken one, is None: a killed create or delete left that. From here on no create and no start
    goes on with it. Waits while another one removes it. Raises ContainerNotFound once that is done, InvalidState, AiorunError.
    """
    while True:
        with directory.locked():
            state = _read(directory, force=force)
            if created and state is not None and state.created != created:
                raise ContainerNotFound(directory.id)  # another one has the id by now
            if not force and state is not None:
                _refuse_living(state)
            right = directory.mark_removing()
        if right >= 0:
            return right, state
        await waiter.sleep(_TICK)


def _read(directory: Directory, *, force: bool) -> State | None:
    try:
        return directory.read()
    except AiorunError:
        if not force:
            raise
        return None


def _refuse_living(state: State) -> None:
    now = states.status(state)
    if now not in (states.STOPPED, states.CREATED):
        raise InvalidState(f"cannot delete container {state.id} that is not stopped: {now}")


async def _end(state: State, waiter: Waiter) -> None:
    """Kill what is left of the container, and remove its cgroup."""
    cgroup = cgroups.load(state.cgroup_paths, state.unit)
    if not state.pid:  # no init was ever let into it: who is there is somebody else's
        await _remove_unused(cgroup, waiter)
        return
    pidfd = open_init(state)
    try:
        if pidfd >= 0:
            send(pidfd, SIGKILL)
        await cgroup.kill(SIGKILL, waiter)  # thaws it, without which no process of v1 dies
        if pidfd >= 0:
            await await_death(waiter, pidfd)
    finally:
        if pidfd >= 0:
            os.close(pidfd)
    await cgroup.remove(waiter)


def leave_resctrl(group: dict[str, str]) -> None:
    """Remove what a container has in resctrl for itself. Raises AiorunError."""
    if group:
        from aiorun.cgroups import resctrl

        resctrl.remove(resctrl.Group(**group))


async def _remove_unused(cgroup: cgroups.Cgroup, waiter: Waiter) -> None:
    try:
        await cgroup.remove(waiter)
    except CgroupError:
        pass
