"""One container in a supervisor's hands."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from aiorun.errors import ContainerNotFound, InvalidState
from aiorun.runtime import delete as deleting
from aiorun.runtime import kill as killing
from aiorun.runtime import status as states
from aiorun.runtime.process import end_of_child
from aiorun.runtime.start import start
from aiorun.supervise.exit import Exit
from aiorun.trio_waiter import TrioWaiter
from aiorun.waiter import POLLIN

if TYPE_CHECKING:
    from trio.lowlevel import FdStream

    from aiorun.spec.types import Spec
    from aiorun.store import State, Store
    from aiorun.supervise.streams import PtyStream, Stdio

_KILL = 9


class Container:
    """One container. `stdin`, `stdout`, `stderr` are trio streams where PIPE was asked for, `terminal` where there is one."""

    def __init__(self, store: Store, state: State, pidfd: int, *, spec: Spec | None, stdio: Stdio | None) -> None:
        self._store, self._state, self._waiter = store, state, TrioWaiter()
        self.pidfd = pidfd
        self.spec = spec
        self.stdin: FdStream | None = None
        self.stdout: FdStream | None = None
        self.stderr: FdStream | None = None
        self.terminal: PtyStream | None = None
        if stdio is not None:
            self.stdin, self.stdout, self.stderr, self.terminal = stdio.take()
        self._exit: Exit | None = None

    def __repr__(self) -> str:
        return f"<aiorun.Container {self.id!r} pid {self.pid}>"

    @property
    def id(self) -> str:
        return self._state.id

    @property
    def pid(self) -> int:
        """Of the container's first process."""
        return self._state.pid

    @property
    def state(self) -> State:
        return self._state

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped, as of now."""
        return states.STOPPED if self._exit is not None else states.status(self._state)

    async def start(self) -> None:
        """Let the program begin; returns once it has been exec'd. See aiorun.runtime.start. A checkpoint."""
        await start(self._store, self.id, waiter=self._waiter)

    async def wait(self) -> Exit:
        """Wait for the program's end. Any number of tasks may; the exit is kept, also after `delete`.

        A cancel leaves the container as it is.
        """
        if self._exit is None and self.pidfd >= 0:
            await self._waiter.wait_any({self.pidfd: POLLIN})
        else:
            await trio.lowlevel.checkpoint()
        if self._exit is None:
            ended = end_of_child(self.pidfd) if self.pidfd >= 0 else None
            oom_killed = states.oom_killed(self._state)
            self._exit = Exit(*ended, oom_killed=oom_killed) if ended else Exit(None, None, oom_killed, known=False)
        return self._exit

    async def kill(self, signal: int | str = "TERM", *, all: bool = False) -> None:
        """Send a signal to the program, with `all` to every process of the container. Raises InvalidState when it has ended."""
        number = killing.signal_number(str(signal))
        await trio.lowlevel.checkpoint()
        if self._exit is not None and not all:
            raise InvalidState("container not running")
        await killing.kill(self._store, self.id, number, waiter=self._waiter, all=all)

    async def stop(self, *, grace: float = 10.0) -> Exit:
        """TERM, and after `grace` seconds KILL; returns its exit. Of one that has ended already, that."""
        for signal, patience in (("TERM", grace), ("KILL", float("inf"))):
            if self._exit is None:
                try:
                    await self.kill(signal)
                except InvalidState:
                    pass  # it was faster
                with trio.move_on_after(patience):
                    await self.wait()
        return await self.wait()

    async def delete(self, *, force: bool = False) -> None:
        """Remove the container. One that runs is refused unless `force` kills it; deleted already is fine with `force`.

        Raises InvalidState, ContainerNotFound, AiorunError. Once begun it isn't cancelled.
        """
        await trio.lowlevel.checkpoint()
        if force or self.status == states.CREATED:
            with trio.CancelScope(shield=True):
                await self._end()
        await deleting.delete(self._store, self.id, waiter=self._waiter, force=force)

    async def _end(self) -> None:
        """KILL, and the exit, which would be lost if somebody else reaped it."""
        if self._exit is None:
            try:
                await self.kill(_KILL)
            except (InvalidState, ContainerNotFound):
                pass
            await self.wait()

    async def aclose(self) -> None:
        """End and delete it, and close all that is ours: its streams and its pidfd."""
        try:
            await self.delete(force=True)
        finally:
            for stream in (self.stdin, self.stdout, self.stderr, self.terminal):
                if stream is not None:
                    await trio.aclose_forcefully(stream)
            # Who waits for the pidfd too was woken with us, and looks at it before we come back from here.
            await trio.lowlevel.cancel_shielded_checkpoint()
            if self.pidfd >= 0:
                os.close(self.pidfd)
                self.pidfd = -1
