"""linux.intelRdt: the group of the resctrl file system that a container's processes are in. Loaded for containers with one alone.

config-linux.md, "IntelRdt"; Documentation/filesystems/resctrl.rst in the kernel. A group is a directory; its `schemata` takes
lines such as "L3:0=f;1=f0" and "MB:0=20", its `tasks` one pid a write. The directory `mon_groups` has groups that only count.
"""

from __future__ import annotations

import os

from aiorun.cgroups.files import read, read_or, write
from aiorun.errors import AiorunError, InvalidSpec, UnsupportedSpec, reason
from aiorun.linux import mountinfo
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_AT = "linux.intelRdt"


class Group(Record):
    """Where a container's processes are; `own` is the directory that goes with the container, empty where all are somebody's."""

    root: str
    path: str
    monitor: str = ""
    own: str = ""


def mount_point(text: str) -> str:
    """Where this mountinfo has a resctrl file system. Raises UnsupportedSpec."""
    for line in mountinfo.lines(text):
        mount, (kind, *_) = mountinfo.fields(line)
        if kind == "resctrl":
            return mount[4]
    raise UnsupportedSpec(_AT, "no resctrl file system is mounted on this host")


def locate(rdt: Mapping[str, Any], id: str) -> Group:
    """The group of container `id`, on this host. Nothing is made. Raises UnsupportedSpec, InvalidSpec."""
    return group(rdt, id, mount_point(read("/proc/self/mountinfo")))


def group(rdt: Mapping[str, Any], id: str, root: str) -> Group:
    """The group below `root`: the class that closID names, or one of the container's own. Raises InvalidSpec."""
    closid = rdt.get("closID", "")
    if closid != "/" and ("/" in closid or closid in (".", "..")):
        raise InvalidSpec(f"{_AT}.closID", "must be a file name, or / for the default group")
    path = root if closid == "/" else f"{root}/{closid or id}"
    monitor = f"{path}/mon_groups/{id}" if rdt.get("enableMonitoring") else ""
    return Group(root, path, monitor, monitor if closid else path)


def requests(rdt: Mapping[str, Any]) -> list[str]:
    """What is written to `schemata`, one write each: the two old members together, and last the new one."""
    cache, bandwidth = rdt.get("l3CacheSchema", ""), rdt.get("memBwSchema", "")
    lines = [line for line in cache.split("\n") if line and not (bandwidth and line.startswith("MB:"))]
    lines += [bandwidth] if bandwidth else []
    listed = [line for line in rdt.get("schemata") or [] if line]
    return ["".join(f"{line}\n" for line in part) for part in (lines, listed) if part]


def make(rdt: Mapping[str, Any], made: Group) -> None:
    """Make the group and set what it may use. One that closID names alone has to be there. Raises AiorunError."""
    wanted = requests(rdt)
    if made.path != made.root and (wanted or not rdt.get("closID")):
        _make_directory(made.path)
    elif not os.path.isdir(made.path):
        raise AiorunError(f'find the resctrl group "{made.path}" ({_AT}.closID): no such file or directory')
    for text in wanted:
        _write(made, f"{made.path}/schemata", text, "set the schemata of")
    if made.monitor:
        _make_directory(made.monitor)


def add(made: Group, pid: int) -> None:
    """Put a process into the group. Raises AiorunError."""
    for directory in (made.path, made.monitor):
        if directory:
            _write(made, f"{directory}/tasks", str(pid), "put the process into")


def remove(made: Group) -> None:
    """Remove what was the container's alone; the kernel puts who is left in it into the default group. Raises AiorunError."""
    if not made.own:
        return
    try:
        os.rmdir(made.own)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise AiorunError(f'remove the resctrl group "{made.own}" ({_AT}): {reason(error)}') from None


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise AiorunError(f'make the resctrl group "{path}" ({_AT}): {reason(error)}') from None


def _write(made: Group, file: str, text: str, verb: str) -> None:
    """The kernel says in a file of its own what it didn't like."""
    try:
        write(file, text)
    except OSError as error:
        said = read_or(f"{made.root}/info/last_cmd_status", "").strip()
        why = f"{reason(error)} ({said})" if said and said != "ok" else reason(error)
        raise AiorunError(f'{verb} the resctrl group "{made.path}" ({_AT}): {why}') from None
