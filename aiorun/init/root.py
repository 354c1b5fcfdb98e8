"""Paths inside the container's root, by fd: nothing here follows a link or a `..` out of it.

openat2(2) does it in one call. Where that isn't there, or where what is missing has to be made, the path is walked
step by step with O_NOFOLLOW, each link expanded by hand.
"""

from __future__ import annotations

import os
import stat

from aiorun.linux.file import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_ENOENT, _EEXIST, _ENOTDIR, _ENOSYS, _ELOOP = 2, 17, 20, 38, 40
_MAX_LINKS = 40  # as the kernel's own limit
_O_PATH = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW


def resolve(root: int, path: str, *, no_symlinks: bool = False) -> int:
    """An O_PATH fd of `path` below `root`. Raises OSError."""
    how = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (RESOLVE_NO_SYMLINKS if no_symlinks else 0)
    try:
        return openat2(root, path, os.O_PATH, resolve=how)
    except OSError as error:
        if error.errno != _ENOSYS:
            raise
    return _Walk(root, no_symlinks=no_symlinks).to(path)


def make(root: int, path: str, *, directory: bool, no_symlinks: bool = False) -> int:
    """The same O_PATH fd, where what's missing on the way is made: directories, and last a directory or an empty file (0755)."""
    try:
        return resolve(root, path, no_symlinks=no_symlinks)
    except FileNotFoundError:
        pass
    try:
        return _make_last(root, path, directory=directory, no_symlinks=no_symlinks)
    except OSError:
        return _Walk(root, no_symlinks=no_symlinks, make="directory" if directory else "file").to(path)


def _make_last(root: int, path: str, *, directory: bool, no_symlinks: bool) -> int:
    """The usual case, in three calls: all but the last part is there. Raises OSError for any other, a link of that name too."""
    before, _, name = path.rpartition("/")
    parent = resolve(root, before or "/", no_symlinks=no_symlinks)
    try:
        _make_one(parent, name, directory=directory)
        return os.open(name, _O_PATH, dir_fd=parent)
    finally:
        os.close(parent)


def _make_one(parent: int, name: str, *, directory: bool) -> None:
    """A directory or an empty file that wasn't there before."""
    if directory:
        os.mkdir(name, 0o755, dir_fd=parent)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755, dir_fd=parent))


def make_parent(root: int, path: str) -> tuple[int, str]:
    """The directory that `path` is to lie in, made if missing, and the last part of `path`."""
    directory, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(_EEXIST, os.strerror(_EEXIST), path)
    return make(root, directory or "/", directory=True), name


def reopen(procfs: int, found: int, flags: int) -> int:
    """`found`, which resolve() gave and which was looked at since, opened for use; `procfs` is the host's. Raises OSError.

    Not opened at once: to open a device or a fifo is to do something to it, so its kind has to be known before.
    """
    return os.open(f"self/fd/{found}", flags | os.O_CLOEXEC, dir_fd=procfs)


def topmost(target: int) -> int:
    """An O_PATH fd of what is mounted on the directory `target`, whose own fd still shows what is below.

    No name is looked up again, which could be another file by now: `..` at a root stays there, but goes up to what covers it.
    """
    return openat2(target, "..", os.O_PATH, resolve=RESOLVE_IN_ROOT)


class _Walk:
    """One walk below a root: a stack of O_PATH fds, so that `..` is ours and never the kernel's."""

    def __init__(self, root: int, *, no_symlinks: bool, make: str = "") -> None:
        self._stack = [os.dup(root)]
        self._links_left = 0 if no_symlinks else _MAX_LINKS
        self._make = make
        self._left: list[str] = []

    def to(self, path: str) -> int:
        self._left = path.split("/")[::-1]
        try:
            while self._left:
                self._step(self._left.pop(), path)
            return self._stack.pop()
        finally:
            for fd in self._stack:
                os.close(fd)

    def _step(self, name: str, path: str) -> None:
        if name in ("", "."):
            return
        if name == "..":
            if len(self._stack) > 1:
                os.close(self._stack.pop())
            return
        fd = self._open(name)
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            self._stack.append(fd)
            return
        try:
            text = os.readlink("", dir_fd=fd)  # readlinkat(2): an empty path means the O_PATH fd itself
        finally:
            os.close(fd)
        self._links_left -= 1
        if self._links_left < 0:
            raise OSError(_ELOOP, os.strerror(_ELOOP), path)
        while text.startswith("/") and len(self._stack) > 1:
            os.close(self._stack.pop())
        self._left += text.split("/")[::-1]

    def _open(self, name: str) -> int:
        try:
            return os.open(name, _O_PATH, dir_fd=self._stack[-1])
        except FileNotFoundError:
            if not self._make:
                raise
        is_last = all(part in ("", ".") for part in self._left)
        try:
            _make_one(self._stack[-1], name, directory=self._make == "directory" or not is_last)
        except FileExistsError:
            pass  # somebody was quicker; what it is shows when it's opened
        return os.open(name, _O_PATH, dir_fd=self._stack[-1])
