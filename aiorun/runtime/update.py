"""update: other limits for a container that is there."""

from __future__ import annotations

from aiorun import cgroups
from aiorun.cgroups.restore import Before
from aiorun.errors import ContainerNotFound, InvalidState
from aiorun.runtime import status as states
from aiorun.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aiorun.spec.types import IntelRdt, Resources
    from aiorun.store import Directory, State, Store
    from aiorun.waiter import Waiter


async def update(
    store: Store, id: str, changes: Resources, *, waiter: Waiter, rdt: IntelRdt | None = None, created: str = ""
) -> None:
    """Set the limits that `changes`, checked by `spec.check_resources`, names; the others stay. All of them, or none.

    Zero leaves a limit as it is, -1 takes it away. Device rules are left out: CRI's updates deny everything. What was changed is
    recorded in the state. `rdt` has new schemata for a container with linux.intelRdt.
    With `created` only the container that was created then.
    Raises ContainerNotFound, InvalidState, CgroupError.
    """
    before = Before()
    with store.open(id) as directory:
        with directory.locked(), Undo() as undo:
            undo.add(before.write_back)
            cgroup = _apply(directory, changes, before, created)
            if cgroup.unit is None:
                _record(directory, changes, rdt)
            undo.commit()
        if cgroup.unit is not None:
            with Undo() as undo:
                undo.add(before.write_back)
                await waiter.shield(cgroup.inform(changes, waiter))  # no lock is held while we wait
                with directory.locked():
                    _apply(directory, changes, before, created)
                    _record(directory, changes, rdt)
                undo.commit()


def _apply(directory: Directory, changes: Resources, before: Before, created: str) -> cgroups.Cgroup:
    """Write the limits into the cgroup's files. To be called within `locked`."""
    state = directory.read()
    if created and state.created != created:
        raise ContainerNotFound(directory.id)
    now = states.status(state)
    if now in (states.STOPPED, states.CREATING):
        raise InvalidState("container not running")
    directory.check_not_removing()
    cgroup = cgroups.load(state.cgroup_paths, state.unit)
    cgroup.apply(changes, update=True, before=before)
    return cgroup


def _record(directory: Directory, changes: Resources, rdt: IntelRdt | None) -> None:
    """The last steps: what can't be taken back, and what is remembered."""
    state = directory.read()
    if rdt:
        _set_schemata(state, rdt)
    directory.write(state.replace(updated=_merged(state.updated, changes)))


def _set_schemata(state: State, rdt: IntelRdt) -> None:
    if not state.resctrl:
        raise InvalidState("the container has no group of its own in resctrl: its config.json has no linux.intelRdt")
    from aiorun.cgroups import resctrl

    resctrl.make(rdt, resctrl.Group(**state.resctrl))


def _merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What was changed so far. A member that asks for nothing changes nothing; arrays are as they were asked for last."""
    merged = dict(before)
    for name, value in changes.items():
        if name == "devices" or value in (0, "", None, [], {}):
            continue
        merged[name] = _merged(before.get(name, {}), value) if isinstance(value, dict) else value
    return merged
