"""The container's terminal, made from its own devpts."""

from __future__ import annotations

import os
import stat

from aiorun.init import root
from aiorun.init.state import StepFailed
from aiorun.linux import mount, socket, terminal
from aiorun.linux.file import DEVPTS_SUPER_MAGIC, filesystem_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops


def make_console(init: Init, step: ops.MakeConsole) -> None:
    """A pty on 0, 1, 2 and /dev/console. Its master leaves over the console socket: one message, one fd, then closed."""
    master = _open_master(init, step)
    terminal.unlock(master)
    peer = terminal.open_peer(master)  # by the master, never by a path (CVE-2025-52565)
    if step.rows or step.columns:
        terminal.set_size(master, step.rows, step.columns)
    if step.mount:
        _put_on_dev_console(init, peer)
    os.fchown(peer, step.uid, -1)  # the group is devpts' gid option's affair
    terminal.make_controlling(peer)
    for fd in (0, 1, 2):
        os.dup2(peer, fd)
    os.close(peer)
    _hand_over(init.files.pop(step.fd), master)
    os.close(master)


def _open_master(init: Init, step: ops.MakeConsole) -> int:
    """/dev/pts/ptmx, if it is what it should be: the container's own, since its number counts in its own devpts."""
    ptmx = root.resolve(init.root, "/dev/pts/ptmx", no_symlinks=True)
    try:
        found = os.fstat(ptmx)
        if filesystem_type(ptmx) != DEVPTS_SUPER_MAGIC or not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(5, 2):
            raise StepFailed(f"{step.complaint()}: /dev/pts/ptmx of the container is not a terminal master")
        return root.reopen(init.procfs, ptmx, os.O_RDWR | os.O_NOCTTY)
    finally:
        os.close(ptmx)


def _put_on_dev_console(init: Init, peer: int) -> None:
    target = root.make(init.root, "/dev/console", directory=False, no_symlinks=True)
    tree = mount.open_tree(peer, "", clone=True)
    mount.move_mount(tree, target)
    os.close(tree)
    os.close(target)


def _hand_over(fd: int, master: int) -> None:
    """Exactly one fd, with a payload (conmon and go-runc want at least a byte of it)."""
    console = socket.stream(fd)
    socket.send(console, b"/dev/ptmx", (master,))
    console.close()
