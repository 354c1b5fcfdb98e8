"""One more process in a container, in a supervisor's hands: prepared, started, waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import trio
from trio.lowlevel import enable_ki_protection

from aiorun.errors import InvalidState
from aiorun.runtime.exec import ExecOptions, Target
from aiorun.runtime.kill import signal_number
from aiorun.runtime.process import SIGKILL, end_of_child, send
from aiorun.spec.process import Changes, check_process
from aiorun.supervise.exit import Exit
from aiorun.supervise.streams import Stdio
from aiorun.waiter import POLLIN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from trio.lowlevel import FdStream

    from aiorun.runtime.exec import Prepared
    from aiorun.store import State, Store
    from aiorun.supervise.streams import PtyStream, Redirection, Size
    from aiorun.trio_waiter import TrioWaiter

    Prepare = Callable[[Target, ExecOptions, Mapping[str, int]], Awaitable[Prepared]]


class ProcessOptions(TypedDict, total=False):
    """What `Container.process` and `Container.exec` take beside the arguments of the program."""

    env: Mapping[str, str]
    cwd: str
    user: int | tuple[int, int]
    groups: Sequence[int]
    capabilities: Sequence[str]
    no_new_privileges: bool
    document: Mapping[str, object]
    ignore_paused: bool


class Process:
    """One process in a container beside its program. `stdin`, `stdout`, `stderr`, `terminal` are as a Container's.

    Until `start` it is prepared: it has a pid, its streams and its terminal, and nothing of its program has run. `pidfd` is -1
    once its block is over.
    """

    def __init__(self, prepared: Prepared, waiter: TrioWaiter) -> None:
        self.pid, self.pidfd = prepared.pid, prepared.pidfd
        self.stdin: FdStream | None = None
        self.stdout: FdStream | None = None
        self.stderr: FdStream | None = None
        self.terminal: PtyStream | None = None
        self._prepared, self._waiter = prepared, waiter
        self._exit: Exit | None = None
        self._started = False
        self._oom_kills = prepared.oom_kills()

    def __repr__(self) -> str:
        return f"<aiorun.Process pid {self.pid}>"

    @enable_ki_protection
    async def start(self) -> None:
        """Let the program begin; returns once it has been executed. A checkpoint.

        Raises InitFailed if it can't be, InvalidState the second time. A cancel leaves it prepared or started.
        """
        await trio.lowlevel.checkpoint()
        if self._started:
            raise InvalidState("cannot start a process twice")
        self._started = True
        await self._prepared.start()

    @enable_ki_protection
    async def wait(self) -> Exit:
        """Wait for its end. Any number of tasks may; the exit is kept. A cancel leaves it as it is. A checkpoint."""
        if self._exit is None:
            await self._waiter.wait_any({self.pidfd: POLLIN})
        else:
            await trio.lowlevel.checkpoint()
        return self._ended()

    def _ended(self) -> Exit:
        if self._exit is None:
            ended = end_of_child(self.pidfd)
            oom_killed = ended is not None and ended[1] == SIGKILL and self._prepared.oom_kills() > self._oom_kills
            self._exit = Exit(*ended, oom_killed=oom_killed) if ended else Exit(None, None, known=False)
        return self._exit

    @enable_ki_protection
    async def kill(self, signal: int | str = "TERM") -> None:
        """Send a signal: a number, or a name with or without SIG. A checkpoint.

        Raises InvalidState when it has ended, AiorunError for a signal that there isn't.
        """
        number = signal_number(f"{signal}")
        await trio.lowlevel.checkpoint()
        if self._exit is not None or not send(self.pidfd, number):
            raise InvalidState("process not running")

    @enable_ki_protection
    async def aclose(self) -> None:
        """End it, started or not, and close what is ours of it. A cancel doesn't keep it from that."""
        try:
            if self.pidfd >= 0:
                await self._waiter.shield(self._end())
        finally:
            for stream in (self.stdin, self.stdout, self.stderr, self.terminal):
                if stream is not None:
                    stream.close()

    async def _end(self) -> None:
        if self._exit is None and not self._prepared.is_frozen():
            send(self.pidfd, SIGKILL)
            await self._waiter.wait_any({self.pidfd: POLLIN})
            self._ended()
        await self._prepared.abandon()
        self.pidfd = -1


class ProcessBlock:
    """What `Container.process` returns: the process lasts as long as the block. See ContainerBlock."""

    def __init__(
        self,
        store: Store,
        state: State,
        prepare: Prepare,
        waiter: TrioWaiter,
        changes: Changes,
        redirections: tuple[Redirection, Redirection, Redirection],
        *,
        document: Mapping[str, object] | None,
        ignore_paused: bool,
    ) -> None:
        self._store, self._state, self._prepare, self._waiter = store, state, prepare, waiter
        self._changes, self._redirections, self._document = changes, redirections, document
        self._options = ExecOptions(detached=False, ignore_paused=ignore_paused)
        self._process: Process | None = None

    @enable_ki_protection
    async def __aenter__(self) -> Process:
        await trio.lowlevel.checkpoint()
        given = None if self._document is None else check_process(self._document)
        target = Target(self._store, self._state.id, given, self._changes, self._options, created=self._state.created)
        with target, Stdio(*self._redirections, terminal=target.terminal) as stdio:
            process = Process(await self._prepare(target, self._options, stdio.files), self._waiter)
            self._process = process
            try:
                process.stdin, process.stdout, process.stderr, process.terminal = stdio.take()
            except BaseException:
                await process.aclose()
                raise
            return process

    @enable_ki_protection
    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        await self._process.aclose()


def changes_of(args: Sequence[str], size: Size | None, options: ProcessOptions) -> Changes:
    """The options of `Container.process` that say who the process is."""
    user = options.get("user")
    uid, gid = user if isinstance(user, tuple) else (user, None)
    return Changes(
        args=tuple(args),
        cwd=options.get("cwd", ""),
        env=tuple(f"{name}={value}" for name, value in options.get("env", {}).items()),
        terminal=None if size is None else True,
        size=None if size is None else (size.rows, size.columns),
        uid=uid,
        gid=gid,
        groups=tuple(options.get("groups", ())),
        capabilities=tuple(options.get("capabilities", ())),
        no_new_privileges=options.get("no_new_privileges"),
    )
