"""What bind mounts and the root are made of, where the root of a container's user namespace may not get there himself."""

from __future__ import annotations

import os

from aiorun.linux.file import RESOLVE_IN_ROOT, openat2
from aiorun.wire.protocol import LIMIT, Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.runtime.init import Child
    from aiorun.wire.plan import Plan


async def hand_over(init: Child, plan: Plan, procfs: int) -> None:
    """Find `plan.sources` with our own rights, but in the init's mounts, and give them to it. Raises InitFailed.

    In its mounts, since those of ours can't be mounted there, and it's theirs whose flags the container can't take back. What we
    don't find, or can't before Linux 5.6 (openat2), the init looks for itself, and tells.
    """
    try:
        root = os.open(f"{init.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=procfs)
    except OSError:
        return
    try:
        for path in plan.sources:
            await _hand_over(init, path, root)
    finally:
        os.close(root)


async def _hand_over(init: Child, path: str, root: int) -> None:
    if len(path) > LIMIT // 8:  # a character of JSON may take six
        return
    try:
        found = openat2(root, path, os.O_PATH, resolve=RESOLVE_IN_ROOT)
    except OSError:
        return
    try:
        await init.say(Found(path), found)
    finally:
        os.close(found)
