"""What an init does that becomes criu: see aiorun.plan.restore."""

from __future__ import annotations

import fcntl
import os

from aiorun.linux import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops

_STANDARD = 3  # 0, 1, 2


def close_root(init: Init, step: ops.CloseRoot) -> None:
    os.close(init.root)
    init.root = -1
    mount.umount(step.source)


def hand_on(init: Init, step: ops.HandOn) -> None:
    """Every named file, the procfs too, first makes way, and the channel ends: its number may be one of those that are wanted."""
    init.leave_parent()
    first_free = _STANDARD + len(step.names)
    for name, fd in init.files.items():
        init.files[name] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first_free)
    for number, name in enumerate(step.names, _STANDARD):
        os.dup2(init.files[name], number)
