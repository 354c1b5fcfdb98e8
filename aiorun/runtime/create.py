"""create: from a Spec to an init that blocks on exec.fifo, or to nothing at all. runtime.md, "Lifecycle", 1 to 5."""

from __future__ import annotations

import os
import time

from aiorun import cgroups
from aiorun.errors import AiorunError, HookFailed, InitFailed, InvalidSpec, reason
from aiorun.launch.failure import SpawnFailed
from aiorun.linux.pidfd import start_time
from aiorun.plan import rootfs
from aiorun.plan.mounts import cgroup_owner
from aiorun.plan.namespaces import root_outside
from aiorun.plan.process import profile_of
from aiorun.runtime.compile import compile_for, has_little_memory
from aiorun.runtime.delete import claim, leave_resctrl
from aiorun.runtime.hooks import hook_state, run_hooks
from aiorun.runtime.init import (
    Child,
    check_labels,
    check_preserved,
    check_terminal,
    connect_console,
    open_named,
    open_procfs,
    raise_hard_limits,
    send_pidfd,
    set_oom_score,
    told,
)
from aiorun.runtime.process import SIGKILL, describe_streams, kill, write_pid_file
from aiorun.store import State
from aiorun.undo import Undo
from aiorun.wire.protocol import Failed, Listener, Proceed, Ready, RunHooks
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from aiorun.launch.spawn import Spawner
    from aiorun.plan import Plan
    from aiorun.spec.types import IntelRdt, Spec
    from aiorun.store import Directory, Store
    from aiorun.waiter import Waiter


class Options(Record):
    """What `create` takes beside the bundle. `console_fd` is the other end's socket where there is no path to one."""

    console_socket: str = ""
    pidfd_socket: str = ""
    pid_file: str = ""
    no_pivot: bool = False
    no_new_keyring: bool = False
    notify_socket: str = ""  # NOTIFY_SOCKET: the container gets one too (aiorun.runtime.notify)
    systemd_cgroup: bool = False  # systemd makes the cgroup, and cgroupsPath is slice:prefix:name
    preserve: int = 0
    detached: bool = True  # nobody of ours stays to relay a terminal
    rows: int = 0
    columns: int = 0
    rootless: bool = False  # go on without a cgroup where we may not make one


class Created(Record):
    """A created container. Whoever has this owns the pidfd."""

    state: State
    pidfd: int


async def create(
    store: Store,
    id: str,
    spec: Spec,
    bundle: str,
    options: Options,
    *,
    waiter: Waiter,
    spawner: Spawner,
    files: Mapping[str, int] | None = None,
) -> Created:
    """Make the container `id` from a checked Spec; its init waits for `start`.

    `files` are fds for the init by name: "console", a socket for the terminal's master; "stdin", "stdout", "stderr".
    Raises AiorunError. On an error and on a cancel nothing is left: process, cgroup, mounts and directory are gone.
    """
    terminal = spec["process"].get("terminal", False)
    check_terminal(terminal, console_socket=options.console_socket, detached=options.detached)
    if options.notify_socket:
        from aiorun.runtime.notify import with_notify_socket

        spec = with_notify_socket(spec, store.notify_directory(id))
    creation = Creation(store, id, spec, bundle, options, waiter, spawner)
    try:
        return await creation.run(dict(files or {}))
    except BaseException as error:
        await waiter.shield(creation.undo(hook_failed=isinstance(error, HookFailed)))
        raise
    finally:
        creation.close()


class Creation:
    """One create on its way: what it made so far, so that it can be undone."""

    def __init__(
        self, store: Store, id: str, spec: Spec, bundle: str, options: Options, waiter: Waiter, spawner: Spawner
    ) -> None:
        self._store, self._id, self._spec, self._bundle, self._options = store, id, spec, bundle, options
        self._waiter, self._spawner = waiter, spawner
        self._directory: Directory | None = None
        self._state: State | None = None
        self._cgroup: cgroups.Cgroup | None = None
        self._resctrl: dict[str, str] = {}
        self._init: Child | None = None
        self._closing = Undo()
        self._pid_file_written = False

    async def run(self, files: dict[str, int]) -> Created:
        console = "console" in files or bool(self._options.console_socket)
        _check_rights(self._spec)
        plan, cgroup = await compile_for(self._id, self._spec, self._bundle, self._options, console=console, waiter=self._waiter)
        check_rootfs(rootfs(self._spec, self._bundle))
        check_preserved(self._options.preserve)
        check_labels(self._spec)
        directory, state, init, files = await self._make_init(plan, cgroup, files)
        await self._prepare(init, plan, files)
        await self._converse(init, state)
        raise_hard_limits(self._spec["process"], init.pid)
        state = state.replace(status="created")
        with directory.locked():
            directory.write(state)
        await self._answer(init)
        await init.say(Proceed())
        self._init = None
        return Created(state, init.pidfd)

    async def _make_init(
        self, plan: Plan, cgroup: cgroups.Cgroup, files: dict[str, int]
    ) -> tuple[Directory, State, Child, dict[str, int]]:
        """The container's directory and cgroup, and an init that waits for its first Proceed, with all its files."""
        directory, state = self._take_id(cgroup, files)
        files = {**files, **await self._open_files(plan, directory)}
        with directory.locked():
            directory.check_not_removing()  # who removes the container removes the cgroup that is there then
            if cgroup.paths:
                cgroup.create()
        self._cgroup = cgroup
        if cgroup.unit is None:
            self._limit(cgroup)
            files |= self._open_cgroup(cgroup)
        init = await self._spawn(plan, files, cgroup)
        state = state.replace(pid=init.pid, start_time=start_time(init.pid)[0])
        with directory.locked():
            directory.write(state)  # before the init is let into its cgroups: who removes the container has to find it
        if cgroup.unit is not None:
            await self._enclose(cgroup, init.pid, directory)
            self._limit(cgroup)
        if self._resctrl:
            from aiorun.cgroups import resctrl

            group = resctrl.Group(**self._resctrl)
            resctrl.make(self._spec["linux"]["intelRdt"], group)
            resctrl.add(group, init.pid)
        return directory, state, init, files

    async def _prepare(self, init: Child, plan: Plan, files: dict[str, int]) -> None:
        """What only we may do for an init that waits for its first Proceed."""
        if plan.uid_map or plan.joins:
            from aiorun.runtime.id_maps import give_pipes, write_maps

            if plan.uid_map:
                await write_maps(self._waiter, init.pid, plan)
            give_pipes(init.pid, files)
            if plan.sources:
                from aiorun.runtime.sources import hand_over

                await hand_over(init, plan, files["proc"])
        if self._cgroup is not None and self._cgroup.paths.keys() == {""} and os.geteuid() == 0:
            owner = cgroup_owner(self._spec, plan.uid_map)
            if owner > 0:
                self._cgroup.give_to(owner)
        if self._spec.get("linux", {}).get("netDevices"):
            from aiorun.runtime.net_devices import move

            move(plan, init.pid, files.get("ns:network", -1))
        set_oom_score(self._spec["process"], init.pid)

    def _take_id(self, cgroup: cgroups.Cgroup, files: Mapping[str, int]) -> tuple[Directory, State]:
        """The id's directory, with a state from the first moment on, so that whoever comes after a SIGKILL can clean up."""
        linux = self._spec.get("linux", {})
        namespaces = linux.get("namespaces") or []
        self._resctrl = _resctrl_group(linux.get("intelRdt") or {}, self._id)
        state = State(
            oci_version=self._spec["ociVersion"],
            id=self._id,
            bundle=self._bundle,
            rootfs=rootfs(self._spec, self._bundle),
            created=_now(),
            owner=os.geteuid(),
            cgroup_paths=cgroup.paths,
            unit=cgroup.unit.__dict__ if cgroup.unit else {},
            private_pid_namespace=any(n["type"] == "pid" and not n.get("path") for n in namespaces),
            annotations=self._spec.get("annotations") or {},
            hooks={kind: hooks for kind, hooks in (self._spec.get("hooks") or {}).items() if hooks},
            no_new_keyring=self._options.no_new_keyring,
            resctrl=self._resctrl,
            external_descriptors=describe_streams(files),
        )
        directory = self._store.make(self._id)
        self._directory, self._state = directory, state
        self._closing.add(directory.close)
        directory.write_config(self._spec)
        if self._options.notify_socket:
            directory.make_notify()
        with directory.locked():
            directory.write(state)
        return directory, state

    async def _open_files(self, plan: Plan, directory: Directory) -> dict[str, int]:
        """The files that the init gets by name; ours are closed when create is over."""
        files = {
            "proc": self._owned(open_procfs()),
            "fifo": self._owned(directory.make_fifo(*root_outside(plan, os.geteuid(), os.getegid()))),
        }
        files |= open_named(plan, self._owned)
        if self._options.console_socket:
            console = await connect_console(self._waiter, self._options.console_socket)
            self._closing.add(console.close)
            files["console"] = console.fileno()
        return files

    def _limit(self, cgroup: cgroups.Cgroup) -> None:
        linux = self._spec.get("linux", {})
        resources, devices = linux.get("resources") or {}, linux.get("devices")
        if self._options.rootless or (cgroup.unit is not None and cgroup.unit.user):
            from aiorun.cgroups import rootless

            rootless.apply(cgroup, resources, devices)
        else:
            cgroup.apply(resources, devices)

    async def _enclose(self, cgroup: cgroups.Cgroup, pid: int, directory: Directory) -> None:
        """Have systemd make the cgroup: a scope is always one of processes that are there already."""
        linux = self._spec.get("linux", {})
        annotations = self._spec.get("annotations") or {}
        await cgroup.enclose(pid, linux.get("resources") or {}, linux.get("devices"), annotations, self._waiter)
        with directory.locked():
            directory.check_not_removing()
            cgroup.complete()

    def _open_cgroup(self, cgroup: cgroups.Cgroup) -> dict[str, int]:
        """The v2 cgroup, for the init to be born into, unless its limit is too low for that. The others it joins by its plan."""
        if "" not in cgroup.paths or (cgroup.paths.keys() == {""} and has_little_memory(self._spec)):
            return {}
        try:
            return {"cgroup": self._owned(os.open(cgroup.paths[""], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))}
        except OSError as error:
            raise AiorunError(f'open the cgroup "{cgroup.paths[""]}": {reason(error)}') from None

    def _owned(self, fd: int) -> int:
        """`fd`, which is closed when create is over."""
        self._closing.add(lambda: os.close(fd))
        return fd

    async def _spawn(self, plan: Plan, files: dict[str, int], cgroup: cgroups.Cgroup) -> Child:
        try:
            spawned = await self._spawner.spawn(plan, files)
        except SpawnFailed as failure:
            raise InitFailed(f"unable to start container process: {told(failure)}") from None
        self._init = Child(spawned, self._waiter, cgroup.oom_kills)
        self._closing.add(self._init.close)
        return self._init

    async def _converse(self, init: Child, state: State) -> None:
        """Lead the init to Ready. Raises InitFailed, HookFailed, ProtocolError."""
        await init.say(Proceed())
        while True:
            message = await init.listen()
            if isinstance(message, Ready):
                return
            if isinstance(message, Failed):
                failed = HookFailed if message.text.startswith("error running createContainer hook ") else InitFailed
                raise failed(f"unable to start container process: error during container init: {told(message)}")
            if isinstance(message, RunHooks):
                for kind in ("prestart", "createRuntime"):
                    await run_hooks(self._waiter, state, kind, "creating", pid=init.pid)
                await init.say(Proceed())
            if isinstance(message, Listener):
                from aiorun.runtime.listener import hand_on

                seen = hook_state(state, "creating", pid=init.pid)
                await hand_on(self._waiter, init, message.fd, profile_of(self._spec), seen)

    async def _answer(self, init: Child) -> None:
        """pidfd socket and pid file, complete before the command returns."""
        if self._options.pidfd_socket:
            await send_pidfd(self._waiter, self._options.pidfd_socket, init.pidfd)
        if self._options.pid_file:
            write_pid_file(self._options.pid_file, init.pid)
            self._pid_file_written = True

    async def undo(self, *, hook_failed: bool) -> None:
        """Take back what was made, last first. What can't be taken back doesn't keep the rest from it.

        After a hook that failed the poststop hooks run too: runtime.md, "Lifecycle", 3 to 5.
        """
        if self._init is not None:
            await self._quietly(kill(self._waiter, self._init.pidfd))
            os.close(self._init.pidfd)
            self._init = None
        if self._directory is not None:
            await self._quietly(self._give_id_back(self._directory))
        if self._pid_file_written:
            try:
                os.unlink(self._options.pid_file)
            except OSError:
                pass
        if hook_failed and self._state is not None:
            await self._quietly(run_hooks(self._waiter, self._state, "poststop", "stopped", pid=0))

    async def _give_id_back(self, directory: Directory) -> None:
        """The cgroup and the directory, unless a delete has them: then they are its affair, or already another container's."""
        right, _ = await claim(directory, waiter=self._waiter, force=True)
        try:
            if self._cgroup is not None:
                await self._quietly(self._cgroup.kill(SIGKILL, self._waiter))
                await self._quietly(self._cgroup.remove(self._waiter))
            await self._quietly(self._remove_files(directory))
        finally:
            os.close(right)

    async def _remove_files(self, directory: Directory) -> None:
        try:
            leave_resctrl(self._resctrl)
        finally:
            with directory.locked():
                directory.remove()

    async def _quietly(self, step: Awaitable[None]) -> None:
        try:
            await step
        except (AiorunError, OSError):
            pass  # the error that made us undo says more

    def close(self) -> None:
        self._closing.run()


def _check_rights(spec: Spec) -> None:
    """Who isn't root can do all this in a user namespace alone. runc's words."""
    if os.geteuid() != 0 and all(n["type"] != "user" for n in spec.get("linux", {}).get("namespaces") or []):
        raise InvalidSpec("linux.namespaces", "rootless container requires user namespaces")


def _resctrl_group(rdt: IntelRdt, id: str) -> dict[str, str]:
    """The resctrl group that a container is to have, as state.json has it; nothing where none is asked for."""
    if not any(rdt.values()):
        return {}
    from aiorun.cgroups import resctrl

    return dict(resctrl.locate(rdt, id).__dict__)


def check_rootfs(path: str) -> None:
    """In runc's words: a directory, and not by a link, which the container could have laid."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise AiorunError(f"invalid rootfs: stat {path} (root.path): {reason(error)}") from None
    if mode & 0o170000 == 0o100000:
        raise AiorunError(f"invalid rootfs: {path} (root.path): not a directory")
    if mode & 0o170000 != 0o040000 or os.path.realpath(path) != path:
        raise AiorunError("invalid rootfs: not an absolute path, or a symlink (root.path)")


def _now() -> str:
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}".rstrip("0").rstrip(".") + "Z"
