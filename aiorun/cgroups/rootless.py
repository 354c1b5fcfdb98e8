"""The cgroup of a container whose caller may not make one, or not everywhere: limits are refused, the rest is done without.

In runc's way: with `--rootless`, by default for whoever isn't root, or is root of a user namespace alone. What was asked for and
can't be had is an error: a limit, or a place (cgroupsPath).
"""

from __future__ import annotations

import os

from aiorun.cgroups.layout import UNIFIED, own_directory
from aiorun.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aiorun.cgroups.cgroup import Cgroup, Resources
    from aiorun.cgroups.layout import Layout

# what each group of linux.resources needs on v1; on v2 it's the one hierarchy
_CONTROLLERS = {
    "memory": ("memory",), "cpu": ("cpu", "cpuset"), "pids": ("pids",), "blockIO": ("blkio",), "hugepageLimits": ("hugetlb",),
    "network": ("net_cls", "net_prio"), "rdma": ("rdma",), "unified": (),
}  # fmt: skip


def keep_permitted(cgroup: Cgroup, host: Layout, cgroups_path: str | None, resources: Resources) -> None:
    """Leave out of `cgroup` the hierarchies in which we may not make it.

    Raises CgroupError where one of those is asked for, by a limit or by linux.cgroupsPath.
    """
    denied = {name: path for name, path in cgroup.paths.items() if not _may_make(path, own_directory(host, name), name)}
    if not denied:
        return
    if cgroups_path:
        raise CgroupError(f"make cgroup {next(iter(denied.values()))} (linux.cgroupsPath): permission denied")
    for group, controllers in _CONTROLLERS.items():
        missing = [name for name in (*controllers, UNIFIED) if name in denied and (name or host.version == 2)]
        if missing and _asks(group, resources.get(group)):
            raise CgroupError(f"set linux.resources.{group}: make cgroup {denied[missing[0]]}: permission denied")
    for name in denied:
        del cgroup.paths[name]


def apply(cgroup: Cgroup, resources: Resources, devices: Sequence[Mapping[str, Any]] | None) -> None:
    """`cgroup.apply` of what is left. Device rules are the host's root's alone to set; nobody else makes devices, either."""
    if not cgroup.paths:
        return
    cgroup.apply({name: value for name, value in resources.items() if name != "devices"}, devices, update=True)
    try:
        cgroup.apply({"devices": resources.get("devices") or []}, devices)
    except CgroupError:
        if _is_hosts_root():
            raise


def _is_hosts_root() -> bool:
    with open("/proc/self/uid_map", "rb") as file:
        return os.geteuid() == 0 and file.read().split() == [b"0", b"0", b"4294967295"]


def _asks(group: str, value: Any) -> bool:
    """Whether there is anything in it but what means unset: zeros (not of pids, whose zero is a limit) and nothing."""
    if isinstance(value, dict):
        return any(_asks("", item) or (group == "pids" and item is not None) for item in value.values())
    if isinstance(value, list):
        return any(_asks("", item) for item in value)
    return bool(value)


def _may_make(path: str, own: str, name: str) -> bool:
    """Whether we may make this cgroup and move into it, which on v2 takes a right where the two ways part. cgroups(7)."""
    if name == UNIFIED and not os.access(f"{os.path.commonpath((own, path))}/cgroup.procs", os.W_OK):
        return False
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return os.access(path, os.W_OK | os.X_OK)
