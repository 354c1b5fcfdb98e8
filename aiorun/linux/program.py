"""Programs that aiorun runs for somebody else: hooks. posix_spawn(3), what they say and how they end."""

from __future__ import annotations

import os
import select
import time

from aiorun.linux.pidfd import pidfd_open, pidfd_send_signal, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class Waits(Protocol):
        """The part of a Waiter (aiorun.waiter) that is needed here."""

        async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]: ...


_SIGKILL, _CLD_EXITED = 9, 1
_OUTPUT_LIMIT = 65536  # bytes that are kept of what a program says; the rest is read and dropped
_RESET = [signal for signal in range(1, 32) if signal not in (9, 19)]


class Ending:
    """How a program ended: `status` is its exit code, or 128 + `signal`; `output` and `errors` what it said."""

    def __init__(self, code: int, status: int, *, timed_out: bool, output: bytes, errors: bytes) -> None:
        self.signal = 0 if code == _CLD_EXITED else status
        self.status = status + 128 if self.signal else status
        self.timed_out, self.output, self.errors = timed_out, output, errors


async def run_program(
    waiter: Waits,
    path: str,
    args: tuple[str, ...],
    env: tuple[str, ...],
    *,
    stdin: bytes,
    timeout: float | None,
    cwd: str | None = None,
) -> Ending:
    """Run a program, in `cwd`, to its end with `stdin` on its standard input; after `timeout` seconds it gets SIGKILL.

    One that never reads its input comes to no harm and doesn't hold us up. What it says is read only while it lives, since
    what it leaves in the background may keep the pipes. Raises OSError when it can't be run. A cancel kills it.
    """
    with _Pipes() as pipes:
        with _Inside(cwd):
            pid = pipes.spawn(path, args, env)
        pidfd = pidfd_open(pid)
        ended = False
        try:
            ended = await _converse(waiter, pidfd, pipes, stdin, timeout)
        finally:
            if not ended:
                pidfd_send_signal(pidfd, _SIGKILL)  # a zombie, if it has just ended: no harm
            code, status = reap(pidfd)
            os.close(pidfd)
        pipes.read()
        return Ending(code, status, timed_out=not ended, output=bytes(pipes.output), errors=bytes(pipes.errors))


async def _converse(waiter: Waits, pidfd: int, pipes: _Pipes, stdin: bytes, timeout: float | None) -> bool:
    """Feed and read a program until it ends: True, or until its time is over: False."""
    deadline = None if timeout is None else time.monotonic() + timeout
    rest = memoryview(stdin)
    while True:
        rest = pipes.write(rest)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        ready = await waiter.wait_any({pidfd: select.POLLIN} | pipes.interests(), left)
        pipes.read()
        if pidfd in ready:
            return True


class _Inside:
    """The working directory while a program is spawned, since posix_spawn has none of its own to give. `None`: stay."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        if self._directory is not None:
            self._before = os.open(".", os.O_PATH | os.O_CLOEXEC)
            try:
                os.chdir(self._directory)
            except OSError:
                os.close(self._before)
                raise

    def __exit__(self, *_error: object) -> None:
        if self._directory is not None:
            os.fchdir(self._before)
            os.close(self._before)


class _Pipes:
    """Our ends of a program's standard input, output and errors; all non-blocking on our side."""

    def __init__(self) -> None:
        self.output, self.errors = bytearray(), bytearray()
        self._open: set[int] = set()
        self._into, self._out, self._err = (self._pipe() for _ in range(3))
        for fd in (self._into[1], self._out[0], self._err[0]):
            os.set_blocking(fd, False)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe2(os.O_CLOEXEC)
        self._open.update(ends)
        return ends

    def __enter__(self) -> _Pipes:
        return self

    def __exit__(self, *_error: object) -> None:
        for fd in tuple(self._open):
            self._close(fd)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)

    def spawn(self, path: str, args: tuple[str, ...], env: tuple[str, ...]) -> int:
        theirs = (self._into[0], self._out[1], self._err[1])
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(theirs)]
        environment = dict(entry.partition("=")[::2] for entry in env)
        pid = os.posix_spawn(path, args, environment, file_actions=actions, setsigmask=[], setsigdef=_RESET)
        for fd in theirs:
            self._close(fd)
        return pid

    def interests(self) -> dict[int, int]:
        wanted = {self._into[1]: select.POLLOUT, self._out[0]: select.POLLIN, self._err[0]: select.POLLIN}
        return {fd: events for fd, events in wanted.items() if fd in self._open}

    def write(self, rest: memoryview) -> memoryview:
        """Write what fits; close the pipe at the end, or where nobody reads (EPIPE: Python ignores SIGPIPE)."""
        if self._into[1] not in self._open:
            return rest[:0]
        try:
            rest = rest[os.write(self._into[1], rest) :] if rest else rest
        except BlockingIOError:
            return rest
        except OSError:
            rest = rest[:0]
        if not rest:
            self._close(self._into[1])
        return rest

    def read(self) -> None:
        for fd, kept in ((self._out[0], self.output), (self._err[0], self.errors)):
            while fd in self._open:
                try:
                    chunk = os.read(fd, _OUTPUT_LIMIT)
                except BlockingIOError:
                    break
                kept += chunk[: _OUTPUT_LIMIT - len(kept)]
                if not chunk:
                    self._close(fd)
