"""restore: from criu's images to a running container, or to nothing at all."""

from __future__ import annotations

import os

from aiorun.errors import ConsoleError, CriuError, HookFailed, reason
from aiorun.launch.spawn import Spawned
from aiorun.linux import socket
from aiorun.linux.pidfd import pidfd_open, start_time
from aiorun.plan import compile_plan, rootfs
from aiorun.plan.restore import CRIU, EXTERNAL, compile_restore, joined
from aiorun.runtime.compile import request_for
from aiorun.runtime.create import Created, Creation, check_rootfs
from aiorun.runtime.criu import images, messages, service
from aiorun.runtime.hooks import run_hooks
from aiorun.runtime.init import Child, check_terminal, connect_console, open_named, open_procfs
from aiorun.runtime.run import in_foreground
from aiorun.wire import ops
from aiorun.wire.protocol import Proceed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from aiorun.launch.spawn import Spawner
    from aiorun.plan import Plan, Request
    from aiorun.runtime.create import Options
    from aiorun.spec.types import Spec
    from aiorun.store import Directory, State, Store
    from aiorun.waiter import Waiter

_LOG = "restore.log"
_FIRST = 3  # the number of the first file that criu is handed
_LSM_SINCE = 31600  # before, criu ignored a profile that wasn't the dump's


class RestoreOptions(images.ImageOptions):
    """What `restore` takes of criu's options."""

    lsm_profile: str = ""
    lsm_mount_context: str = ""


async def restore(
    store: Store,
    id: str,
    spec: Spec,
    bundle: str,
    options: Options,
    checkpoint: RestoreOptions,
    *,
    waiter: Waiter,
    spawner: Spawner,
    files: Mapping[str, int] | None = None,
) -> Created:
    """Make the container `id` from the images of a checkpoint, and from the Spec that it had. It runs when this returns.

    `files` are as create's; pipes that the container had as its standard streams are replaced by "stdin", "stdout", "stderr".
    Raises AiorunError. On an error and on a cancel nothing is left: processes, cgroup, mounts and directory are gone.
    """
    terminal = spec["process"].get("terminal", False)
    check_terminal(terminal, console_socket=options.console_socket, detached=options.detached)
    restoration = _Restoration(store, id, spec, bundle, options, waiter, spawner)
    restoration.checkpoint = checkpoint
    try:
        return await restoration.run(dict(files or {}))
    except BaseException as error:
        await waiter.shield(restoration.undo(hook_failed=isinstance(error, HookFailed)))
        raise
    finally:
        restoration.close()


async def restore_detached(
    store: Store,
    id: str,
    spec: Spec,
    bundle: str,
    options: Options,
    checkpoint: RestoreOptions,
    *,
    waiter: Waiter,
    spawner: Spawner,
) -> None:
    """restore, and nobody of ours stays."""
    created = await restore(store, id, spec, bundle, options, checkpoint, waiter=waiter, spawner=spawner)
    os.close(created.pidfd)


async def restore_foreground(
    store: Store,
    id: str,
    spec: Spec,
    bundle: str,
    options: Options,
    checkpoint: RestoreOptions,
    *,
    waiter: Waiter,
    spawner: Spawner,
    subreaper: bool = True,
    warn: Callable[[str], None] | None = None,
) -> int:
    """restore, wait, delete: as run_foreground."""

    async def make(options: Options, files: dict[str, int]) -> Created:
        return await restore(store, id, spec, bundle, options, checkpoint, waiter=waiter, spawner=spawner, files=files)

    return await in_foreground(store, id, spec, options, make, None, waiter=waiter, subreaper=subreaper, warn=warn)


class _Restoration(Creation):
    """One restore on its way. The init that is spawned becomes criu; the container's first process is criu's doing."""

    checkpoint: RestoreOptions
    _criu: service.Criu | None = None
    _console = -1  # a socket that wants the terminal's master
    _directory: Directory
    _restored: State

    async def run(self, files: dict[str, int]) -> Created:
        self._console = files.pop("console", -1)
        id, spec, bundle, options = self._id, self._spec, self._bundle, self._options
        request, cgroup = await request_for(id, spec, bundle, options, console=False, waiter=self._waiter)
        environment = tuple(f"{name}={value}" for name, value in service.environment().items())
        plan = compile_restore(self._spec, request, program=service.find(), env=environment)
        check_rootfs(rootfs(self._spec, self._bundle))
        inherited = self._inherited(plan)
        if self._spec["process"].get("terminal"):  # whoever waits for the end of ours must not wait for the container
            null = self._owned(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            files = {**files, "stdin": null, "stdout": null, "stderr": null}
        ours, theirs = socket.pair()
        self._closing.add(ours.close)
        self._closing.add(theirs.close)
        files[CRIU] = theirs.fileno()
        _, self._restored, init, _ = await self._make_init(plan, cgroup, files)
        await self._converse(init, self._restored)
        await init.say(Proceed())
        theirs.close()
        self._criu, self._init = service.Criu(self._waiter, ours, init.pidfd), None
        await self._restore(self._criu, {**self._fields(request, init.pid), "inherit_fd": inherited})
        return await self._finish(self._criu)

    def _inherited(self, plan: Plan) -> list[dict[str, Any]]:
        """The files that criu takes from us: pipes of the standard streams, and namespaces that it leaves alone."""
        pipes = images.inherited_pipes(self.checkpoint.images)
        names = [EXTERNAL[name.removeprefix("ns:")] for name, _, _ in plan.opens]
        keys = [(images.external_key(name), number) for number, name in enumerate(names, _FIRST + 1)]
        return [{"key": key, "fd": number} for key, number in (*pipes, *keys)]

    def _fields(self, request: Request, criu: int) -> dict[str, Any]:
        root, plan = rootfs(self._spec, self._bundle), compile_plan(self._spec, request)
        annotations = self._spec.get("annotations") or {}
        mounts = images.external_mounts(plan, root)
        if any(isinstance(step, ops.Mask) for step in plan.operations):
            mounts.append(("/dev/null", "/dev/null"))
        return {
            **images.common(self.checkpoint, annotations, log=_LOG, closing=self._closing, root=f"/proc/{criu}/root"),
            "root": root,
            "rst_sibling": True,  # ours to wait for, as what `create` makes is
            "evasive_devices": True,
            "ext_mnt": [{"key": key, "val": value} for key, value in mounts],
            "join_ns": [{"ns": name, "ns_file": path} for name, path in joined(self._spec)],
            "cg_root": _cgroups_of(criu),
        }

    async def _restore(self, criu: service.Criu, fields: dict[str, Any]) -> None:
        version = await criu.check(lazy_pages=self.checkpoint.lazy_pages)
        for name in ("lsm_profile", "lsm_mount_context"):
            value = getattr(self.checkpoint, name)
            if value and version < _LSM_SINCE:
                raise CriuError(f"--{name.replace('_', '-')} requires at least CRIU 3.16")
            if value:
                fields[name] = value
        await criu.work(messages.RESTORE, fields, self._notified, log=self.checkpoint.log(_LOG))

    async def _notified(self, stage: str, pid: int, file: int) -> None:
        if stage == "setup-namespaces":
            self._take_charge_of(pid)
            for kind in ("prestart", "createRuntime"):
                await run_hooks(self._waiter, self._restored, kind, "creating", pid=pid)
        elif stage == "orphan-pts-master" and file >= 0 and self._console >= 0:
            self._hand_over(file)
        elif stage == "post-restore":  # the processes are there, and don't run yet
            self._take_charge_of(pid)
            self._restored = self._restored.replace(status="running", pid=pid, start_time=start_time(pid)[0])
            with self._directory.locked():
                self._directory.write(self._restored)

    def _take_charge_of(self, pid: int) -> None:
        """The container's first process, a child of ours: from now on, undoing means to kill and reap it."""
        if self._init is None and self._cgroup is not None:
            try:
                pidfd = pidfd_open(pid)
            except ProcessLookupError:
                raise CriuError("criu named a process that is not there") from None
            ours, theirs = socket.pair()  # nobody to talk to
            theirs.close()
            self._init = Child(Spawned(pid, pidfd, ours), self._waiter, self._cgroup.oom_kills)
            self._closing.add(self._init.close)

    def _hand_over(self, master: int) -> None:
        """As an init does it: one fd, with a payload."""
        console = socket.stream(os.dup(self._console))
        try:
            socket.send(console, b"/dev/ptmx", (master,))
        except OSError as error:
            raise ConsoleError(f"send the terminal to the console socket: {reason(error)}") from None
        finally:
            console.close()

    async def _finish(self, criu: service.Criu) -> Created:
        status = await criu.end()
        if status or self._init is None:
            raise CriuError(f"criu ended with status {status} after it had restored the container")
        self._criu = None
        await self._answer(self._init)
        created = Created(self._restored, self._init.pidfd)
        self._init = None
        return created

    async def _open_files(self, plan: Plan, directory: Directory) -> dict[str, int]:
        if self._options.console_socket:
            console = await connect_console(self._waiter, self._options.console_socket)
            self._closing.add(console.close)
            self._console = console.fileno()
        return {"proc": self._owned(open_procfs()), **open_named(plan, self._owned)}

    async def undo(self, *, hook_failed: bool) -> None:
        """criu first: it undoes what it did itself, such as rules that it blocks the network with."""
        if self._criu is not None:
            await self._criu.end()
        await super().undo(hook_failed=hook_failed)


def _cgroups_of(pid: int) -> list[dict[str, str]]:
    """Where the container's processes are to be, whatever cgroups they had: in those of criu, in which it makes them."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    return [{"ctrl": name, "path": path} for _, names, path in lines for name in names.split(",")]
