"""An init from its parent's side: the conversation with it, and what its parent alone can do for it. For create and exec."""

from __future__ import annotations

import os

from aiorun.errors import AiorunError, ConsoleError, InitFailed, InvalidSpec, ProtocolError, UsageError, reason
from aiorun.linux import socket
from aiorun.linux.file import PROC_SUPER_MAGIC, filesystem_type
from aiorun.linux.process import get_rlimit, namespace_type, set_rlimit
from aiorun.plan.namespaces import FLAGS
from aiorun.plan.process import RLIMITS
from aiorun.runtime.process import SIGKILL, reap_child, send
from aiorun.waiter import POLLIN
from aiorun.wire.protocol import LIMIT, Conversation, ProtocolViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable

    from aiorun.launch.failure import SpawnFailed
    from aiorun.launch.spawn import Spawned
    from aiorun.plan import Plan
    from aiorun.spec.types import Process, Spec
    from aiorun.waiter import Waiter
    from aiorun.wire.protocol import Failed, Message


_TICK = 0.02  # seconds after which a full queue is tried again: there is no event to wait for. connect(2), EAGAIN
_UNABLE = "unable to start container process"


def check_terminal(terminal: bool, *, console_socket: str, detached: bool) -> None:
    """A detached terminal needs somebody to receive its master, and only then. Texts byte for byte: engines match them."""
    if terminal and detached and not console_socket:
        raise UsageError("cannot allocate tty if runc will detach without setting console socket")
    if console_socket and not (terminal and detached):
        raise UsageError("cannot use console socket if runc will not detach or allocate tty")


def check_preserved(number: int) -> None:
    """All that the program is to have must be the caller's: ours (the log) are close-on-exec."""
    for fd in range(3, 3 + number):
        try:
            inherited = os.get_inheritable(fd)
        except OSError:
            inherited = False
        if not inherited:
            raise UsageError(f"--preserve-fds {number}: file descriptor {fd} is not open")


def check_labels(spec: Spec) -> None:
    """A security module that the document has a label for is on. Raises InvalidSpec."""
    process = spec["process"]
    if process.get("apparmorProfile") or process.get("selinuxLabel") or spec.get("linux", {}).get("mountLabel"):
        from aiorun.runtime.labels import require_modules  # only here: on many hosts there are none

        require_modules(spec)


# --- the files that it is given


def open_procfs() -> int:
    """The host's procfs, checked, as an fd: whatever is mounted later, it stays what it is. SECURITY, CVE-2025-52881."""
    try:
        fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AiorunError(f"open /proc: {reason(error)}") from None
    if filesystem_type(fd) != PROC_SUPER_MAGIC or os.fstat(fd).st_ino != 1:
        os.close(fd)
        raise AiorunError("open /proc: not a procfs")
    return fd


def open_named(plan: Plan, owned: Callable[[int], int]) -> dict[str, int]:
    """The host's files that the plan names, and its seccomp filter; `owned` is told each fd. Raises AiorunError, InvalidSpec."""
    files = {}
    for name, path, at in plan.opens:
        try:
            files[name] = owned(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            raise AiorunError(f'open "{path}" ({at}): {reason(error)}') from None
        kind = name.removeprefix("ns:")
        if namespace_type(files[name]) != FLAGS[kind]:
            raise InvalidSpec(at, f'"{path}" is not a namespace of the type "{kind}"')
    if plan.filter:
        from aiorun.launch.filters import open_filter  # only here: many plans have none

        files["seccomp"] = owned(open_filter(plan.filter))
    return files


async def connect_console(waiter: Waiter, path: str) -> Socket:
    """The console socket, for the init to send its terminal's master to. Raises ConsoleError."""
    try:
        return await connect(waiter, path)
    except OSError as error:
        raise ConsoleError(f'connect to the console socket "{path}": {reason(error)}') from None


async def send_pidfd(waiter: Waiter, path: str, pidfd: int) -> None:
    """Send a copy of `pidfd` to the socket at `path`, as runc does. Raises ConsoleError."""
    try:
        with_peer = await connect(waiter, path)
        socket.send(with_peer, b"0", (pidfd,))
        with_peer.close()
    except OSError as error:
        raise ConsoleError(f'send the pidfd to "{path}": {reason(error)}') from None


async def connect(waiter: Waiter, path: str) -> Socket:
    """A connection to a socket, as soon as there is room in its queue. Raises OSError."""
    while True:
        try:
            return socket.connect_at_once(path)
        except BlockingIOError:
            await waiter.sleep(_TICK)


# --- what it can't do itself


def set_oom_score(process: Process, pid: int) -> None:
    """process.oomScoreAdj, if there is one. Raises AiorunError."""
    score = process.get("oomScoreAdj")
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


def raise_hard_limits(process: Process, pid: int) -> None:
    """Hard limits above ours, which only we may raise; the init sets the limits themselves last of all. prlimit(2).

    The init has ours so far. It isn't asked for them: it's another user by now, which takes CAP_SYS_RESOURCE.
    """
    for index, limit in enumerate(process.get("rlimits") or []):
        resource = RLIMITS[limit["type"]]
        soft, hard = get_rlimit(resource)
        if limit["hard"] > hard:
            try:
                set_rlimit(resource, soft, limit["hard"], pid=pid)
            except OSError as error:
                raise AiorunError(f"raise the hard limit (process.rlimits[{index}]): {reason(error)}") from None


# --- the conversation


class Child:
    """An init that was spawned, and the conversation with it. Whoever has it owns the pidfd; `close` is for the channel."""

    def __init__(self, spawned: Spawned, waiter: Waiter, oom_kills: Callable[[], int]) -> None:
        self.pid, self.pidfd, self.channel = spawned.pid, spawned.pidfd, spawned.channel
        self._waiter, self._oom_kills = waiter, oom_kills
        self._conversation = Conversation(init=False)

    def close(self) -> None:
        self.channel.close()

    async def abandon(self, *, frozen: bool) -> None:
        """End it, and reap it, unless it is in a `frozen` cgroup, in which nothing of v1 dies until somebody thaws it."""
        self.close()
        send(self.pidfd, SIGKILL)
        if not frozen:
            await self._waiter.wait_any({self.pidfd: POLLIN})
            reap_child(self.pidfd)
        os.close(self.pidfd)

    async def say(self, message: Message, *files: int) -> None:
        """Raises InitFailed if it is dead."""
        try:
            socket.send(self.channel, self._conversation.sent(message), files)
        except OSError:
            raise await self.death() from None

    async def listen(self) -> Message:
        """What it says next. Raises InitFailed if it died, ProtocolError."""
        await self._waiter.wait_any({self.channel.fileno(): POLLIN})
        message = self.take()
        if message is None:
            raise await self.death()
        return message

    def take(self) -> Message | None:
        """What it has said, None at the end. Raises ProtocolError."""
        try:
            packet, fds = socket.receive(self.channel, LIMIT + 1)
            for fd in fds:
                os.close(fd)
            if fds:
                raise ProtocolViolation("a message with files")
            return self._conversation.received(packet) if packet else None
        except ConnectionResetError:
            return None  # it died with our Proceed unread, as the out-of-memory killer has it: an end of file all the same
        except OSError as error:
            raise ProtocolError(f"{_UNABLE}: read from init: {reason(error)}") from None
        except ProtocolViolation as violation:
            raise ProtocolError(f"{_UNABLE}: init sent {violation}") from None

    async def death(self) -> InitFailed:
        """End of file before Ready: with which status, and whether it was the memory limit. Reaps it."""
        send(self.pidfd, SIGKILL)  # one that only closed its end would have us wait for ever; the status of an exit stays
        await self._waiter.wait_any({self.pidfd: POLLIN})
        status = reap_child(self.pidfd)
        possibly = " (possibly OOM-killed: linux.resources.memory)" if self._oom_kills() else ""
        return InitFailed(f"{_UNABLE}: init died with status {status}{possibly}")


def told(message: Failed | SpawnFailed) -> str:
    """The sentence of an init that failed, or of the attempt to make one."""
    return f"{message.text}: {reason(OSError(message.errno, ''))}" if message.errno else message.text
