"""Copies of mounts whose ids are mapped: made before the clone, since it takes the rights of the file system's owner.

mount_setattr(2), "ID-mapped mounts"; the map is that of a user namespace, which somebody has to be in while we take hold of it.
"""

from __future__ import annotations

import os

from aiorun.launch.failure import SpawnFailed
from aiorun.linux import mount, process
from aiorun.linux.pidfd import pidfd_send_signal, reap
from aiorun.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiorun.wire.plan import IdMap, MappedTree, Plan

_KILL, _EINVAL = 9, 22


def make_trees(plan: Plan, files: Mapping[str, int]) -> dict[str, int]:
    """The fds of `plan.trees` by name, which are the caller's to close. `files` has the user namespaces that are joined.

    Raises SpawnFailed.
    """
    made: dict[str, int] = {}
    with Undo() as undo:
        for tree in plan.trees:
            made[tree.name] = _make(tree, files, undo)
        undo.commit()
    return made


def _make(tree: MappedTree, files: Mapping[str, int], undo: Undo) -> int:
    try:
        copy = mount.open_tree(mount.AT_FDCWD, tree.source, clone=True, recursive=tree.recursive)
    except OSError as error:
        raise SpawnFailed(f'mount "{tree.source}" ({tree.at})', error.errno or 0) from None
    undo.add(lambda: os.close(copy))
    what = f'map the ids of the mount "{tree.source}" ({tree.at})'
    try:
        users = os.dup(files[tree.users]) if tree.users else _user_namespace(tree.uid_map, tree.gid_map)
        try:
            mount.mount_setattr(copy, set=mount.MOUNT_ATTR_IDMAP, users=users, recursive=tree.map_all)
        finally:
            os.close(users)
    except OSError as error:
        hint = " (not every file system lets its ids be mapped)" if error.errno == _EINVAL else ""
        raise SpawnFailed(what + hint, error.errno or 0) from None
    return copy


def _user_namespace(uid_map: IdMap, gid_map: IdMap) -> int:
    """The fd of a new user namespace with these maps. Raises OSError."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = process.clone(process.CLONE_NEWUSER)
    if pid == 0:
        _wait_to_be_killed(ours, theirs)
    try:
        for name, maps in (("gid_map", gid_map), ("uid_map", uid_map)):
            fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, "".join(f"{inside} {outside} {count}\n" for inside, outside, count in maps).encode())
            finally:
                os.close(fd)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        pidfd_send_signal(pidfd, _KILL)
        reap(pidfd)
        for fd in (ours, theirs, pidfd):
            os.close(fd)


def _wait_to_be_killed(reading: int, writing: int) -> None:
    """In the process that is the namespace's only one. Should its maker die, it ends by itself."""
    try:
        process.set_dumpable(False)
        os.close(writing)
        os.read(reading, 1)
    finally:
        os._exit(0)
