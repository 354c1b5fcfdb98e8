"""The supervisor's end of the launcher."""

from __future__ import annotations

import os
import select

from aiorun.errors import LauncherDied, reason
from aiorun.launch.failure import SpawnFailed
from aiorun.launch.launcher import LIMIT
from aiorun.launch.sealed import real_binary
from aiorun.launch.spawn import Spawned, channel_pair, reap_all
from aiorun.linux import socket
from aiorun.linux.pidfd import pidfd_open, pidfd_send_signal, reap
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
_KILL = 9
_MOST_CHILDREN = 2  # the init, and a joiner
_PATIENCE = 10.0  # seconds for an answer that a cancelled asker waits for


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
        running.askers += 1
        try:
            return await self._ask(running, plan, files)
        except LauncherDied:
            if self._running is running:
                self.close()
            raise
        finally:
            running.askers -= 1
            running.close_if_unused()

    async def _ask(self, running: _Running, wanted: Plan, files: Mapping[str, int]) -> Spawned:
        """The answer comes over the init's own channel, so that each asker waits for nobody else's."""
        ours, theirs = channel_pair()
        channel = os.fstat(theirs.fileno()).st_ino
        try:
            await running.send(self._waiter, wanted, {**files, "channel": theirs.fileno()})
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        waiting = {ours.fileno(): POLLIN, running.pidfd: POLLIN}
        try:
            await self._waiter.wait_any(waiting)
        except BaseException:
            await self._waiter.shield(self._forget(running, ours, channel, waiting))
            raise
        return _answer(ours, channel)

    async def _forget(self, running: _Running, ours: Socket, channel: int, waiting: Mapping[int, int]) -> None:
        """The asker is cancelled: the init, which may not even be cloned yet, is to be ended and reaped all the same."""
        if not await self._waiter.wait_any(waiting, _PATIENCE):
            pidfd_send_signal(running.pidfd, _KILL)  # somebody stopped it, and nobody can cancel us now
            await self._waiter.wait_any({running.pidfd: POLLIN})
        try:
            _answer(ours, channel).abandon()
        except (OSError, LauncherDied, SpawnFailed):
            pass  # then there's none

    def close(self) -> None:
        """End the launcher, after the last spawn that is on its way. Inits that it made live on."""
        running, self._running = self._running, None
        if running is not None:
            running.wanted = False
            running.close_if_unused()


class _Running:
    """One launcher process. It's closed once it isn't wanted any more, and nobody waits for an answer."""

    def __init__(self) -> None:
        self.wanted, self.askers = True, 0
        self._socket, theirs = socket.pair()
        self._socket.setblocking(False)
        try:
            self.pidfd = pidfd_open(_start(theirs.fileno()))
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
        """Whether there was room for it. Raises LauncherDied, OSError for what is wrong with the files."""
        try:
            socket.send(self._socket, packet, fds)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError) as error:
            raise LauncherDied(f"ask the launcher for an init: {reason(error)}") from None
        return True

    def close_if_unused(self) -> None:
        """It's killed, and reaped here: nobody asks it for anything any more, and one that hangs would have us wait."""
        if self.wanted or self.askers or self.pidfd < 0:
            return
        self._socket.close()
        try:
            pidfd_send_signal(self.pidfd, _KILL)
            reap(self.pidfd)
        except (ProcessLookupError, ChildProcessError):
            pass  # somebody else in this process waits for all children
        os.close(self.pidfd)
        self.pidfd = -1


def _answer(ours: Socket, channel: int) -> Spawned:
    """What the launcher says of a request, once it has answered or ended. Without an init `ours` is closed.

    `channel` is the inode of the init's end. Raises SpawnFailed, LauncherDied.
    """
    fds: list[int] = []
    try:
        if not _is_ready(ours):
            _end_orphan(channel)
            raise LauncherDied("the launcher ended while it made an init")
        packet, fds = socket.receive(ours, LIMIT, _MOST_CHILDREN)
        if not packet:
            raise LauncherDied("the launcher ended before it made an init")
        kind, first, *rest = json.loads(packet)
        if kind == "Spawned" and type(first) is int and not rest and fds:
            pidfd = fds.pop(0)
            return Spawned(first, pidfd, ours)
        if kind == "Failed" and type(first) is str and rest and type(rest[0]) is int:
            raise SpawnFailed(first, rest[0])
        raise ValueError("an answer of an unknown kind")
    except (ValueError, TypeError) as error:
        ours.close()
        raise LauncherDied(f"the launcher answered what it may not: {error}") from None
    except BaseException:
        ours.close()
        raise
    finally:
        reap_all(tuple(fds))


def _is_ready(ours: Socket) -> bool:
    poll = select.poll()
    poll.register(ours.fileno(), POLLIN)
    return bool(poll.poll(0))


def _end_orphan(channel: int) -> None:
    """End and reap the init that a launcher cloned and didn't live to tell of: the child of ours that holds `channel`."""
    link = f"socket:[{channel}]"
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as file:
                children = [int(pid) for pid in file.read().split()]
        except OSError:
            continue  # a thread that has ended
        for pid in children:
            _end_if_it_holds(pid, link)


def _end_if_it_holds(pid: int, link: str) -> None:
    try:
        pidfd = pidfd_open(pid)
    except OSError:
        return
    try:
        if _holds(pid, link):
            pidfd_send_signal(pidfd, _KILL)
            reap(pidfd)
    except OSError:
        pass  # it has ended, which no init does that waits for us
    finally:
        os.close(pidfd)


def _holds(pid: int, link: str) -> bool:
    directory = f"/proc/{pid}/fd"
    for fd in os.listdir(directory):
        try:
            if os.readlink(f"{directory}/{fd}") == link:
                return True
        except FileNotFoundError:
            pass  # an init begins by closing what isn't its own
    return False


def _start(theirs: int) -> int:
    """Start the launcher: no environment, no standard streams of ours, a session of its own, so that ^C isn't for it."""
    import fcntl

    python = real_binary()
    arguments = [python, "-I", "-S", "-X", "utf8", _SCRIPT, str(_FD)]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    end = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, _FD + 1)  # one that stdio doesn't land on, where ours is closed
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)] + [(os.POSIX_SPAWN_DUP2, end, _FD)]
        signals = [number for number in range(1, 32) if number not in (9, 19)]
        return os.posix_spawn(python, arguments, {}, file_actions=actions, setsid=True, setsigmask=[], setsigdef=signals)
    except OSError as error:
        raise LauncherDied(f"start the launcher: {reason(error)}") from None
    finally:
        os.close(null)
        os.close(end)


def _sealed(content: bytes) -> int:
    """A memory file that nobody can change any more. memfd_create(2)."""
    import fcntl

    fd = os.memfd_create("aiorun-plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0xF)  # SEAL, SHRINK, GROW, WRITE
    return fd
