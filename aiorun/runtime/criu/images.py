"""What a dump and a restore have in common: the directory of images, and the options that criu gets for both."""

from __future__ import annotations

import os

from aiorun.errors import AiorunError, UsageError, reason
from aiorun.linux.file import RESOLVE_IN_ROOT, openat2
from aiorun.runtime.criu.messages import CGROUP_MODES
from aiorun.wire import ops
from aiorun.wire.json import dumps, loads
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aiorun.plan import Plan
    from aiorun.undo import Undo

_DESCRIPTORS = "descriptors.json"  # as runc's: images of the one can be restored by the other
_DESCRIPTORS_LIMIT = 1 << 16
_CONFIG_ANNOTATION, _CONFIG_FILE = "org.criu.config", "/etc/criu/runc.conf"
_EMPTY_NETWORK = 0x40000000  # CLONE_NEWNET: neither runc nor we manage what is in a network namespace
_DEBUG = 4  # criu's log level


class ImageOptions(Record):
    """What `checkpoint` and `restore` both take; the names are those of the flags. `images` and `work` are absolute paths."""

    images: str
    work: str = ""  # for logs, else they are beside the images
    tcp_established: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    auto_dedup: bool = False
    lazy_pages: bool = False
    manage_cgroups_mode: str = ""

    def log(self, name: str) -> str:
        """Where criu writes its log of that name."""
        return os.path.join(self.work or self.images, name)


def common(options: ImageOptions, annotations: Mapping[str, str], *, log: str, closing: Undo, root: str = "") -> dict[str, Any]:
    """The fields of criu_opts that don't depend on what is done. Raises AiorunError, UsageError.

    `root` is /proc/PID/root of a criu that has a mount namespace of its own: it mounts in these directories.
    """
    if options.manage_cgroups_mode not in CGROUP_MODES:
        raise UsageError("Invalid manage-cgroups-mode value")
    # criu opens both by our /proc/PID/fd: they are open until it's done
    fields: dict[str, Any] = {"images_dir_fd": _open(root + options.images, closing)}
    if options.work:
        _make(options.work)
        fields["work_dir_fd"] = _open(root + options.work, closing)
    fields |= {
        "log_level": _DEBUG,
        "log_file": log,
        "manage_cgroups": True,
        "manage_cgroups_mode": CGROUP_MODES[options.manage_cgroups_mode],
        "notify_scripts": True,
        "orphan_pts_master": True,
        "empty_ns": _EMPTY_NETWORK,
    }
    for name in ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "auto_dedup", "lazy_pages"):
        fields[name] = getattr(options, name)
    config = annotations.get(_CONFIG_ANNOTATION, _CONFIG_FILE)
    if config:  # empty: none. What the file says goes before what we say; criu passes over one that isn't there
        fields["config_file"] = config
    return fields


def make(options: ImageOptions) -> None:
    """The directory that images are written to, and its parents. Raises AiorunError."""
    _make(options.images)


def _make(path: str) -> None:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise AiorunError(f'make the directory "{path}": {reason(error)}') from None


def _open(path: str, closing: Undo) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AiorunError(f'open the directory "{path}": {reason(error)}') from None
    closing.add(lambda: os.close(fd))
    return fd


# --- mounts that are not the container's own


def external_mounts(plan: Plan, rootfs: str) -> list[tuple[str, str]]:
    """(place in the container, what of the host's is there) of each bind mount: criu leaves these to us."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [(_place(root, step.target), step.source) for step in plan.operations if isinstance(step, ops.Bind)]
    finally:
        os.close(root)


def _place(root: int, target: str) -> str:
    """Where `target` is by mountinfo: without the links of the root file system. What isn't there is on another mount."""
    path, rest = target, ""
    while True:
        try:
            found = openat2(root, path, os.O_PATH, resolve=RESOLVE_IN_ROOT)
        except OSError:
            path, _, name = path.rpartition("/")
            rest = f"/{name}{rest}"
            if not path:
                return target
            continue
        try:
            top = os.readlink(f"/proc/self/fd/{root}")
            return os.readlink(f"/proc/self/fd/{found}").removeprefix(top) + rest or "/"
        finally:
            os.close(found)


# --- namespaces that are not its own


def external_key(name: str) -> str:
    """As runc calls it: extRootNetNS, extRootPidNS."""
    return f"extRoot{name.title()}NS"


# --- descriptors.json


def write_descriptors(images: str, descriptors: list[str]) -> None:
    """What 0, 1 and 2 were when the container was made ("pipe:[123]"), for its restore. Raises AiorunError."""
    path = os.path.join(images, _DESCRIPTORS)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, dumps(descriptors).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise AiorunError(f'write "{path}": {reason(error)}') from None


def inherited_pipes(images: str) -> list[tuple[str, int]]:
    """(the pipe in the images, the number of our own file that takes its place). Raises AiorunError."""
    path = os.path.join(images, _DESCRIPTORS)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            described = loads(os.read(fd, _DESCRIPTORS_LIMIT))
        finally:
            os.close(fd)
    except OSError as error:
        raise AiorunError(f'open "{path}": {reason(error)}') from None
    except ValueError as error:
        raise AiorunError(f'read "{path}": {error}') from None
    if not isinstance(described, list):
        raise AiorunError(f'read "{path}": not a list')
    return [(text, number) for number, text in enumerate(described[:3]) if isinstance(text, str) and "pipe:" in text]
