"""The seccomp filter. What of ours a profile has to allow after it is in docs/security.md."""

from __future__ import annotations

import os

from aiorun.linux import process, seccomp
from aiorun.wire.protocol import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops


def load_seccomp(init: Init, step: ops.LoadSeccomp) -> None:
    """Load the program. From the next call on it decides on ours, too."""
    file = init.files.pop(step.fd)
    program = os.read(file, 8 * seccomp.LARGEST)
    os.close(file)
    flags = seccomp.NEW_LISTENER if step.listener else 0
    for name in step.flags:
        flags |= seccomp.FLAGS[name]
    if step.privileged:
        process.raise_effective_set()  # setuid has cleared it. SetCapabilities comes next, and makes it what it is to be
    # A parent without rights over us can take the listener only while we are dumpable. Nobody else sees us in a new pid
    # namespace; in another one our files would be open to whoever is the same user there: CVE-2016-9962.
    opened = step.listener and init.parent_is_user and os.getpid() == 1
    if opened:
        process.set_dumpable(True)
    listener = seccomp.load(program, flags)
    if step.listener:
        init.say(Listener(listener))
        init.await_proceed()
        os.close(listener)
    if opened:
        process.set_dumpable(False)
