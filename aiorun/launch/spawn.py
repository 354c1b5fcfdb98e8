"""Spawning an init out of this process: what a one-shot command does."""

from __future__ import annotations

import os

from aiorun.init.main import executors, run
from aiorun.launch.failure import SpawnFailed
from aiorun.linux import process, socket
from aiorun.linux.pidfd import pidfd_send_signal, reap
from aiorun.wire.ops import JoinNamespace
from aiorun.wire.plan import Plan
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Mapping
    from typing import Protocol

    class Spawner(Protocol):
        """Makes inits: in this process, or through the launcher. Lifecycles don't know which."""

        async def spawn(self, plan: Plan, files: Mapping[str, int]) -> Spawned:
            """Clone an init for `plan`, with copies of `files` under their names. The caller keeps its own fds.

            The init waits for its first Proceed. Raises SpawnFailed, LauncherDied.
            """


class Spawned(Record):
    """An init that waits for its first Proceed. Whoever has this owns the pidfd and the channel."""

    pid: int
    pidfd: int
    channel: Socket

    def abandon(self) -> None:
        """End and reap an init that nobody wants any more. It is our child; dying takes it a moment, and we wait for that."""
        self.channel.close()
        try:
            pidfd_send_signal(self.pidfd, 9)
            reap(self.pidfd)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.pidfd)


class HereSpawner:
    """Clones the init out of the calling process, which must have one thread and be sealed (aiorun.launch.sealed)."""

    async def spawn(self, plan: Plan, files: Mapping[str, int]) -> Spawned:
        ours, theirs = channel_pair()
        try:
            pid, pidfd, ended = clone_init(plan, dict(files), theirs)
        except SpawnFailed as failure:
            ours.close()
            reap_all(failure.ended)
            raise
        finally:
            theirs.close()
        reap_all(ended)
        return Spawned(pid, pidfd, ours)


def channel_pair() -> tuple[Socket, Socket]:
    """The two ends of the conversation with an init: ours and its own. Raises SpawnFailed."""
    try:
        return socket.pair()
    except OSError as error:
        raise SpawnFailed("make a socket pair", error.errno or 0) from None


def reap_all(pidfds: tuple[int, ...]) -> None:
    """Reap children of ours that are about to end, and let go of them."""
    for pidfd in pidfds:
        try:
            reap(pidfd)
        except OSError:
            pass  # somebody else in this process waits for all children; or it's no process at all
        os.close(pidfd)


def clone_init(plan: Plan, files: dict[str, int], channel: Socket, *, flags: int = 0) -> tuple[int, int, tuple[int, ...]]:
    """Clone an init here that talks over `channel`: (pid, pidfd, pidfds of other children that have to be reaped).

    With CLONE_PARENT in `flags` they are our parent's children. Raises SpawnFailed.
    """
    if plan.join_pid and not _may_come_back():
        joins = (JoinNamespace("pid", process.CLONE_NEWPID, plan.join_pid, plan.join_pid, "linux.namespaces"),)
        plan = Plan(**{**plan.__dict__, "join_pid": "", "joins": joins})
    trees: dict[str, int] = {}
    if plan.trees:
        from aiorun.launch.idmap import make_trees

        trees = make_trees(plan, files)
        files |= trees
    try:
        return _clone_init(plan, files, channel, flags)
    finally:
        for fd in trees.values():
            os.close(fd)


def _may_come_back() -> bool:
    """Whether we could join our own pid namespace again. Not if it is the host's, and we are root of another one. setns(2)."""
    own = _open_own_pid_namespace()
    try:
        process.setns(own, process.CLONE_NEWPID)
        return True
    except OSError:
        return False
    finally:
        os.close(own)


def _open_own_pid_namespace() -> int:
    try:
        return os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SpawnFailed('open "/proc/self/ns/pid"', error.errno or 0) from None


def _clone_init(plan: Plan, files: dict[str, int], channel: Socket, flags: int) -> tuple[int, int, tuple[int, ...]]:
    execute = executors({type(step) for step in plan.operations})
    # A user's process whose maps are to be written has to be dumpable, or its uid_map is root's. proc(5)
    closed = os.geteuid() == 0 or not plan.clone_flags & process.CLONE_NEWUSER
    ended: tuple[int, ...] = ()
    if plan.joins:
        from aiorun.launch.joiner import clone_after_joins

        pid, pidfd, ended = clone_after_joins(plan, files, flags)
    else:
        try:
            pid, pidfd = _clone_into(plan, files, flags)
        except OSError as error:
            raise SpawnFailed("clone", error.errno or 0) from None
    if pid == 0:
        for name in (plan.join_pid, "cgroup", *(step.fd for step in plan.joins)):  # they have served
            files.pop(name, None)
        run(plan, execute, files, channel, closed=closed)
    return pid, pidfd, ended


def _clone_into(plan: Plan, files: dict[str, int], flags: int) -> tuple[int, int]:
    """clone, where a pid namespace is joined with a setns around it: that only ever moves the children. setns(2)."""
    cgroup = files.get("cgroup", -1)
    if not plan.join_pid:
        return process.clone(plan.clone_flags | flags, cgroup=cgroup)
    own = _open_own_pid_namespace()
    pid = -1
    try:
        process.set_dumpable(False)  # CVE-2016-9962: others are in that namespace, and the child is born as we are
        process.setns(files[plan.join_pid], process.CLONE_NEWPID)
        pid, pidfd = process.clone(plan.clone_flags | flags, cgroup=cgroup)
        return pid, pidfd
    finally:
        if pid:
            process.setns(own, process.CLONE_NEWPID)
            process.set_dumpable(True)
        os.close(own)
