"""The rarer namespaces: of users, where the init becomes root, and of time."""

from __future__ import annotations

import os

from aiorun.init.identity import set_groups
from aiorun.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops


def become_root(init: Init, step: ops.BecomeRoot) -> None:
    set_groups(init, ())
    process.set_gid(0)
    process.set_uid(0)
    process.set_dumpable(False)  # prctl(2): a change of ids makes it what fs.suid_dumpable says


def unshare_ipc(init: Init, step: ops.UnshareIpc) -> None:
    process.unshare(process.CLONE_NEWIPC)


def make_time_namespace(init: Init, step: ops.MakeTimeNamespace) -> None:
    """unshare(2) makes it for our children alone, and no offset can be set once somebody is in it. time_namespaces(7)."""
    process.unshare(process.CLONE_NEWTIME)
    lines = [f"{clock} {seconds} {nanoseconds}\n" for clock, seconds, nanoseconds in step.offsets]
    if lines:
        fd = _open_offsets(init)
        try:
            os.write(fd, "".join(lines).encode())
        finally:
            os.close(fd)
    fd = os.open("self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC, dir_fd=init.procfs)
    process.setns(fd, process.CLONE_NEWTIME)
    os.close(fd)


def _open_offsets(init: Init) -> int:
    """A process that isn't dumpable has its /proc owned by the host's root. proc(5)."""
    try:
        return os.open("self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC, dir_fd=init.procfs)
    except PermissionError:
        pass
    process.set_dumpable(True)  # nobody else is in our namespaces yet
    try:
        return os.open("self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC, dir_fd=init.procfs)
    finally:
        process.set_dumpable(False)
