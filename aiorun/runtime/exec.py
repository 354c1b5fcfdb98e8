"""exec: one more process in a container, prepared and then started, or nothing at all."""

from __future__ import annotations

import os

from aiorun import cgroups
from aiorun.console import signals as console_signals
from aiorun.errors import (
    AiorunError,
    CgroupError,
    ContainerNotFound,
    InitFailed,
    InvalidState,
    ProtocolError,
    reason,
)
from aiorun.launch.failure import SpawnFailed
from aiorun.linux.pidfd import start_time
from aiorun.plan.exec import ExecRequest, compile_exec
from aiorun.plan.namespaces import FILES, FLAGS
from aiorun.plan.process import profile_of
from aiorun.runtime import status as states
from aiorun.runtime.compile import has_little_memory
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
from aiorun.runtime.process import reap_child, write_pid_file
from aiorun.spec.process import Changes, exec_process
from aiorun.store import NEVER_EXECD, identity
from aiorun.undo import Undo
from aiorun.waiter import POLLIN
from aiorun.wire.protocol import Failed, Listener, Proceed, Ready
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiorun.launch.spawn import Spawned, Spawner
    from aiorun.plan import Plan
    from aiorun.spec.types import Process, Spec
    from aiorun.store import Directory, State, Store
    from aiorun.waiter import Waiter

_TICK = 0.25  # seconds after which a start looks again, should something have kept the channel open
_STOPPED = "cannot exec in a stopped container"
_REFUSED = {
    states.CREATING: "cannot exec in a container that is being created",
    states.STOPPED: _STOPPED,
    states.PAUSED: "cannot exec in a paused container (use --ignore-paused to override)",
}
_EXITING = 0x4  # PF_EXITING, linux/sched.h
_UNABLE = "unable to start container process"
# clone3(2) into a cgroup v2 that has given its controllers on to its children, that is threaded, that is gone
_NOT_INTO_IT = (16, 95, 19)  # EBUSY, EOPNOTSUPP, ENODEV


class ExecOptions(Record):
    """What `exec` takes beside the process. `sub_cgroups` are as `aiorun.cgroups.sub` has them."""

    console_socket: str = ""
    pidfd_socket: str = ""
    pid_file: str = ""
    preserve: int = 0
    detached: bool = True  # nobody of ours stays to relay a terminal
    rows: int = 0
    columns: int = 0
    sub_cgroups: tuple[str, ...] = ()
    ignore_paused: bool = False


class Target:
    """A container in which something is to be executed, as it is now, and what. A block: it owns the directory.

    Raises ContainerNotFound, InvalidState, InvalidSpec, UnsupportedSpec, UsageError. With `created` only the container that was
    created then.
    """

    def __init__(
        self, store: Store, id: str, given: Process | None, changes: Changes, options: ExecOptions, *, created: str = ""
    ) -> None:
        self.directory: Directory = store.open(id)
        try:
            self.state: State = self.directory.read()
            if created and self.state.created != created:
                raise ContainerNotFound(id)
            now = states.status(self.state)
            if now in _REFUSED and not (now == states.PAUSED and options.ignore_paused):
                raise InvalidState(_REFUSED[now])
            document: Spec = self.directory.read_config()  # type: ignore[assignment]  # checked when it was written
            self.spec = exec_process(document, given, changes)
            check_terminal(self.terminal, console_socket=options.console_socket, detached=options.detached)
            check_preserved(options.preserve)
            check_labels(self.spec)
        except BaseException:
            self.directory.close()
            raise

    @property
    def terminal(self) -> bool:
        return self.spec["process"].get("terminal", False)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_error: object) -> None:
        self.directory.close()


class Prepared:
    """A process that waits just before its program. Whoever has this owns the pidfd."""

    def __init__(self, child: Child, cgroup: cgroups.Cgroup, waiter: Waiter) -> None:
        self.pid, self.pidfd = child.pid, child.pidfd
        self._child, self._cgroup, self._waiter = child, cgroup, waiter

    async def start(self) -> None:
        """Let the program begin; returns once it has been executed. Raises InitFailed, ProtocolError: then it is dead.

        A cancel leaves it prepared or started.
        """
        await self._child.say(Proceed())
        channel, message = self._child.channel.fileno(), None
        while True:
            ready = await self._waiter.wait_any({channel: POLLIN, self.pidfd: POLLIN}, _TICK)
            if channel in ready:
                message = self._child.take()
                break
            if self.pidfd in ready or not self._never_execd():
                break
        if isinstance(message, Failed):
            raise InitFailed(f"{_UNABLE}: {told(message)}")
        if self._never_execd():
            raise await self._child.death()
        self._child.close()

    def _never_execd(self) -> bool:
        """A zombie still shows it, and nobody but us reaps it."""
        try:
            return bool(start_time(self.pid)[2] & NEVER_EXECD)
        except ProcessLookupError:
            return False

    def oom_kills(self) -> int:
        """How many of the container's processes the kernel killed for want of memory so far."""
        return self._cgroup.oom_kills()

    def is_frozen(self) -> bool:
        """Whether the container is paused, so that nothing in it dies until it goes on (cgroup v1)."""
        return self._cgroup.frozen()

    async def abandon(self) -> None:
        """End it, started or not, and close what is ours of it."""
        await self._child.abandon(frozen=self.is_frozen())


async def prepare(
    target: Target, options: ExecOptions, *, waiter: Waiter, spawner: Spawner, files: Mapping[str, int] | None = None
) -> Prepared:
    """A process in the container of `target` that waits for `Prepared.start`. `files` are as of `create`.

    Raises AiorunError. On an error and on a cancel nothing is left.
    """
    with Undo() as closing:
        return await _Preparation(target, options, waiter, spawner, closing).run(dict(files or {}))


class _Preparation:
    def __init__(self, target: Target, options: ExecOptions, waiter: Waiter, spawner: Spawner, closing: Undo) -> None:
        self._state, self._spec, self._directory = target.state, target.spec, target.directory
        self._options, self._waiter, self._spawner, self._closing = options, waiter, spawner, closing
        self._cgroup = cgroups.load(target.state.cgroup_paths)

    async def run(self, files: dict[str, int]) -> Prepared:
        console = "console" in files or bool(self._options.console_socket)
        paths = self._cgroup_paths()
        request = self._request(paths, console=console)
        plan = compile_exec(self._spec, request)
        files = {**files, **await self._open_files(plan)}
        if self._is_born_into_cgroup():
            files["cgroup"] = self._open_unified(paths[""])
        self._check_alive()  # after the namespaces are open: they were this init's
        child = Child(await self._spawn(plan, files), self._waiter, self._cgroup.oom_kills)
        try:
            if plan.joins:
                from aiorun.runtime.id_maps import give_pipes

                give_pipes(child.pid, files)
            await self._lead(child)
            return Prepared(child, self._cgroup, self._waiter)
        except BaseException:
            await self._waiter.shield(child.abandon(frozen=self._cgroup.frozen()))
            raise

    async def _lead(self, child: Child) -> None:
        process = self._spec["process"]
        if self._state.resctrl:
            from aiorun.cgroups import resctrl

            resctrl.add(resctrl.Group(**self._state.resctrl), child.pid)
        set_oom_score(process, child.pid)
        await child.say(Proceed())
        message = await child.listen()
        if isinstance(message, Listener):
            await self._hand_listener_on(child, message.fd)
            message = await child.listen()
        if isinstance(message, Failed):
            raise InitFailed(f"{_UNABLE}: {told(message)}")
        if not isinstance(message, Ready):
            raise ProtocolError(f"{_UNABLE}: init sent {type(message).__name__}")
        raise_hard_limits(process, child.pid)
        with self._directory.locked():
            self._directory.check_not_removing()  # a delete that comes later finds it in the cgroup
        if self._options.pidfd_socket:
            await send_pidfd(self._waiter, self._options.pidfd_socket, child.pidfd)

    async def _hand_listener_on(self, child: Child, fd: int) -> None:
        from aiorun.runtime.hooks import hook_state  # only here: few profiles have one
        from aiorun.runtime.listener import hand_on

        seen = hook_state(self._state, states.RUNNING, pid=self._state.pid)
        await hand_on(self._waiter, child, fd, profile_of(self._spec), seen)

    def _request(self, paths: dict[str, str], *, console: bool) -> ExecRequest:
        joined = {path: "tasks" for name, path in paths.items() if name}
        if "" in paths and not self._is_born_into_cgroup():
            joined[paths[""]] = "cgroup.procs"
        at = "--cgroup" if self._options.sub_cgroups else "linux.cgroupsPath"
        return ExecRequest(
            id=self._state.id,
            pid=self._state.pid,
            namespaces=_differing_namespaces(self._state.pid),
            cgroups=tuple((path, file, at) for path, file in joined.items()),
            rootfs=self._state.rootfs,
            little_memory=has_little_memory(self._spec),
            console=console,
            rows=self._options.rows,
            columns=self._options.columns,
            no_new_keyring=self._state.no_new_keyring,
            preserve=self._options.preserve,
        )

    def _cgroup_paths(self) -> dict[str, str]:
        if not self._options.sub_cgroups:
            return dict(self._cgroup.paths)
        from aiorun.cgroups.sub import sub_paths

        return sub_paths(self._cgroup.paths, self._options.sub_cgroups)

    def _is_born_into_cgroup(self) -> bool:
        """Into the v2 one, unless something comes before it: copies of the init's memory, or an initial CPU affinity."""
        alone = self._cgroup.paths.keys() == {""}
        initial = (self._spec["process"].get("execCPUAffinity") or {}).get("initial")
        return "" in self._cgroup.paths and not (alone and (has_little_memory(self._spec) or initial))

    async def _open_files(self, plan: Plan) -> dict[str, int]:
        files = {"proc": self._owned(open_procfs())}
        try:
            files |= open_named(plan, self._owned)
        except AiorunError:
            self._check_alive()
            raise
        if self._options.console_socket:
            console = await connect_console(self._waiter, self._options.console_socket)
            self._closing.add(console.close)
            files["console"] = console.fileno()
        return files

    def _owned(self, fd: int) -> int:
        """`fd`, which is closed when all is prepared."""
        self._closing.add(lambda: os.close(fd))
        return fd

    def _open_unified(self, path: str) -> int:
        try:
            return self._owned(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self._options.sub_cgroups:
                return self._open_inits_cgroup(error)
            at = "--cgroup" if self._options.sub_cgroups else "linux.cgroupsPath"
            raise CgroupError(f'join the cgroup "{path}" ({at}): {reason(error)}') from None

    def _open_inits_cgroup(self, why: OSError | SpawnFailed) -> int:
        """The v2 cgroup that the init is in now, where the one that was made for it takes no process any more. As runc."""
        mount_point = cgroups.layout().hierarchies[cgroups.UNIFIED].mount_point
        try:
            with open(f"/proc/{self._state.pid}/cgroup") as file:
                own = next(line[3:].rstrip("\n") for line in file if line.startswith("0::"))
            return self._owned(os.open(mount_point + own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except (OSError, StopIteration):
            self._check_alive()
            because = reason(OSError(why.errno, ""))
            raise CgroupError(f'join the cgroup "{self._cgroup.paths[""]}" (linux.cgroupsPath): {because}') from None

    def _check_alive(self) -> None:
        seen = identity(self._state)
        if seen is None or seen[0] in "ZX" or _is_exiting(self._state.pid):
            raise InvalidState(_STOPPED)

    async def _spawn(self, plan: Plan, files: dict[str, int]) -> Spawned:
        try:
            try:
                return await self._spawner.spawn(plan, files)
            except SpawnFailed as failure:
                if failure.errno not in _NOT_INTO_IT or "cgroup" not in files or self._options.sub_cgroups:
                    raise
                files["cgroup"] = self._open_inits_cgroup(failure)
                return await self._spawner.spawn(plan, files)
        except SpawnFailed as failure:
            self._check_alive()  # pid_namespaces(7): ENOMEM once its init is dead
            raise InitFailed(f"{_UNABLE}: {told(failure)}") from None


def _is_exiting(pid: int) -> bool:
    """An init may take long to die: it waits until all of its pid namespace are reaped. pid_namespaces(7)."""
    try:
        return bool(start_time(pid)[2] & _EXITING)
    except ProcessLookupError:
        return True


def _differing_namespaces(pid: int) -> tuple[str, ...]:
    """The types in which the namespace of `pid` isn't ours; one that this kernel doesn't have, or that is gone, is none."""
    found = []
    for kind in FLAGS:
        name = FILES.get(kind, kind)
        try:
            if not os.path.samefile(f"/proc/{pid}/ns/{name}", f"/proc/self/ns/{name}"):
                found.append(kind)
        except OSError:
            continue
    return tuple(found)


async def exec_detached(target: Target, options: ExecOptions, *, waiter: Waiter, spawner: Spawner) -> None:
    """Execute it and leave it to whoever reaps our children. On an error nothing is left."""
    prepared = await prepare(target, options, waiter=waiter, spawner=spawner)
    try:
        await prepared.start()
        if options.pid_file:
            write_pid_file(options.pid_file, prepared.pid)  # only now: engines take it for a sign that it runs
    except BaseException:
        await waiter.shield(prepared.abandon())
        raise
    os.close(prepared.pidfd)


async def exec_foreground(target: Target, options: ExecOptions, *, waiter: Waiter, spawner: Spawner) -> int:
    """Execute it and wait: its exit code, 128 + N by signal N. Signals are passed on; with a terminal ours is its own.

    On an error nothing is left.
    """
    with Undo() as closing:
        front, files = None, {}
        if target.terminal:
            from aiorun.runtime.front import Front

            front = Front(closing)
            files = {"console": front.console}
            options = ExecOptions(**{**options.__dict__, "rows": front.rows, "columns": front.columns})
        prepared = await prepare(target, options, waiter=waiter, spawner=spawner, files=files)
        try:
            with console_signals.Signals() as signals:
                if front is not None:
                    front.attach()
                await prepared.start()
                if options.pid_file:
                    write_pid_file(options.pid_file, prepared.pid)
                if front is not None:
                    await front.serve(waiter, prepared.pidfd, signals)
                else:
                    await console_signals.forward_until_exit(waiter, prepared.pidfd, signals)
        except BaseException:
            await waiter.shield(prepared.abandon())
            raise
        status = reap_child(prepared.pidfd)
        os.close(prepared.pidfd)
        if status is None:
            raise AiorunError("wait for the process: it isn't a child of ours")
        return status
