"""delete: undo all that create made. runtime.md, "delete"."""

from __future__ import annotations

import os

from aiorun import cgroups
from aiorun.errors import AiorunError, ContainerNotFound, HookFailed, InvalidState
from aiorun.runtime import status as states
from aiorun.runtime.hooks import run_hooks
from aiorun.runtime.process import SIGKILL, kill, open_init, reap_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from aiorun.store import Directory, State, Store
    from aiorun.waiter import Waiter


async def delete(
    store: Store, id: str, *, waiter: Waiter, force: bool = False, warn: Callable[[str], None] | None = None
) -> None:
    """Remove a container: its process (created, or with `force` in any state), cgroup and directory; then the poststop hooks.

    A hook that fails is told to `warn` alone. Raises ContainerNotFound (not with `force`), InvalidState, AiorunError.
    """
    try:
        with store.open(id) as directory:
            state = _read(directory, force=force)
            if state is None:
                return
            now = states.status(state)
            if not force and now not in (states.STOPPED, states.CREATED):
                raise InvalidState(f"cannot delete container {id} that is not stopped: {now}")
            await waiter.shield(destroy(directory, state, waiter=waiter, warn=warn))
    except ContainerNotFound:
        if not force:
            raise


def _read(directory: Directory, *, force: bool) -> State | None:
    """The state. With `force` None where there's none or a broken one, which a killed create or delete left: that is removed."""
    try:
        return directory.read()
    except AiorunError:
        if not force:
            raise
        with directory.locked():
            try:
                return directory.read()
            except AiorunError:
                directory.remove()
                return None


async def destroy(directory: Directory, state: State, *, waiter: Waiter, warn: Callable[[str], None] | None = None) -> None:
    """Kill what is left of the container, remove its cgroup and directory, run the poststop hooks."""
    pidfd = open_init(state)
    if pidfd >= 0:
        try:
            await kill(waiter, pidfd)
            reap_child(pidfd)
        finally:
            os.close(pidfd)
    cgroup = cgroups.load(state.cgroup_paths)
    await cgroup.kill(SIGKILL, waiter)
    await cgroup.remove(waiter)
    with directory.locked():
        directory.remove()
    try:
        await run_hooks(waiter, state, "poststop", states.STOPPED, pid=0)
    except HookFailed as failure:
        if warn is not None:
            warn(str(failure))
