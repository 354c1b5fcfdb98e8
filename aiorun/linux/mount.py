"""Mounts: the calls by fd of Linux 5.2 and later, and the old mount(2), umount2(2), pivot_root(2)."""

from __future__ import annotations

import os

from aiorun.linux._call import call, encode
from aiorun.linux.numbers import FSCONFIG, FSMOUNT, FSOPEN, MOUNT_SETATTR, MOVE_MOUNT, NUMBER, OPEN_TREE

AT_FDCWD = -100
AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW = 0x1000, 0x8000, 0x100
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, 0o2000000
FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC = 1, 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6

# mount(2)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC = 1, 2, 4, 8, 32, 4096, 8192, 16384
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8

# mount_setattr(2), fsmount(2)
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
MOUNT_ATTR_IDMAP = 0x100000

# MOUNT_ATTR_* → MS_* of mount(2), ST_* of statvfs(3)
_ATTRIBUTES = (
    (1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8),
    (0x10, 1024, 1024), (0x20, 1 << 24, 0), (0x80, 2048, 2048), (0x200000, 256, 0x2000),
)  # fmt: skip


def ms_flags(attributes: int) -> int:
    """MOUNT_ATTR_* as mount(2) has them."""
    return sum(flag for attribute, flag, _ in _ATTRIBUTES if attributes & attribute)


def attributes_of(mount: int) -> int:
    """The MOUNT_ATTR_* of the mount that the fd `mount` is on. statvfs(3)."""
    flags = os.fstatvfs(mount).f_flag
    strictatime = 0 if flags & (1024 | 4096) else 0x20  # neither noatime nor relatime
    return sum(attribute for attribute, _, flag in _ATTRIBUTES if flags & flag) | strictatime


def open_tree(directory: int, path: str, *, clone: bool = False, recursive: bool = False) -> int:
    """The mount at `path` as an fd; with `clone` a detached copy of it. open_tree(2)."""
    flags = OPEN_TREE_CLOEXEC | (OPEN_TREE_CLONE if clone else 0) | (AT_RECURSIVE if recursive else 0)
    return call(OPEN_TREE, directory, encode(path), flags | (0 if path else AT_EMPTY_PATH), path=path)


def move_mount(tree: int, target: int) -> None:
    """Attach the mount tree behind fd `tree` on the O_PATH fd `target`. move_mount(2)."""
    call(MOVE_MOUNT, tree, b"", target, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def move_mount_to(tree: int, path: str) -> None:
    """Attach the mount tree behind fd `tree` at `path`. move_mount(2)."""
    call(MOVE_MOUNT, tree, b"", AT_FDCWD, encode(path), MOVE_MOUNT_F_EMPTY_PATH, path=path)


def fsopen(kind: str) -> int:
    """A context in which a file system of type `kind` is configured. fsopen(2)."""
    return call(FSOPEN, encode(kind), FSOPEN_CLOEXEC, path=kind)


def fsconfig(context: int, key: str, value: str | None = None) -> None:
    """Set `key` to `value`, or as a flag. Values of 256 bytes and more are EINVAL. fsconfig(2)."""
    if value is None:
        call(FSCONFIG, context, _SET_FLAG, encode(key), 0, 0, path=key)
    else:
        call(FSCONFIG, context, _SET_STRING, encode(key), encode(value) + b"\0", 0, path=key)


def fsmount(context: int, *, attributes: int = 0) -> int:
    """Create what was configured, and mount it, detached, with MOUNT_ATTR_*. fsconfig(2), fsmount(2)."""
    call(FSCONFIG, context, _CMD_CREATE, 0, 0, 0)
    return call(FSMOUNT, context, FSMOUNT_CLOEXEC, attributes)


def mount_setattr(
    mount: int, *, set: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False, users: int = 0
) -> None:
    """Change the attributes of the mount behind fd `mount`; MOUNT_ATTR_IDMAP is by the user namespace `users`.

    mount_setattr(2), Linux 5.12.
    """
    attributes = b"".join([value.to_bytes(8, "little") for value in (set, clear, propagation, users)])
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    call(MOUNT_SETATTR, mount, b"", flags, attributes, 32)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    source_, kind_, data_ = (None if text is None else encode(text) + b"\0" for text in (source, kind, data))
    call(NUMBER["mount"], source_, encode(target), kind_, flags, data_, path=target)


def umount(path: str, *, flags: int = MNT_DETACH) -> None:
    """umount2(2)."""
    call(NUMBER["umount2"], encode(path), flags, path=path)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    call(NUMBER["pivot_root"], encode(new_root), encode(put_old), path=new_root)
