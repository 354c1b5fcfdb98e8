"""One container in a supervisor's hands."""

from __future__ import annotations

import os
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Unpack

import trio
from trio.lowlevel import enable_ki_protection

from aiorun.errors import ContainerNotFound, HookFailed, InvalidState, UsageError
from aiorun.runtime import delete as deleting
from aiorun.runtime import kill as killing
from aiorun.runtime import pause as pausing
from aiorun.runtime import status as states
from aiorun.runtime import update as updating
from aiorun.runtime.process import SIGKILL, await_death, end_of_child, send
from aiorun.runtime.start import start
from aiorun.spec import check_resources
from aiorun.supervise import events
from aiorun.supervise.attend import attend
from aiorun.supervise.exit import Exit
from aiorun.supervise.images import with_paths
from aiorun.supervise.process import ProcessBlock, ProcessOptions, changes_of
from aiorun.supervise.streams import DEVNULL, PIPE
from aiorun.trio_waiter import TrioWaiter
from aiorun.waiter import POLLIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trio.lowlevel import FdStream

    from aiorun.spec.types import Spec
    from aiorun.store import State, Store
    from aiorun.supervise.exit import Result
    from aiorun.supervise.images import CheckpointOptions
    from aiorun.supervise.process import Prepare
    from aiorun.supervise.streams import PtyStream, Redirection, Size, Stdio


class Container:
    """One container. `stdin`, `stdout`, `stderr` are trio streams where PIPE was asked for, `terminal` where there is one.

    `pidfd` is of its first process, and -1 once the container is deleted or let go of. What is done goes to this container
    alone, never to another one that has its id by now. Have one object for each container: only one of them learns the exit.
    """

    def __init__(
        self,
        store: Store,
        state: State,
        pidfd: int,
        *,
        spec: Spec | None,
        waiter: TrioWaiter,
        hub: events.Hub,
        prepare: Prepare,
    ) -> None:
        self._store, self._state, self._waiter, self._hub, self._prepare = store, state, waiter, hub, prepare
        self.pidfd = pidfd
        self.spec = spec
        self.stdin: FdStream | None = None
        self.stdout: FdStream | None = None
        self.stderr: FdStream | None = None
        self.terminal: PtyStream | None = None
        self._exit: Exit | None = None
        self._oom_killed = False  # seen before the cgroup was removed
        self._waiting = 0  # tasks that wait for the pidfd
        self._done_with_pidfd = False
        self._watch: events.Watch | None = None
        self._starting = self._exit_told = self._deleted = False
        hub.add(self)

    def __repr__(self) -> str:
        return f"<aiorun.Container {self.id!r} pid {self.pid}>"

    def take_streams(self, stdio: Stdio) -> None:
        """Our ends of its standard streams, and its terminal. Raises ConsoleError."""
        self.stdin, self.stdout, self.stderr, self.terminal = stdio.take()

    @property
    def id(self) -> str:
        return self._state.id

    @property
    def pid(self) -> int:
        """Of the container's first process."""
        return self._state.pid

    @property
    def state(self) -> State:
        """What was written down when it was created. `status` is what it is now."""
        return self._state

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped, as of now."""
        return states.STOPPED if self._exit is not None else states.status(self._state)

    @enable_ki_protection
    async def start(self) -> None:
        """Let the program begin; returns once it has been exec'd, and the poststart hooks have run. A checkpoint.

        Raises ContainerNotFound, InvalidState, InitFailed (a startContainer hook, execve, an init that died), and HookFailed,
        after which the container is deleted. A cancel leaves it created or started.
        """
        await trio.lowlevel.checkpoint()
        if self._exit is not None:
            raise InvalidState("cannot start a container that has stopped")
        self._starting = True
        try:
            await start(self._store, self.id, waiter=self._waiter, created=self._state.created)
            self._hub.tell(events.Started(self.id))
        except HookFailed as failure:
            self._hub.tell(events.FailedHook(self.id, str(failure)))
            raise
        finally:
            self._starting = False
            self._tell_exit()

    def process(
        self,
        args: Sequence[str] = (),
        *,
        stdin: Redirection = DEVNULL,
        stdout: Redirection = None,
        stderr: Redirection = None,
        terminal: Size | None = None,
        **options: Unpack[ProcessOptions],
    ) -> ProcessBlock:
        """`async with container.process(["sh"], …) as shell`: one more process in it, prepared, and ended with the block.

        Args:
          args: the program and its arguments; with `document` they may be missing.
          stdin, stdout, stderr, terminal: as `Runtime.create` has them.
          env, groups, capabilities: more of them than the container's program has; capabilities are never inheritable.
          cwd, user (uid, or uid and gid), no_new_privileges: in place of the container's.
          document: a dict like `process` of config.json, in place of the container's own.
          ignore_paused: wait in a paused container until it goes on.

        Entering raises ContainerNotFound, InvalidState, InvalidSpec, UnsupportedSpec, InitFailed and other AiorunErrors. A cancel
        leaves nothing.
        """
        return ProcessBlock(
            self._store, self._state, self._prepare, self._waiter, changes_of(args, terminal, options), (stdin, stdout, stderr),
            document=options.get("document"), ignore_paused=options.get("ignore_paused", False),
        )  # fmt: skip

    async def exec(
        self,
        args: Sequence[str] = (),
        *,
        input: bytes = b"",
        capture_output: bool = False,
        timeout: float | None = None,
        **options: Unpack[ProcessOptions],
    ) -> Result:
        """One more process from its start to its end, like `Runtime.run`; the options are those of `process`.

        After `timeout` seconds it is killed, and the Result says so; what it has left behind in the container stays there.
        """
        stdin, output = PIPE if input else DEVNULL, PIPE if capture_output else None
        async with self.process(args, stdin=stdin, stdout=output, stderr=output, **options) as process:
            if process.terminal is not None:
                raise UsageError("execute a process with a terminal: nobody would serve it")

            async def kill() -> None:
                try:
                    await process.kill("KILL")
                except InvalidState:
                    pass  # it was faster

            return await attend(process, kill, input=input, timeout=timeout)

    @enable_ki_protection
    async def wait(self) -> Exit:
        """Wait for the program's end. Any number of tasks may; the exit is kept, also after `delete`. A checkpoint.

        A cancel leaves the container as it is.
        """
        if self._exit is None and self.pidfd >= 0:
            with self.waited_for() as pidfd:
                await self._waiter.wait_any({pidfd: POLLIN})
                return self.ended()
        await trio.lowlevel.checkpoint()
        return self.ended()

    @contextmanager
    def waited_for(self) -> Iterator[int]:
        """A block in which its pidfd stays open."""
        self._waiting += 1
        try:
            yield self.pidfd
        finally:
            self._waiting -= 1
            self._close_pidfd()

    def ended(self) -> Exit:
        """The exit of a program that has ended, reaped here: who makes a process reaps it."""
        if self._exit is None:
            ended = end_of_child(self.pidfd) if self.pidfd >= 0 else None
            oom_killed = self._oom_killed or states.oom_killed(self._state)
            self._exit = Exit(*ended, oom_killed=oom_killed) if ended else Exit(None, None, oom_killed, known=False)
        self._tell_exit()
        return self._exit

    def _tell_exit(self) -> None:
        """Once, and after Started: a program may end before `start` has come to its end."""
        if self._exit is None or self._exit_told or self._starting:
            return
        self._exit_told = True
        if self._watch is not None:
            self._watch.tell_ooms()
        self._hub.tell(events.Exited(self.id, self._exit))

    def watch(self) -> None:
        """Tell of its end, and of its want of memory, as soon as they come."""
        if self._watch is None and self._exit is None and self.pidfd >= 0 and not self._done_with_pidfd:
            self._watch = events.Watch(self._hub, self)

    def unwatch(self) -> None:
        """Nobody wants to be told any more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def stats(self) -> events.Stats:
        """What it has used so far. A checkpoint. Raises InvalidState once its program has ended."""
        await trio.lowlevel.checkpoint()
        if self.status == states.STOPPED:
            raise InvalidState(f"container with id {self.id} is not running")
        return events.stats_of(self)

    def events(self, *, stats_every: float | None = None) -> events.Events:
        """What happens to it from now on, until it's deleted. See `Runtime.events`."""
        return self._hub.open(stats_every=stats_every, only=self)

    @enable_ki_protection
    async def kill(self, signal: int | str = "TERM", *, all: bool = False) -> None:
        """Send a signal to the program, with `all` to every process of the container. A checkpoint.

        `signal` is a number, or a name with or without SIG. Raises InvalidState when the program has ended (not with `all`),
        ContainerNotFound once the container is deleted, AiorunError for a signal that there isn't.
        """
        number = killing.signal_number(f"{signal}")
        await trio.lowlevel.checkpoint()
        if self._exit is not None and not all:
            raise InvalidState("container not running")
        await killing.kill(self._store, self.id, number, waiter=self._waiter, all=all, created=self._state.created)

    @enable_ki_protection
    async def stop(self, *, grace: float = 10.0) -> Exit:
        """TERM, and after `grace` seconds KILL; returns its exit. Of one that has ended already, that. A checkpoint.

        A cancel leaves the container as it is then.
        """
        for signal, patience in (("TERM", grace), ("KILL", inf)):
            if self._exit is None:
                try:
                    await self.kill(signal)
                except (InvalidState, ContainerNotFound):
                    pass  # it was faster
                with trio.move_on_after(patience):
                    await self.wait()
        return await self.wait()

    @enable_ki_protection
    async def pause(self) -> None:
        """Stop all its processes where they are; returns when they have stopped. A checkpoint; a cancel leaves it unpaused.

        Raises InvalidState ("container not running", also for one that is paused already), ContainerNotFound, CgroupError.
        """
        await trio.lowlevel.checkpoint()
        if self._exit is not None:
            raise InvalidState("container not running")
        await pausing.pause(self._store, self.id, waiter=self._waiter, created=self._state.created)
        self._hub.tell(events.Paused(self.id))

    @enable_ki_protection
    async def resume(self) -> None:
        """Let its processes go on. A checkpoint. Raises InvalidState ("container not paused"), ContainerNotFound, CgroupError."""
        await trio.lowlevel.checkpoint()
        if self._exit is not None:
            raise InvalidState("container not paused")
        pausing.resume(self._store, self.id, created=self._state.created)
        self._hub.tell(events.Resumed(self.id))

    @enable_ki_protection
    async def checkpoint(self, images: str | os.PathLike[str], **options: Unpack[CheckpointOptions]) -> None:
        """Save its processes as they are in the directory `images`, for `Runtime.restore`, and delete it. Also one of trio's.

        It goes on with `leave_running`, and with `pre_dump`, which saves memory alone; also if criu fails, and after a cancel
        before it is done. Raises CriuError, InvalidState for one that doesn't run, ContainerNotFound, AiorunError.
        """
        await trio.lowlevel.checkpoint()
        from aiorun.runtime import checkpoint as checkpointing  # only here: few supervisors have criu

        chosen = checkpointing.CheckpointOptions(**with_paths(images, options))
        await checkpointing.dump(self._store, self.id, chosen, waiter=self._waiter, created=self._state.created)
        if not chosen.goes_on:
            await self._waiter.shield(self._delete(force=True))

    @enable_ki_protection
    async def update(self, resources: Mapping[str, object]) -> None:
        """Change its limits to what `resources`, in the form of config.json's linux.resources, names. A checkpoint.

        What isn't named, and what is zero, stays as it is; -1 takes a limit away; device rules are left out. Where one limit
        can't be set none is changed. Raises InvalidSpec, InvalidState, ContainerNotFound, CgroupError.
        """
        changes = check_resources(dict(resources))
        await trio.lowlevel.checkpoint()
        if self._exit is not None:
            raise InvalidState("container not running")
        await updating.update(self._store, self.id, changes, waiter=self._waiter, created=self._state.created)

    @enable_ki_protection
    async def delete(self, *, force: bool = False) -> None:
        """Remove the container. One that runs is refused unless `force` kills it; deleted already is fine with `force`.

        Raises InvalidState, ContainerNotFound, AiorunError. A checkpoint; once begun it isn't cancelled. `wait` still says how
        the program ended, and what is left in the streams can be read.
        """
        await trio.lowlevel.checkpoint()
        await self._waiter.shield(self._delete(force=force))

    async def _delete(self, *, force: bool) -> None:
        self._oom_killed = self._exit is None and states.oom_killed(self._state)
        await deleting.delete(
            self._store, self.id, waiter=self._waiter, force=force, created=self._state.created, warn=self._tell_failed_hook
        )
        if self._exit is None and self.pidfd >= 0:  # still alive where somebody else removed the directory alone
            send(self.pidfd, SIGKILL)
            await await_death(self._waiter, self.pidfd)
        self.ended()
        if not self._deleted:
            self._deleted = True
            self._hub.tell(events.Deleted(self.id))
        self._done_with_pidfd = True
        self._close_pidfd()

    def _tell_failed_hook(self, sentence: str) -> None:
        self._hub.tell(events.FailedHook(self.id, sentence))

    @enable_ki_protection
    async def aclose(self) -> None:
        """End and delete it, and close what is ours of it. A cancel doesn't keep it from that.

        Raises AiorunError for what couldn't be removed.
        """
        try:
            await self._waiter.shield(self._delete(force=True))
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the container, which goes on: close its streams and, once nobody waits for it any more, its pidfd."""
        for stream in (self.stdin, self.stdout, self.stderr, self.terminal):
            if stream is not None:
                stream.close()
        self._done_with_pidfd = True
        self.unwatch()
        self._close_pidfd()

    def _close_pidfd(self) -> None:
        if self._done_with_pidfd and not self._waiting and self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
