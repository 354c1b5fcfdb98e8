"""checkpoint: what a running container is, into a directory of criu's images."""

from __future__ import annotations

import os
from fcntl import F_GETFL, fcntl

from aiorun.errors import AiorunError, ContainerNotFound, InvalidState, UsageError, reason
from aiorun.linux.file import RESOLVE_IN_ROOT, openat2
from aiorun.plan import rootfs
from aiorun.plan.restore import EXTERNAL
from aiorun.runtime import status as states
from aiorun.runtime.compile import compile_for
from aiorun.runtime.create import Options
from aiorun.runtime.criu import images, messages, service
from aiorun.runtime.delete import delete
from aiorun.undo import Undo
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from aiorun.plan import Plan
    from aiorun.spec.types import Spec
    from aiorun.store import State, Store
    from aiorun.waiter import Waiter

_LOG = "dump.log"


class CheckpointOptions(images.ImageOptions):
    """What `checkpoint` takes beside the id."""

    parent: str = ""  # the images of an earlier pre-dump, relative to `images`
    leave_running: bool = False
    pre_dump: bool = False
    tcp_skip_in_flight: bool = False
    link_remap: bool = False
    status_fd: int = -1
    page_server: tuple[str, int] | None = None  # address, port

    @property
    def goes_on(self) -> bool:
        """Whether the container does, after the dump."""
        return self.leave_running or self.pre_dump


async def checkpoint(
    store: Store,
    id: str,
    options: CheckpointOptions,
    *,
    waiter: Waiter,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Dump the container into `options.images`; unless it is to go on, it is deleted then. Raises what `dump` raises."""
    state = await dump(store, id, options, waiter=waiter)
    if not options.goes_on:
        await delete(store, id, waiter=waiter, force=True, warn=warn, created=state.created)


async def dump(store: Store, id: str, options: CheckpointOptions, *, waiter: Waiter, created: str = "") -> State:
    """The same, and leave what is left of the container to the caller.

    With `created` only the container that was created then. If criu fails, or we are cancelled before it is done, the
    container goes on. Raises ContainerNotFound, InvalidState, CriuError, AiorunError.
    """
    with store.open(id) as directory, Undo() as closing:
        state = directory.read()
        if created and state.created != created:
            raise ContainerNotFound(id)
        _refuse(state)
        _check_paths(options)
        spec: Spec = directory.read_config()  # type: ignore[assignment]  # it was checked when it was written
        criu = service.start(waiter)
        closing.add(criu.release)
        try:
            await _dump(criu, state, spec, options, closing, waiter)
        finally:
            await waiter.shield(criu.end(patience=None))  # killed half-way it would leave the processes stopped for ever
    return state


def _refuse(state: State) -> None:
    now = states.status(state)
    if now not in (states.RUNNING, states.PAUSED):
        raise InvalidState(f"Container cannot be checkpointed in {now} state")


def _check_paths(options: CheckpointOptions) -> None:
    images.make(options)
    if not options.parent:
        return
    if os.path.isabs(options.parent):
        raise UsageError("--parent-path must be relative")
    parent = os.path.normpath(os.path.join(options.images, options.parent))
    try:
        if not os.path.isdir(parent):
            os.stat(parent)
            raise NotADirectoryError(20, "")
    except OSError as error:
        raise UsageError(f"invalid --parent-path: stat {parent}: {reason(error)}") from None


async def _dump(criu: service.Criu, state: State, spec: Spec, options: CheckpointOptions, closing: Undo, waiter: Waiter) -> None:
    _check_status_fd(options)
    await criu.check(mem_track=options.pre_dump, lazy_pages=options.lazy_pages)
    fields = images.common(options, state.annotations, log=_LOG, closing=closing)
    fields |= {name: getattr(options, name) for name in ("leave_running", "tcp_skip_in_flight", "link_remap")}
    fields |= {"pid": state.pid, "root": state.rootfs}
    fields["external"] = [*_external_namespaces(spec)]
    freezer = _freezer(state.cgroup_paths)
    if freezer:
        fields["freeze_cgroup"] = freezer
    if options.page_server is not None:
        fields["ps"] = dict(zip(("address", "port"), options.page_server))
    if options.parent:
        fields |= {"parent_img": options.parent, "track_mem": True}
    if not options.pre_dump:
        linux = {**spec.get("linux", {}), "netDevices": {}}  # they are in the container by now
        spec = {**spec, "linux": linux}  # type: ignore[typeddict-item]
        plan, _ = await compile_for(state.id, spec, state.bundle, Options(), console=False, waiter=waiter)
        places = [place for place, _ in images.external_mounts(plan, rootfs(spec, state.bundle))]
        mounts = [(place, place) for place in places] + [(path, "/dev/null") for path in _masked_files(plan, state.pid)]
        fields["ext_mnt"] = [{"key": key, "val": value} for key, value in mounts]
        images.write_descriptors(options.images, state.external_descriptors)
    kind = messages.PRE_DUMP if options.pre_dump else messages.DUMP

    async def notified(stage: str, _pid: int, _file: int) -> None:
        if stage == "status-ready" and options.status_fd >= 0:
            _tell(options.status_fd)

    await criu.work(kind, fields, notified, log=options.log(_LOG))


def _check_status_fd(options: CheckpointOptions) -> None:
    if not options.lazy_pages or options.status_fd == -1:
        return
    try:
        flags = fcntl(options.status_fd, F_GETFL)
    except (OSError, ValueError, OverflowError):
        raise UsageError(f"invalid --status-fd argument {options.status_fd}: bad file descriptor") from None
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise UsageError(f"invalid --status-fd argument {options.status_fd}: not writable")


def _tell(status_fd: int) -> None:
    """criu serves the pages now. Whoever waits for that may have gone, which is no reason to fail."""
    try:
        os.write(status_fd, b"\0")
        os.close(status_fd)
    except OSError:
        pass


def _freezer(paths: dict[str, str]) -> str:
    """The cgroup by which criu stops the processes; without one it traces each. cgroup v2's counts only where it is alone."""
    return paths.get("freezer", "") or (paths[""] if paths.keys() == {""} else "")


def _external_namespaces(spec: Spec) -> list[str]:
    """Those that are somebody else's: criu leaves them alone, and a restore finds them under the same key."""
    found = []
    for index, namespace in enumerate(spec.get("linux", {}).get("namespaces") or []):
        name, path = EXTERNAL.get(namespace["type"]), namespace.get("path", "")
        if name and path:
            try:
                inode = os.stat(path).st_ino
            except OSError as error:
                raise AiorunError(f'stat "{path}" (linux.namespaces[{index}].path): {reason(error)}') from None
            found.append(f"{name}[{inode}]:{images.external_key(name)}")
    return found


def _masked_files(plan: Plan, pid: int) -> list[str]:
    """The masked paths on which the container's /dev/null is mounted; a directory has a file system of its own."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [step.target for step in plan.operations if isinstance(step, ops.Mask) and _is_file(root, step.target)]
    finally:
        os.close(root)


def _is_file(root: int, path: str) -> bool:
    try:
        found = openat2(root, path, os.O_PATH, resolve=RESOLVE_IN_ROOT)
    except OSError:
        return False
    try:
        return os.fstat(found).st_mode & 0o170000 != 0o040000
    finally:
        os.close(found)
