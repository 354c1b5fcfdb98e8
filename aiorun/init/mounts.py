"""The file system of a container: its root, the mounts on it, and the step into it."""

from __future__ import annotations

import os
import stat

from aiorun.init import root
from aiorun.init.state import StepFailed
from aiorun.linux import mount as linux
from aiorun.linux import mountinfo
from aiorun.linux.file import PROC_SUPER_MAGIC, filesystem_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.init.state import Init
    from aiorun.wire import ops

_EINVAL, _ENOSYS, _ELOOP, _ENOTDIR, _ENODEV = 22, 38, 40, 20, 19

# What may be covered inside /proc, by lxcfs and its kind; anything else there is an attack on labels and masks (CVE-2019-16884).
_COVERABLE = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
        "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip


def set_propagation(init: Init, step: ops.SetPropagation) -> None:
    linux.mount(None, "/", None, step.flags)


def open_root(init: Init, step: ops.OpenRoot) -> None:
    if not step.bind:
        init.root = os.open(step.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return
    if step.shared:
        _make_parent_private(init, step.source)
    held = _held(init, step.source)
    if held < 0:
        tree = linux.open_tree(linux.AT_FDCWD, step.source, clone=True, recursive=True)
        linux.move_mount_to(tree, step.source)
    else:
        tree = linux.open_tree(held, "", clone=True, recursive=True)
        linux.move_mount(tree, held)
        os.close(held)
    init.root = tree


def _held(init: Init, source: str) -> int:
    """What the parent found at this path, from here on ours; -1 if there's nothing."""
    held = init.sources.get(source)
    return held.pop() if held else -1


def _make_parent_private(init: Init, path: str) -> None:
    """The mount that `path` lies on must not be shared, or the root's mounts would show outside, and pivot_root refuses."""
    points = [point for point, _kind, shared in _mounts(init) if shared and (path + "/").startswith(point.rstrip("/") + "/")]
    if points:
        linux.mount(None, max(points, key=len), None, linux.MS_PRIVATE)


def _mounts(init: Init) -> list[tuple[str, str, bool]]:
    """(mount point, type, whether it is shared) of each mount."""
    parts = [mountinfo.fields(line) for line in mountinfo.lines(_read(init, "mountinfo"))]
    return [(mount[4], kind, any(tag.startswith("shared:") for tag in mount[6:])) for mount, (kind, *_) in parts]


def _read(init: Init, name: str) -> str:
    """The text of a file of /proc/self: proc(5)."""
    with open(os.open(f"self/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=init.procfs), "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")


def _mount_at(init: Init, fd: int, source: str | None, kind: str | None, flags: int, words: str | None = None) -> None:
    """mount(2) on the O_PATH fd, which only takes a path: that of the fd in the host's procfs, since the /proc that is in reach
    may be a joined container's, or already ours. Leaves the working directory at /."""
    os.fchdir(init.procfs)
    try:
        linux.mount(source, f"self/fd/{fd}", kind, flags, words)
    finally:
        os.chdir("/")


def mount(init: Init, step: ops.Mount) -> None:
    tree, covered = attach(init, step)
    os.close(covered)
    finish(init, tree, step, flags_done=True)


def attach(init: Init, step: ops.Mount) -> tuple[int, int]:
    """The new mount in its place: its fd, and that of the directory which it covers now."""
    parameters = _mode_of_covered(init, step) + step.parameters
    target = _target(init, step, directory=True)
    try:
        tree = _new_filesystem(step, parameters)
        linux.move_mount(tree, target)
    except OSError as error:
        # fsconfig takes no value of 256 bytes (an overlay's layers); before 5.2 there's none of it.
        if error.errno not in (_EINVAL, _ENOSYS) or not _is_too_much_for_fsconfig(step, error):
            raise
        tree = _mount_the_old_way(init, step, parameters, target)
    return tree, target


def _mode_of_covered(init: Init, step: ops.Mount) -> tuple[tuple[str, str | None], ...]:
    """A tmpfs takes the mode of the directory that it covers, unless the options have one; where none is there, its own."""
    if step.kind != "tmpfs" or any(key == "mode" for key, _ in step.parameters):
        return ()
    try:
        covered = root.resolve(init.root, step.target)
    except OSError:
        return ()  # missing: it is made; any other fault is told when it is opened to be mounted on
    try:
        return (("mode", f"{stat.S_IMODE(os.fstat(covered).st_mode):o}"),)
    finally:
        os.close(covered)


def _target(init: Init, step: ops.Mount | ops.Bind, *, directory: bool) -> int:
    """The O_PATH fd to mount on, checked: nothing hides a part of a procfs but what is known to be harmless."""
    try:
        target = root.make(init.root, step.target, directory=directory, no_symlinks=step.no_symlinks)
    except OSError as error:
        if step.no_symlinks and error.errno in (_ELOOP, _ENOTDIR):
            raise StepFailed(f'{step.complaint()}: filesystem "{step.source}" must be mounted on ordinary directory') from None
        raise
    if step.no_symlinks and not stat.S_ISDIR(os.fstat(target).st_mode):
        raise StepFailed(f'{step.complaint()}: filesystem "{step.source}" must be mounted on ordinary directory')
    if filesystem_type(target) == PROC_SUPER_MAGIC and step.target.rstrip("/") not in ("/proc", *_COVERABLE):
        raise StepFailed(f'{step.complaint()}: "{step.target}" cannot be mounted because it is inside /proc')
    return target


def _new_filesystem(step: ops.Mount, parameters: tuple[tuple[str, str | None], ...]) -> int:
    context = linux.fsopen(step.kind)
    try:
        if step.source:
            linux.fsconfig(context, "source", step.source)
        for key, value in parameters:
            try:
                linux.fsconfig(context, key, value)
            except OSError as error:
                if _is_too_much_for_fsconfig(step, error):
                    raise
                option = key if value is None else f"{key}={value}"
                raise StepFailed(f'{step.complaint()}: option "{option}"', error.errno or 0) from None
        return linux.fsmount(context, attributes=step.set)
    finally:
        os.close(context)


def _is_too_much_for_fsconfig(step: ops.Mount, error: OSError) -> bool:
    return error.errno == _ENOSYS or any(value is not None and len(value) > 255 for _, value in step.parameters)


_SUPERBLOCK_FLAGS = {"ro": 1, "sync": 16, "mand": 64, "dirsync": 128, "lazytime": 1 << 25}  # mount(2) MS_*


def _mount_the_old_way(init: Init, step: ops.Mount, parameters: tuple[tuple[str, str | None], ...], target: int) -> int:
    """mount(2) on the fd that was checked; then the fd of what is on it now."""
    flags = linux.ms_flags(step.set)
    words = []
    for key, value in parameters:
        if value is None and key in _SUPERBLOCK_FLAGS:
            flags |= _SUPERBLOCK_FLAGS[key]
        else:
            quote = '"' if key.endswith("context") else ""  # SELinux's may have commas
            words.append(key if value is None else f"{key}={quote}{value}{quote}")
    _mount_at(init, target, step.source, step.kind, flags, ",".join(words))
    return root.topmost(target)


def bind(init: Init, step: ops.Bind) -> None:
    tree = init.files.pop(step.tree) if step.tree else _copy_of_source(init, step)
    if step.target.rstrip("/") == "/proc" and filesystem_type(tree) != PROC_SUPER_MAGIC:
        raise StepFailed(f'{step.complaint()}: "/proc" cannot be covered by something that is not proc')
    directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    target = _target(init, step, directory=directory)
    try:
        if stat.S_ISDIR(os.fstat(target).st_mode) != directory:
            raise StepFailed(step.complaint(), _ENOTDIR)  # mount(2) has it so; move_mount's EINVAL tells nobody
        linux.move_mount(tree, target)
    finally:
        os.close(target)
    finish(init, tree, step, flags_done=False)


def _copy_of_source(init: Init, step: ops.Bind) -> int:
    held = _held(init, step.source)
    try:
        return linux.open_tree(linux.AT_FDCWD, step.source, clone=True, recursive=step.recursive)
    except PermissionError:
        if held < 0:
            raise
        return linux.open_tree(held, "", clone=True, recursive=step.recursive)
    finally:
        if held >= 0:
            os.close(held)


def finish(init: Init, tree: int, step: ops.Mount | ops.Bind, *, flags_done: bool) -> None:
    """Attributes and propagation of a mount that is in place; the fd is done with, or kept for what is to be protected in it."""
    if not flags_done and step.set | step.clear:
        set_attributes(init, tree, set=step.set, clear=step.clear)
    if step.set_all | step.clear_all:
        _set_all(init, tree, step)
    for flags in step.propagation:
        _mount_at(init, tree, None, None, flags)
    if step.target in ("/proc", "/sys"):
        init.kernel_mounts[step.target] = tree
    else:
        os.close(tree)


def set_attributes(init: Init, tree: int, *, set: int, clear: int = 0) -> None:
    """mount_setattr, or before Linux 5.12 a bind remount, which takes all flags anew."""
    try:
        linux.mount_setattr(tree, set=set, clear=clear)
    except OSError as error:
        if error.errno != _ENOSYS:
            raise
        kept = linux.attributes_of(tree) & ~clear
        _mount_at(init, tree, None, None, linux.MS_REMOUNT | linux.MS_BIND | linux.ms_flags(kept | set))


def _set_all(init: Init, tree: int, step: ops.Mount | ops.Bind | ops.Remount) -> None:
    """mount_setattr of the whole tree, or before Linux 5.12 of one mount after the other."""
    try:
        linux.mount_setattr(tree, set=step.set_all, clear=step.clear_all, recursive=True)
    except OSError as error:
        if error.errno != _ENOSYS:
            raise
        for fd in _opened_below(init, tree):
            set_attributes(init, fd, set=step.set_all, clear=step.clear_all)
            os.close(fd)


def _opened_below(init: Init, tree: int) -> Iterator[int]:
    """An fd of each mount of the tree, its own first. What a name leads to is believed only if it is the mount that is listed."""
    top = _mount_id(init, tree)
    listed = [mountinfo.fields(line)[0] for line in mountinfo.lines(_read(init, "mountinfo"))]
    start = next(mount[4] for mount in listed if mount[0] == top)
    within = {top}
    yield os.dup(tree)
    for number, parent, _device, _root, point, *_ in listed:  # each after the one that it is mounted on
        if parent in within:
            within.add(number)
            fd = root.resolve(tree, point[len(start) :])
            if _mount_id(init, fd) != number:
                raise StepFailed(f'set the flags of the mount "{point}": it is covered, or its place has changed meanwhile')
            yield fd


def _mount_id(init: Init, fd: int) -> str:
    """The number of the mount that the fd is on, as mountinfo has it."""
    return _read(init, f"fdinfo/{fd}").partition("mnt_id:")[2].split()[0]


def remount(init: Init, step: ops.Remount) -> None:
    target = root.resolve(init.root, step.target)
    try:
        _mount_at(init, target, None, None, step.flags | linux.MS_REMOUNT, step.parameters)
        if step.set_all | step.clear_all:
            _set_all(init, target, step)
        for flags in step.propagation:
            _mount_at(init, target, None, None, flags)
    finally:
        os.close(target)


def make_directory(init: Init, step: ops.MakeDirectory) -> None:
    os.close(root.make(init.root, step.target, directory=True))


# --- the step into the root


def pivot_root(init: Init, step: ops.PivotRoot) -> None:
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(init.root)
    linux.pivot_root(".", ".")  # pivot_root(2), NOTES: the old root then lies on the new one, and "." reaches it
    os.fchdir(old)
    linux.mount(None, ".", None, linux.MS_SLAVE | linux.MS_REC)  # the unmounting must not reach the host
    linux.umount(".")
    os.close(old)
    os.chdir("/")


def move_root(init: Init, step: ops.MoveRoot) -> None:
    os.fchdir(init.root)
    here = os.getcwd()
    for point, kind, _shared in reversed(_mounts(init)):
        if kind in ("proc", "sysfs") and not (point + "/").startswith(here + "/"):
            _hide(point)  # after MS_MOVE a full procfs of the host would still be there for who climbs out
    linux.mount(here, "/", None, linux.MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _hide(point: str) -> None:
    try:
        linux.mount(None, point, None, linux.MS_PRIVATE)
        linux.umount(point)
    except OSError as error:
        if error.errno not in (_EINVAL, 1):  # a locked mount can't be unmounted: cover it
            raise
        linux.mount("tmpfs", point, "tmpfs", 0)


def change_root(init: Init, step: ops.ChangeRoot) -> None:
    os.fchdir(init.root)
    os.chroot(".")
    os.chdir("/")


def seal_mount(init: Init, step: ops.SealMount) -> None:
    target = root.resolve(init.root, step.target)
    try:
        set_attributes(init, target, set=linux.MOUNT_ATTR_RDONLY)
    finally:
        os.close(target)


# --- what is hidden and what is protected


def _find(init: Init, path: str, missing: tuple[type[OSError], ...] = (FileNotFoundError,)) -> int:
    """The O_PATH fd of what is to be protected, -1 if it's `missing`. In /proc and /sys below our own mount:
    where another container writes to the root file system, too, the name can lead elsewhere by now (CVE-2019-19921)."""
    first, *rest = [part for part in path.split("/") if part not in ("", ".")] or [""]
    mount = -1 if ".." in rest else init.kernel_mounts.get(f"/{first}", -1)
    try:
        return root.resolve(init.root, path) if mount < 0 else root.resolve(mount, "/".join(rest) or "/")
    except missing:
        return -1


def make_readonly(init: Init, step: ops.MakeReadonly) -> None:
    target = _find(init, step.target)
    if target < 0:
        return
    tree = linux.open_tree(target, "", clone=True, recursive=True)
    linux.move_mount(tree, target)
    set_attributes(init, tree, set=linux.MOUNT_ATTR_RDONLY)
    os.close(tree)
    os.close(target)


def mask(init: Init, step: ops.Mask) -> None:
    target = _find(init, step.target, (FileNotFoundError, NotADirectoryError))
    if target < 0:
        return
    if stat.S_ISDIR(os.fstat(target).st_mode):
        _cover_directory(init, target, step.label)
    else:
        null = _dev_null(init)
        linux.move_mount(null, target)
        os.close(null)
    os.close(target)


def _cover_directory(init: Init, target: int, label: str) -> None:
    try:
        cover = _empty_directory(label)
    except OSError as error:
        if error.errno != _ENOSYS:
            raise
        words = "nr_blocks=1,nr_inodes=1" + (f',context="{label}"' if label else "")
        _mount_at(init, target, "tmpfs", "tmpfs", linux.MS_RDONLY, words)
        return
    linux.move_mount(cover, target)
    os.close(cover)


def _empty_directory(label: str) -> int:
    context = linux.fsopen("tmpfs")
    try:
        for key, value in (("source", "tmpfs"), ("nr_blocks", "1"), ("nr_inodes", "1"), ("context", label), ("ro", None)):
            if value != "":
                linux.fsconfig(context, key, value)
        return linux.fsmount(context, attributes=linux.MOUNT_ATTR_RDONLY)
    finally:
        os.close(context)


def _dev_null(init: Init) -> int:
    """A copy of the mount of the container's /dev/null, if it is the real one (CVE-2025-31133)."""
    null = root.resolve(init.root, "/dev/null", no_symlinks=True)
    try:
        found = os.fstat(null)
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
            raise StepFailed("mask paths (linux.maskedPaths): the container's /dev/null is not the null device")
        return linux.open_tree(null, "", clone=True)
    finally:
        os.close(null)
