"""A Spec and this host → the plan of a container's init, and the cgroup that it will have."""

from __future__ import annotations

import os

from aiorun import cgroups
from aiorun.plan import Hierarchy, Request, compile_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from aiorun.plan import Plan
    from aiorun.runtime.create import Options
    from aiorun.spec.types import Spec
    from aiorun.waiter import Waiter

_LITTLE = 4 * 2**20


async def compile_for(
    id: str, spec: Spec, bundle: str, options: Options, *, console: bool, waiter: Waiter
) -> tuple[Plan, cgroups.Cgroup]:
    """The plan of a container on this host, and the cgroup that it would have. Raises InvalidSpec, CgroupError."""
    request, cgroup = await request_for(id, spec, bundle, options, console=console, waiter=waiter)
    return compile_plan(spec, request), cgroup


async def request_for(
    id: str, spec: Spec, bundle: str, options: Options, *, console: bool, waiter: Waiter
) -> tuple[Request, cgroups.Cgroup]:
    """What a plan has to know of this host, and the cgroup that the container would have. Raises CgroupError."""
    host = cgroups.layout()
    linux = spec.get("linux", {})
    cgroups_path = linux.get("cgroupsPath")
    if options.systemd_cgroup:
        cgroup = await cgroups.locate_unit(host, cgroups_path, id, waiter)
    else:
        cgroup = cgroups.locate(host, cgroups_path, id)
    controllers = tuple(cgroup.paths)
    if options.rootless and cgroup.unit is None:
        from aiorun.cgroups.rootless import keep_permitted

        keep_permitted(cgroup, host, cgroups_path, linux.get("resources") or {})
        if not cgroup.paths:
            cgroup = cgroups.load({})  # nothing is in it
    net_devices = linux.get("netDevices")
    request = Request(
        id=id,
        bundle=bundle,
        hierarchies=_hierarchies(host, cgroup, controllers) if host.version == cgroups.V1 else (),
        unified=cgroup.paths.get("", "") if host.version == cgroups.V2 else "",
        outside=host.version == cgroups.V2 and not cgroup.paths,
        little_memory=cgroup.unit is None and has_little_memory(spec),  # systemd makes the unit around the init
        console=console,
        rows=options.rows,
        columns=options.columns,
        no_pivot=options.no_pivot,
        no_new_keyring=options.no_new_keyring,
        preserve=options.preserve,
        **(_net_devices(net_devices) if net_devices else {}),
    )
    return request, cgroup


def _net_devices(devices: Iterable[str]) -> dict[str, Any]:
    from aiorun.runtime.net_devices import look_up, prefix

    return {"net_devices": look_up(devices), "net_prefix": prefix()}


def has_little_memory(spec: Spec) -> bool:
    """Whether the limit is so low that the init's own pages must not count: a fork copies 1.5 MB up to the program's start."""
    memory = (spec.get("linux", {}).get("resources") or {}).get("memory") or {}
    return 0 < memory.get("limit", 0) < _LITTLE


def _hierarchies(host: cgroups.Layout, cgroup: cgroups.Cgroup, names: tuple[str, ...]) -> tuple[Hierarchy, ...]:
    """The v1 hierarchies as a container's cgroup mount shows them: one for each that is mounted, with all its controllers."""
    controllers: dict[str, list[str]] = {}
    for name in names:
        if name:
            controllers.setdefault(host.hierarchies[name].mount_point, []).append(name)
    return tuple(
        Hierarchy(os.path.basename(mount_point), ",".join(names), cgroup.paths[names[0]])
        if names[0] in cgroup.paths
        else Hierarchy(os.path.basename(mount_point), ",".join(names), cgroups.own_directory(host, names[0]), joined=False)
        for mount_point, names in controllers.items()
    )
