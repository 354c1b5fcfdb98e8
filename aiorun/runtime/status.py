"""What state a container is in, seen at its process and its cgroup. runtime.md, "State"."""

from __future__ import annotations

from aiorun.cgroups import load
from aiorun.errors import CgroupError, reason
from aiorun.store import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.store import State, Store

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"


def status(state: State) -> str:
    """creating, created, running, paused or stopped.

    created means that the init never exec'd, whatever was last written down: a `start` that is killed half-way leaves no lie.
    """
    if not state.pid:
        return CREATING
    seen = identity(state)
    if seen is None or seen[0] in "ZX":
        return STOPPED
    if state.status == CREATING:
        return CREATING
    if _is_frozen(state):
        return PAUSED
    return CREATED if seen[1] and state.status == CREATED else RUNNING


def _is_frozen(state: State) -> bool:
    try:
        return load(state.cgroup_paths).frozen()
    except OSError as error:
        raise CgroupError(f'see whether "{state.id}" is paused: {reason(error)}') from None


def oom_killed(state: State) -> bool:
    """Whether the kernel killed something of the container for want of memory."""
    return load(state.cgroup_paths).oom_kills() > 0


def inspect(store: Store, id: str) -> dict[str, Any]:
    """What the `state` command prints of a container. Raises ContainerNotFound, AiorunError."""
    with store.open(id) as directory:
        return described(directory.read())


def described(state: State) -> dict[str, Any]:
    """The members of a state's JSON, in runc's order. runtime.md, "State"; rootfs, created and owner are runc's."""
    now = status(state)
    document = {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": 0 if now == STOPPED else state.pid,
        "status": now,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
    }
    if state.annotations:
        document["annotations"] = state.annotations
    return {**document, "owner": _name_of(state.owner)}


def _name_of(uid: int) -> str:
    import pwd  # only here: who looks a container up by name is seldom in a hurry

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
