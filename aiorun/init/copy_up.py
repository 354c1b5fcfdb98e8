"""tmpcopyup: a tmpfs that begins with what it covers. Loaded for plans that have one alone.

What is copied is the image's, and another container may be changing it meanwhile: each file is opened without following a link,
looked at, and only then used, by its fd.
"""

from __future__ import annotations

import os
import stat

from aiorun.init import mounts, root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops

_ENOTSUP, _EPERM = 95, 1
_CHUNK = 1 << 24


def copy_up(init: Init, step: ops.CopyUp) -> None:
    tree, covered = mounts.attach(init, step)
    try:
        _copy_content(init.procfs, covered, tree)
    finally:
        os.close(covered)
    mounts.finish(init, tree, step, flags_done=True)


def _copy_content(procfs: int, source: int, target: int) -> None:
    """Everything that is in the directory `source`, with owner, mode, times and extended attributes."""
    listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for name in os.listdir(listing):
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=listing)
            try:
                _copy(procfs, found, target, name)
            finally:
                os.close(found)
    finally:
        os.close(listing)


def _copy(procfs: int, found: int, target: int, name: str) -> None:
    """The file `found` as `target`/`name`, of which nobody else knows yet."""
    status = os.fstat(found)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        _copy_directory(procfs, found, target, name)
    elif kind == stat.S_IFREG:
        _copy_file(procfs, found, target, name)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink("", dir_fd=found), name, dir_fd=target)  # readlinkat(2): "" means the O_PATH fd itself
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    elif kind != stat.S_IFSOCK:  # nobody listens at a copy
        os.mknod(name, kind | 0o600, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)


def _copy_directory(procfs: int, found: int, target: int, name: str) -> None:
    os.mkdir(name, 0o700, dir_fd=target)
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
    try:
        _copy_content(procfs, found, made)
        source = root.reopen(procfs, found, os.O_RDONLY)
        try:
            _copy_attributes(source, made)
        finally:
            os.close(source)
    finally:
        os.close(made)


def _copy_file(procfs: int, found: int, target: int, name: str) -> None:
    source = root.reopen(procfs, found, os.O_RDONLY)
    try:
        made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while os.sendfile(made, source, None, _CHUNK):  # from where it is to the end, which the image's owner may move
                pass
            _copy_attributes(source, made)
        finally:
            os.close(made)
    finally:
        os.close(source)


def _copy_attributes(source: int, target: int) -> None:
    """Owner, mode, extended attributes as far as a tmpfs takes them, and at last the times."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))  # after the owner, who takes setuid away
    for name in _attribute_names(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (_ENOTSUP, _EPERM):
                raise
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _attribute_names(source: int) -> list[str]:
    try:
        return os.listxattr(source)
    except OSError as error:
        if error.errno != _ENOTSUP:
            raise
        return []
