"""Control groups: v1, hybrid and v2 behind one interface.

host = layout()                                     # what this host has
cgroup = locate(host, "/parent/id", "id")           # pure: which directories; cgroup.paths goes into state.json
cgroup.create(); cgroup.apply(resources); cgroup.add(pid)
cgroup = load(paths)                                # a later command: kill, ps; load(paths, unit) for update, delete

With the systemd driver `await locate_unit(…)` finds it, and `await cgroup.enclose(pid, …)` stands between create and apply.
"""

from __future__ import annotations

from aiorun.cgroups.cgroup import Cgroup, Usage
from aiorun.cgroups.layout import UNIFIED, V1, V2, Layout, layout, own_directory
from aiorun.cgroups.layout import paths as _paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aiorun.waiter import Waiter

__all__ = ["UNIFIED", "V1", "V2", "Cgroup", "Layout", "Usage", "layout", "load", "locate", "locate_unit", "own_directory"]


def locate(host: Layout, cgroups_path: str | None, id: str) -> Cgroup:
    """The cgroup of container `id` with this `linux.cgroupsPath`. Nothing is made, nothing is read.

    See `aiorun.cgroups.layout.paths` for where it lies.
    """
    return _cgroup(_paths(host, cgroups_path, id), host)


async def locate_unit(host: Layout, cgroups_path: str | None, id: str, waiter: Waiter) -> Cgroup:
    """The same with the systemd driver, where cgroupsPath is `slice:prefix:name`. Raises CgroupError, InvalidSpec."""
    from aiorun.cgroups.systemd import cgroup as scopes

    return await scopes.locate(host, cgroups_path, id, waiter)


def load(paths: Mapping[str, str], unit: Mapping[str, Any] | None = None) -> Cgroup:
    """The cgroup whose `paths` were kept in state.json. Reads nothing.

    Whoever is going to update or remove it needs the `unit` from there too: systemd's, if it has one.
    """
    if unit:
        from aiorun.cgroups.systemd import Unit
        from aiorun.cgroups.systemd.cgroup import of_unit

        return of_unit(dict(paths), Unit(**unit))
    return _cgroup(dict(paths), None)


def _cgroup(paths: dict[str, str], host: Layout | None) -> Cgroup:
    if set(paths) == {UNIFIED} or (host and host.version == V2):
        from aiorun.cgroups.v2 import CgroupV2

        return CgroupV2(paths)
    from aiorun.cgroups.v1 import CgroupV1

    return CgroupV1(paths)
