"""create: from a Spec to an init that blocks on exec.fifo, or to nothing at all. runtime.md, "Lifecycle", 1 to 5."""

from __future__ import annotations

import os
import time

from aiorun import cgroups
from aiorun.errors import AiorunError, ConsoleError, InitFailed, InvalidSpec, ProtocolError, UsageError, reason
from aiorun.linux import socket
from aiorun.linux.file import PROC_SUPER_MAGIC, filesystem_type
from aiorun.linux.pidfd import start_time
from aiorun.linux.process import get_rlimit, namespace_type, set_rlimit
from aiorun.plan import rootfs
from aiorun.plan.namespaces import FLAGS
from aiorun.plan.process import RLIMITS
from aiorun.runtime.compile import compile_for, has_little_memory
from aiorun.runtime.delete import claim
from aiorun.runtime.hooks import run_hooks
from aiorun.runtime.process import SIGKILL, kill, reap_child, send, write_pid_file
from aiorun.store import State
from aiorun.undo import Undo
from aiorun.waiter import POLLIN
from aiorun.wire.protocol import LIMIT, Conversation, Failed, Proceed, ProtocolViolation, Ready, RunHooks
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Awaitable, Mapping

    from aiorun.launch.spawn import Spawned, Spawner
    from aiorun.plan import Plan
    from aiorun.spec.types import Spec
    from aiorun.store import Directory, Store
    from aiorun.waiter import Waiter
    from aiorun.wire.protocol import Message


_TICK = 0.02  # seconds after which a full queue is tried again: there is no event to wait for. connect(2), EAGAIN


class Options(Record):
    """What `create` takes beside the bundle. `console_fd` is the other end's socket where there is no path to one."""

    console_socket: str = ""
    pidfd_socket: str = ""
    pid_file: str = ""
    no_pivot: bool = False
    no_new_keyring: bool = False
    preserve: int = 0
    detached: bool = True  # nobody of ours stays to relay a terminal
    rows: int = 0
    columns: int = 0


class Created(Record):
    """A created container. Whoever has this owns the pidfd."""

    state: State
    pidfd: int


def check_terminal(spec: Spec, options: Options) -> None:
    """A detached terminal needs somebody to receive its master, and only then. Texts byte for byte: engines match them."""
    terminal = spec["process"].get("terminal", False)
    if terminal and options.detached and not options.console_socket:
        raise UsageError("cannot allocate tty if runc will detach without setting console socket")
    if options.console_socket and not (terminal and options.detached):
        raise UsageError("cannot use console socket if runc will not detach or allocate tty")


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
    check_terminal(spec, options)
    creation = _Creation(store, id, spec, bundle, options, waiter, spawner)
    try:
        return await creation.run(dict(files or {}))
    except BaseException:
        await waiter.shield(creation.undo())
        raise
    finally:
        creation.close()


class _Creation:
    """One create on its way: what it made so far, so that it can be undone."""

    def __init__(
        self, store: Store, id: str, spec: Spec, bundle: str, options: Options, waiter: Waiter, spawner: Spawner
    ) -> None:
        self._store, self._id, self._spec, self._bundle, self._options = store, id, spec, bundle, options
        self._waiter, self._spawner = waiter, spawner
        self._directory: Directory | None = None
        self._cgroup: cgroups.Cgroup | None = None
        self._init: Spawned | None = None
        self._closing = Undo()
        self._pid_file_written = False

    async def run(self, files: dict[str, int]) -> Created:
        console = "console" in files or bool(self._options.console_socket)
        plan, cgroup = compile_for(self._id, self._spec, self._bundle, self._options, console=console)
        _check_rootfs(rootfs(self._spec, self._bundle))
        _check_preserved(self._options.preserve)
        directory, state = self._take_id(cgroup)
        files = {**files, **await self._open_files(plan, directory)}
        with directory.locked():
            directory.check_not_removing()  # who removes the container removes the cgroup that is there then
            cgroup.create()
        self._cgroup = cgroup
        linux = self._spec.get("linux", {})
        cgroup.apply(linux.get("resources") or {}, linux.get("devices"))
        files |= self._open_cgroup(cgroup)
        init = await self._spawn(plan, files)
        state = state.replace(pid=init.pid, start_time=start_time(init.pid)[0])
        with directory.locked():
            directory.write(state)  # before the init is let into its cgroups: who removes the container has to find it
        self._set_oom_score(init.pid)
        conversation = Conversation(init=False)
        await self._converse(init, conversation, state)
        self._raise_hard_limits(init.pid)
        state = state.replace(status="created")
        with directory.locked():
            directory.write(state)
        await self._answer(init)
        await self._say(init, conversation, Proceed())
        self._init = None
        return Created(state, init.pidfd)

    def _take_id(self, cgroup: cgroups.Cgroup) -> tuple[Directory, State]:
        """The id's directory, with a state from the first moment on, so that whoever comes after a SIGKILL can clean up."""
        namespaces = self._spec.get("linux", {}).get("namespaces") or []
        state = State(
            oci_version=self._spec["ociVersion"],
            id=self._id,
            bundle=self._bundle,
            rootfs=rootfs(self._spec, self._bundle),
            created=_now(),
            owner=os.geteuid(),
            cgroup_paths=cgroup.paths,
            private_pid_namespace=any(n["type"] == "pid" and not n.get("path") for n in namespaces),
            annotations=self._spec.get("annotations") or {},
            hooks={kind: hooks for kind, hooks in (self._spec.get("hooks") or {}).items() if hooks},
        )
        directory = self._store.make(self._id)
        self._directory = directory
        self._closing.add(directory.close)
        with directory.locked():
            directory.write(state)
        return directory, state

    async def _open_files(self, plan: Plan, directory: Directory) -> dict[str, int]:
        """The files that the init gets by name; ours are closed when create is over."""
        files = {"proc": self._owned(_open_procfs()), "fifo": self._owned(directory.make_fifo(os.geteuid(), os.getegid()))}
        for name, path, at in plan.opens:
            try:
                files[name] = self._owned(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
            except OSError as error:
                raise AiorunError(f'open "{path}" ({at}): {reason(error)}') from None
            kind = name.removeprefix("ns:")
            if namespace_type(files[name]) != FLAGS[kind]:
                raise InvalidSpec(at, f'"{path}" is not a namespace of the type "{kind}"')
        if self._options.console_socket:
            try:
                console = await self._connect(self._options.console_socket)
            except OSError as error:
                raise ConsoleError(f'connect to the console socket "{self._options.console_socket}": {reason(error)}') from None
            self._closing.add(console.close)
            files["console"] = console.fileno()
        return files

    async def _connect(self, path: str) -> Socket:
        """A connection to a socket, as soon as there is room in its queue. Raises OSError."""
        while True:
            try:
                return socket.connect_at_once(path)
            except BlockingIOError:
                await self._waiter.sleep(_TICK)

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

    async def _spawn(self, plan: Plan, files: dict[str, int]) -> Spawned:
        try:
            init = await self._spawner.spawn(plan, files)
        except OSError as error:
            raise InitFailed(f"unable to start container process: clone: {reason(error)}") from None
        self._init = init
        self._closing.add(init.channel.close)
        return init

    def _set_oom_score(self, pid: int) -> None:
        score = self._spec["process"].get("oomScoreAdj")
        if score is None:
            return
        try:
            fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, str(score).encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise AiorunError(f"set process.oomScoreAdj to {score}: {reason(error)}") from None

    def _raise_hard_limits(self, pid: int) -> None:
        """Hard limits above ours, which only we may raise; the init sets the limits themselves last of all. prlimit(2).

        The init has ours so far. It isn't asked for them: it's another user by now, which takes CAP_SYS_RESOURCE.
        """
        for index, limit in enumerate(self._spec["process"].get("rlimits") or []):
            resource = RLIMITS[limit["type"]]
            soft, hard = get_rlimit(resource)
            if limit["hard"] > hard:
                try:
                    set_rlimit(resource, soft, limit["hard"], pid=pid)
                except OSError as error:
                    raise AiorunError(f"raise the hard limit (process.rlimits[{index}]): {reason(error)}") from None

    async def _converse(self, init: Spawned, conversation: Conversation, state: State) -> None:
        """Lead the init to Ready. Raises InitFailed, HookFailed, ProtocolError."""
        await self._say(init, conversation, Proceed())
        while True:
            message = await self._listen(init, conversation)
            if isinstance(message, Ready):
                return
            if isinstance(message, Failed):
                raise InitFailed(f"unable to start container process: error during container init: {told(message)}")
            if isinstance(message, RunHooks):
                for kind in ("prestart", "createRuntime"):
                    await run_hooks(self._waiter, state, kind, "creating", pid=init.pid)
                await self._say(init, conversation, Proceed())

    async def _say(self, init: Spawned, conversation: Conversation, message: Message) -> None:
        try:
            socket.send(init.channel, conversation.sent(message))
        except OSError:
            raise InitFailed(await self._how_it_died(init)) from None

    async def _listen(self, init: Spawned, conversation: Conversation) -> Message:
        await self._waiter.wait_any({init.channel.fileno(): POLLIN})
        try:
            packet, fds = socket.receive(init.channel, LIMIT + 1)
            for fd in fds:
                os.close(fd)
            if fds:
                raise ProtocolViolation("a message with files")
            if packet:
                return conversation.received(packet)
        except ConnectionResetError:
            pass  # it died with our Proceed unread, as the out-of-memory killer has it: an end of file all the same
        except OSError as error:
            raise ProtocolError(f"unable to start container process: read from init: {reason(error)}") from None
        except ProtocolViolation as violation:
            raise ProtocolError(f"unable to start container process: init sent {violation}") from None
        raise InitFailed(await self._how_it_died(init))

    async def _how_it_died(self, init: Spawned) -> str:
        """End of file before Ready: with which status, and whether it was the memory limit. Reaps it."""
        send(init.pidfd, SIGKILL)  # one that only closed its end would have us wait for ever; the status of an exit stays
        await self._waiter.wait_any({init.pidfd: POLLIN})
        status = reap_child(init.pidfd)
        possibly = " (possibly OOM-killed)" if self._cgroup is not None and self._cgroup.oom_kills() else ""
        return f"unable to start container process: init died with status {status}{possibly}"

    async def _answer(self, init: Spawned) -> None:
        """pidfd socket and pid file, complete before the command returns."""
        if self._options.pidfd_socket:
            try:
                with_peer = await self._connect(self._options.pidfd_socket)
                socket.send(with_peer, b"0", (init.pidfd,))
                with_peer.close()
            except OSError as error:
                raise ConsoleError(f'send the pidfd to "{self._options.pidfd_socket}": {reason(error)}') from None
        if self._options.pid_file:
            write_pid_file(self._options.pid_file, init.pid)
            self._pid_file_written = True

    async def undo(self) -> None:
        """Take back what was made, last first. What can't be taken back doesn't keep the rest from it."""
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

    async def _give_id_back(self, directory: Directory) -> None:
        """The cgroup and the directory, unless a delete has them: then they are its affair, or already another container's."""
        right, _ = await claim(directory, waiter=self._waiter, force=True)
        try:
            if self._cgroup is not None:
                await self._quietly(self._cgroup.kill(SIGKILL, self._waiter))
                await self._quietly(self._cgroup.remove(self._waiter))
            with directory.locked():
                directory.remove()
        finally:
            os.close(right)

    async def _quietly(self, step: Awaitable[None]) -> None:
        try:
            await step
        except (AiorunError, OSError):
            pass  # the error that made us undo says more

    def close(self) -> None:
        self._closing.run()


def told(message: Failed) -> str:
    """The sentence of an init that failed."""
    return f"{message.text}: {reason(OSError(message.errno, ''))}" if message.errno else message.text


def _check_rootfs(path: str) -> None:
    """In runc's words: a directory, and not by a link, which the container could have laid."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise AiorunError(f"invalid rootfs: stat {path} (root.path): {reason(error)}") from None
    if mode & 0o170000 == 0o100000:
        raise AiorunError(f"invalid rootfs: {path} (root.path): not a directory")
    if mode & 0o170000 != 0o040000 or os.path.realpath(path) != path:
        raise AiorunError("invalid rootfs: not an absolute path, or a symlink (root.path)")


def _check_preserved(number: int) -> None:
    """All that the program is to have must be the caller's: ours (the log) are close-on-exec."""
    for fd in range(3, 3 + number):
        try:
            inherited = os.get_inheritable(fd)
        except OSError:
            inherited = False
        if not inherited:
            raise UsageError(f"--preserve-fds {number}: file descriptor {fd} is not open")


def _open_procfs() -> int:
    """The host's procfs, checked, as an fd: whatever is mounted later, it stays what it is. SECURITY, CVE-2025-52881."""
    try:
        fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AiorunError(f"open /proc: {reason(error)}") from None
    if filesystem_type(fd) != PROC_SUPER_MAGIC or os.fstat(fd).st_ino != 1:
        os.close(fd)
        raise AiorunError("open /proc: not a procfs")
    return fd


def _now() -> str:
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}".rstrip("0").rstrip(".") + "Z"
