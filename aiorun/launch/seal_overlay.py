"""Sealing by a read-only overlay of the binary's directory, at a place that all commands share.

    /run/aiorun-python/              root's, 0755
        lock                         held while anything below is changed
        empty/                       the overlay's second layer: without an upper one it needs two
        usr%2Fbin%2Fpython3.11       a link to the key of today's binary: what the start script goes through
        usr%2Fbin%2Fpython3.11@…/    the key: which file this was made of
            bin/                     the overlay
            lib                      a link to the real one, where a relocatable Python looks for its library

The copy costs nothing, since the page cache is shared; a writer gets EROFS, whatever it tries.
"""

from __future__ import annotations

import fcntl
import os

from aiorun.launch import sealed
from aiorun.launch.sealed import PLACE
from aiorun.linux import mount
from aiorun.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LIBRARIES = ("lib", "lib64")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTRIBUTES = mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV


def publish(binary: str) -> str:
    """The path of the sealed `binary`; made, under a lock, where it isn't there as it has to be. Raises OSError.

    It goes through the link, not the key: who runs from it still finds its library when Python is upgraded meanwhile.
    """
    key, name, program = sealed.key_of(binary, os.stat(binary)), sealed.name_of(binary), os.path.basename(binary)
    path = f"{PLACE}/{key}/bin/{program}"
    through_link = f"{PLACE}/{name}/bin/{program}"
    if _is_published(name, key, path):
        return through_link
    with Undo() as undo:
        place = _open_place(undo)
        _lock(place, undo)
        if not sealed.is_sealed_overlay(path, key):
            _make(binary, key, place)
        if not sealed.is_sealed_overlay(path, key):
            raise OSError(116, os.strerror(116), path)  # ESTALE: the binary was exchanged meanwhile
        _point(place, name, key)
        _remove_stale(place, name, key)
    return through_link


def find_out(binary: str) -> str:
    """Where `publish` has, or would have, the directory of the sealed `binary`. Leaves nothing. Raises OSError if it can't."""
    key = sealed.key_of(binary, os.stat(binary))
    path = f"{PLACE}/{key}/bin"
    if sealed.is_sealed_overlay(f"{path}/{os.path.basename(binary)}", key):
        return path
    with Undo() as undo:
        if os.path.lexists(PLACE):
            directory = _open_place(undo)
        else:
            directory = _open(os.path.dirname(PLACE), undo)
        trial = f".trial.{os.urandom(6).hex()}"
        os.mkdir(trial, dir_fd=directory)
        undo.add(lambda: os.rmdir(trial, dir_fd=directory))
        _overlay(_open(os.path.dirname(binary), undo), directory, undo)
    return path


def remove() -> None:
    """Take all sealed interpreters away, here and in every mount namespace that shows the same /run. Raises OSError.

    Commands that run from them go on, without the modules that they haven't imported; the next one makes a new one.
    """
    with Undo() as undo:
        if not os.path.lexists(PLACE):
            return
        place = _open_place(undo)
        _lock(place, undo)
        for name in os.listdir(place):
            if name != "lock":  # somebody may be waiting for it
                _take_away(place, name)


def _is_published(name: str, key: str, path: str) -> bool:
    try:
        return os.readlink(f"{PLACE}/{name}") == key and sealed.is_sealed_overlay(path, key)
    except OSError:
        return False


def _open(path: str, undo: Undo, *, directory: int | None = None) -> int:
    fd = os.open(path, _DIRECTORY, dir_fd=directory)
    undo.add(lambda: os.close(fd))
    return fd


def _open_place(undo: Undo) -> int:
    _make_directory(PLACE)
    place = _open(PLACE, undo)
    _refuse_unless_roots(place)
    return place


def _refuse_unless_roots(directory: int) -> None:
    if not sealed.is_roots_directory(os.fstat(directory)):
        raise PermissionError(1, os.strerror(1), PLACE)


def _make_directory(path: str, directory: int | None = None) -> None:
    try:
        os.mkdir(path, 0o755, dir_fd=directory)
    except FileExistsError:
        return
    os.chmod(path, 0o755, dir_fd=directory)  # whatever the umask is


def _lock(place: int, undo: Undo) -> None:
    # On a file of root's alone: a directory that all can read, all can lock.
    lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=place)
    undo.add(lambda: os.close(lock))
    fcntl.flock(lock, fcntl.LOCK_EX)


def _make(binary: str, key: str, place: int) -> None:
    """Everything of `key`, whatever was there before. The mount comes last, in one call: it is what makes it usable."""
    with Undo() as undo:
        home = _own_directory(place, key, undo)
        prefix = os.path.dirname(os.path.dirname(binary))
        for library in _LIBRARIES:
            if os.path.isdir(f"{prefix}/{library}"):
                _point(home, library, f"{prefix}/{library}".replace("//", "/"))
        target = f"{PLACE}/{key}/bin"
        _unmount(target)  # something else is, or what was made of another file
        bin = _own_directory(home, "bin", undo)
        tree = _overlay(_open(os.path.dirname(binary), undo), _own_directory(place, "empty", undo), undo)
        mount.move_mount(tree, bin)
        # Mounted where mounts are shared, it's shared too: it must not multiply from here into others' namespaces.
        mount.mount(None, target, None, mount.MS_PRIVATE)


def _overlay(directory: int, empty: int, undo: Undo) -> int:
    """A detached read-only overlay of `directory`; the fd of its mount. Linux Documentation/filesystems/overlayfs.rst."""
    context = mount.fsopen("overlay")
    undo.add(lambda: os.close(context))
    mount.fsconfig(context, "source", "aiorun-python")
    # By fd: values have at most 255 bytes, older kernels refuse commas in them, and colons would need escaping.
    mount.fsconfig(context, "lowerdir", f"/proc/self/fd/{directory}:/proc/self/fd/{empty}")
    tree = mount.fsmount(context, attributes=_ATTRIBUTES)
    undo.add(lambda: os.close(tree))
    return tree


def _own_directory(parent: int, name: str, undo: Undo) -> int:
    """The fd of a directory of root's; what else has its name is put aside."""
    _make_directory(name, parent)
    if not sealed.is_roots_directory(os.stat(name, dir_fd=parent, follow_symlinks=False)):
        _put_aside(parent, name)
        _make_directory(name, parent)
    return _open(name, undo, directory=parent)


def _put_aside(directory: int, name: str) -> None:
    """Renamed, not removed: what somebody mounted below it would be emptied with it."""
    os.rename(name, f".{name[:200]}.{os.urandom(6).hex()}", src_dir_fd=directory, dst_dir_fd=directory)


def _point(directory: int, name: str, target: str) -> None:
    """Make `name` a symlink to `target`, in one step."""
    try:
        if os.readlink(name, dir_fd=directory) == target:
            return
    except OSError:
        pass  # missing, or no link
    new = f".{name}.new"
    _remove(os.unlink, new, directory)  # of one who was killed here
    os.symlink(target, new, dir_fd=directory)
    try:
        os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
    except IsADirectoryError:
        _put_aside(directory, name)
        os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)


def _remove_stale(place: int, name: str, key: str) -> None:
    """What was made of this path's earlier files. Those of other Pythons are none of our business."""
    for entry in os.listdir(place):
        if entry.startswith(name + "@") and entry != key:
            _take_away(place, entry)


def _take_away(place: int, name: str) -> None:
    """Remove the key `name`, or the link, or the empty directory. What else is in there stays, and so does what it's in."""
    if not sealed.is_roots_directory(os.stat(name, dir_fd=place, follow_symlinks=False)):
        _remove(os.unlink, name, place)
        return
    _unmount(f"{PLACE}/{name}/bin")
    for library in _LIBRARIES:
        _remove(os.unlink, f"{name}/{library}", place)
    _remove(os.rmdir, f"{name}/bin", place)
    _remove(os.rmdir, name, place)


def _remove(call: Callable[..., None], name: str, directory: int) -> None:
    try:
        call(name, dir_fd=directory)
    except OSError:
        pass  # what stays is in nobody's way


def _unmount(path: str) -> None:
    """Detach all that is mounted on `path`. Who runs from it goes on."""
    try:
        while True:
            mount.umount(path, flags=mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)
    except OSError:
        pass  # EINVAL: nothing is mounted there; ENOENT; EPERM shows in what follows
