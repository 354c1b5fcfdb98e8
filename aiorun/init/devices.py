"""Device nodes and links below the container's root."""

from __future__ import annotations

import os
import stat

from aiorun.init import root
from aiorun.init.state import StepFailed
from aiorun.linux import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops


def make_device(init: Init, step: ops.MakeDevice) -> None:
    parent, name = root.make_parent(init.root, step.target)
    device = os.makedev(step.major, step.minor)
    before = os.umask(0)  # so that the node is born with its mode, and no name is used twice
    try:
        os.mknod(name, step.mode, device, dir_fd=parent)
        is_new = True
    except FileExistsError:
        is_new = False
    except PermissionError:  # in a user namespace nobody makes a device: capabilities(7), CAP_MKNOD
        os.close(parent)
        _bind_device(init, step)
        return
    finally:
        os.umask(before)
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    os.close(parent)
    try:
        status = os.fstat(found)
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(step.mode) or status.st_rdev != device:
            raise StepFailed(f"{step.complaint()}: a different file is there already")
        if is_new and (status.st_uid, status.st_gid) != (step.uid, step.gid):
            # By the fd that was looked at: another container may share the directory and have put its own file there.
            os.chown(f"self/fd/{found}", step.uid, step.gid, dir_fd=init.procfs)
    finally:
        os.close(found)


def _bind_device(init: Init, step: ops.MakeDevice) -> None:
    """The host's node of the same path, if it is the same device, mounted on an empty file. Owner and mode are the host's."""
    tree = mount.open_tree(mount.AT_FDCWD, step.target, clone=True)
    status = os.fstat(tree)
    if stat.S_IFMT(status.st_mode) != stat.S_IFMT(step.mode) or status.st_rdev != os.makedev(step.major, step.minor):
        raise StepFailed(f"{step.complaint()}: the host has another file there")
    target = root.make(init.root, step.target, directory=False)
    mount.move_mount(tree, target)
    os.close(tree)
    os.close(target)


def make_symlink(init: Init, step: ops.MakeSymlink) -> None:
    parent, name = root.make_parent(init.root, step.target)
    try:
        if step.replace:
            _remove(name, parent)
        os.symlink(step.text, name, dir_fd=parent)
    except FileExistsError:
        pass  # the image's own: as runc
    finally:
        os.close(parent)


def _remove(name: str, parent: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
