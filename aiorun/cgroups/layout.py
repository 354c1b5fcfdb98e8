"""What this host has: which cgroup hierarchies, where they are mounted, and which cgroups of them we are in."""

from __future__ import annotations

import os

from aiorun.cgroups.files import read
from aiorun.errors import CgroupError, reason
from aiorun.linux.mountinfo import fields, lines
from aiorun.wire.record import Record

V1, V2 = 1, 2
UNIFIED = ""  # the name of the v2 hierarchy, as in /proc/PID/cgroup and in runc's state.json
SYSTEMD = "name=systemd"

# The v1 hierarchies that a container is put into, in runc's order (its other named ones are left alone).
# cpuset is first: it may refuse, and does so before anything else was made.
CONTROLLERS = (
    "cpuset", "devices", "memory", "cpu", "cpuacct", "pids", "blkio", "hugetlb",
    "net_cls", "net_prio", "perf_event", "freezer", "rdma", SYSTEMD, "misc",
)  # fmt: skip

_ROOT = "/sys/fs/cgroup"


class Hierarchy(Record):
    """One mounted hierarchy: where, and which of its cgroups shows there ("/" but in a container or a bind mount)."""

    mount_point: str
    root: str = "/"


class Layout(Record):
    """The host's cgroups: `version` V1 (hybrid too) or V2, the hierarchy of each controller, and our own cgroups.

    The v2 hierarchy is named "": on a V2 host it's the only one, in hybrid it stands beside the v1 controllers.
    """

    version: int
    hierarchies: dict[str, Hierarchy]
    own: dict[str, str]


def layout() -> Layout:
    """Read this host's layout from /proc/self. Raises CgroupError where no cgroup hierarchy is mounted."""
    try:
        mountinfo, own = read("/proc/self/mountinfo"), read("/proc/self/cgroup")
    except OSError as error:
        raise CgroupError(f"read {error.filename}: {reason(error)}") from None
    return parse(mountinfo, own)


def parse(mountinfo: str, own: str) -> Layout:
    """The layout that these texts of /proc/self/mountinfo and /proc/self/cgroup describe. proc(5), cgroups(7)."""
    v1: dict[str, Hierarchy] = {}
    v2: list[Hierarchy] = []
    mounts = [fields(line) for line in lines(mountinfo) if " - cgroup" in line or f" {_ROOT} " in line]
    top = _top([mount for mount, _ in mounts])
    for (number, parent, _, root, mount_point, *_), (kind, _, options) in mounts:
        if kind not in ("cgroup", "cgroup2") or not _is_visible(number, parent, mount_point, top):
            continue
        hierarchy = Hierarchy(mount_point, root)
        if kind == "cgroup2":
            v2.append(hierarchy)
        else:
            _add(v1, options, hierarchy)
    return _layout(v1, v2, own)


def _top(mounts: list[list[str]]) -> str:
    """The number of the mount that one sees at /sys/fs/cgroup: the one of those there that no other is mounted on; "" for none.

    Not the last line: since Linux 6.8 the lines are in the order of the mounts' making, and one that was moved is older.
    """
    here = {number: parent for number, parent, _, _, mount_point, *_ in mounts if mount_point == _ROOT}
    return next((number for number in here if number not in here.values()), "")


def _is_visible(number: str, parent: str, mount_point: str, top: str) -> bool:
    """Whether it isn't covered by another mount of /sys/fs/cgroup."""
    if mount_point == _ROOT:
        return number == top
    return not (top and mount_point.startswith(_ROOT + "/")) or parent == top


def _add(v1: dict[str, Hierarchy], options: str, hierarchy: Hierarchy) -> None:
    """The first mount of a controller counts, but one below /sys/fs/cgroup always goes before a copy elsewhere."""
    for name in options.split(","):
        if name not in CONTROLLERS and not name.startswith("name="):
            continue  # rw, xattr, release_agent=…
        if name not in v1 or (_is_usual(hierarchy) and not _is_usual(v1[name])):
            v1[name] = hierarchy


def _is_usual(hierarchy: Hierarchy) -> bool:
    return hierarchy.mount_point == _ROOT or hierarchy.mount_point.startswith(_ROOT + "/")


def _layout(v1: dict[str, Hierarchy], v2: list[Hierarchy], own: str) -> Layout:
    unified = next(filter(_is_usual, v2), v2[0] if v2 else None)
    cgroups = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        cgroups.update(dict.fromkeys(names.split(","), path))
    if unified and (not v1 or unified.mount_point == _ROOT):
        return Layout(V2, {UNIFIED: unified}, cgroups)
    if not v1:
        raise CgroupError("find the cgroup hierarchies: no cgroup file system is mounted")
    if unified and _is_usual(unified):
        v1[UNIFIED] = unified
    return Layout(V1, v1, cgroups)


def paths(host: Layout, cgroups_path: str | None, id: str) -> dict[str, str]:
    """The directory of container `id` in each hierarchy, keyed as runc keys `cgroup_paths`. Makes nothing.

    An absolute path counts from where the controller is mounted, a relative one from our own cgroup (on v2 from its
    parent, since a cgroup that has processes can't have children with controllers); unset means the relative path `id`.
    ".." never leads out.
    """
    wanted = cgroups_path or id
    inner = os.path.normpath("/" + wanted).lstrip("/")  # "/.." is "/": nothing leads out
    names = (UNIFIED,) if host.version == V2 else (*CONTROLLERS, UNIFIED)
    found = {}
    for name in names:
        hierarchy = host.hierarchies.get(name)
        if hierarchy is None:
            continue
        base = hierarchy.mount_point
        if not wanted.startswith("/"):
            own = _below(hierarchy.root, host.own.get(name, "/"))
            base = os.path.join(base, os.path.dirname(own) if host.version == V2 else own).rstrip("/")
        found[name] = f"{base}/{inner}" if inner else base
    return found


def own_directory(host: Layout, name: str) -> str:
    """The directory of the cgroup that we are in ourselves, in the hierarchy of the controller `name`."""
    hierarchy = host.hierarchies[name]
    return os.path.join(hierarchy.mount_point, _below(hierarchy.root, host.own.get(name, "/"))).rstrip("/")


def _below(root: str, cgroup: str) -> str:
    """Our own cgroup as a path below the mount, which may show only a part of the hierarchy (in a container)."""
    if root != "/" and (cgroup == root or cgroup.startswith(root + "/")):
        cgroup = cgroup[len(root) :]
    return "" if cgroup.startswith("/..") else cgroup.strip("/")  # "/..": outside of our cgroup namespace
