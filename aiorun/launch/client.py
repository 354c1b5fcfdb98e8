"""The supervisor's end of the launcher."""

from __future__ import annotations

import os

from aiorun.errors import LauncherDied, reason
from aiorun.launch.launcher import LIMIT
from aiorun.launch.sealed import real_binary
from aiorun.launch.spawn import Spawned
from aiorun.linux import socket
from aiorun.linux.process import pidfd_open, reap
from aiorun.waiter import POLLIN, POLLOUT
from aiorun.wire import json, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Mapping

    from aiorun.waiter import Waiter
    from aiorun.wire.plan import Plan

_FD = 3  # the launcher's end of the socket
_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")


class Launcher:
    """A Spawner whose inits are cloned by a process of its own, since nothing forks in a process that runs trio.

    It is started with the first spawn, and again by the next one after it died. `close` ends it.
    """

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter
        self._running: _Running | None = None

    async def spawn(self, plan: Plan, files: Mapping[str, int]) -> Spawned:
        """See aiorun.launch.spawn.Spawner. After a cancel there's no init either."""
        if self._running is None:
            self._running = _Running()
        running = self._running
        try:
            return await self._ask(running, plan, files)
        except LauncherDied:
            if self._running is running:
                self.close()
            raise

    async def _ask(self, running: _Running, wanted: Plan, files: Mapping[str, int]) -> Spawned:
        """The answer comes over the init's own channel, so that each asker waits for nobody else's."""
        ours, theirs = socket.pair()
        try:
            await running.send(self._waiter, wanted, {**files, "channel": theirs.fileno()})
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        try:
            await self._waiter.wait_any({ours.fileno(): POLLIN})
        except BaseException:
            await self._waiter.shield(self._forget(ours))
            raise
        return _answer(ours)

    async def _forget(self, ours: Socket) -> None:
        """The asker is cancelled: the init, which may not even be cloned yet, is to be ended and reaped all the same."""
        await self._waiter.wait_any({ours.fileno(): POLLIN})
        try:
            _answer(ours).abandon()
        except (OSError, LauncherDied):
            pass  # then there's none

    def close(self) -> None:
        """End the launcher. Inits that it made live on."""
        running, self._running = self._running, None
        if running is not None:
            running.close()


class _Running:
    """One launcher process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.pair()
        self._socket.setblocking(False)
        try:
            self._pidfd = pidfd_open(_start(theirs.fileno()))
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()

    async def send(self, waiter: Waiter, wanted: Plan, files: Mapping[str, int]) -> None:
        packet = json.dumps(["Spawn", plan.encode(wanted), list(files)]).encode()
        fds, memory = tuple(files.values()), -1
        if len(packet) > LIMIT:
            memory = _sealed(packet)
            packet, fds = json.dumps(["Spawn"]).encode(), (memory, *fds)
        try:
            while not self._sent(packet, fds):
                await waiter.wait_any({self._socket.fileno(): POLLOUT})
        finally:
            if memory >= 0:
                os.close(memory)

    def _sent(self, packet: bytes, fds: tuple[int, ...]) -> bool:
        try:
            socket.send(self._socket, packet, fds)
        except BlockingIOError:
            return False
        except OSError as error:
            raise LauncherDied(f"ask the launcher for an init: {reason(error)}") from None
        return True

    def close(self) -> None:
        """End of file ends the launcher, once it has answered what it was asked. It is reaped here."""
        self._socket.close()
        try:
            reap(self._pidfd)
        except ChildProcessError:
            pass  # somebody else in this process waits for all children
        os.close(self._pidfd)


def _answer(ours: Socket) -> Spawned:
    """What the launcher says of a request. Raises OSError, as clone did, and LauncherDied. Without an init `ours` is closed."""
    try:
        packet, fds = socket.receive(ours, LIMIT, 1)
        if not packet:
            raise LauncherDied("the launcher ended before it made an init")
        kind, *rest = json.loads(packet)
        if kind == "Spawned":
            return Spawned(int(rest[0]), fds[0], ours)
        text, errno = rest
        raise OSError(errno, text) if errno else LauncherDied(f"the launcher: {text}")
    except BaseException:
        ours.close()
        raise


def _start(theirs: int) -> int:
    """Start the launcher: no environment, no standard streams of ours, a session of its own, so that ^C isn't for it."""
    python = real_binary()
    arguments = [python, "-I", "-S", "-X", "utf8", _SCRIPT, str(_FD)]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)] + [(os.POSIX_SPAWN_DUP2, theirs, _FD)]
        signals = [number for number in range(1, 32) if number not in (9, 19)]
        return os.posix_spawn(python, arguments, {}, file_actions=actions, setsid=True, setsigmask=[], setsigdef=signals)
    except OSError as error:
        raise LauncherDied(f"start the launcher: {reason(error)}") from None
    finally:
        os.close(null)


def _sealed(content: bytes) -> int:
    """A memory file that nobody can change any more. memfd_create(2)."""
    import fcntl

    fd = os.memfd_create("aiorun-plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0xF)  # SEAL, SHRINK, GROW, WRITE
    return fd
