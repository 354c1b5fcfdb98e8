"""Signals of a foreground command, seen by a `wait_any` and passed on to the container's process.

On `_signal`, since `import signal` brings enum (3.5 ms).
"""

from __future__ import annotations

import os
import time

from aiorun.waiter import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Awaitable, Mapping
    from typing import TypeVar

    T = TypeVar("T")

    from aiorun.waiter import Waiter
else:
    import _signal

SIGWINCH = _signal.SIGWINCH

# Not CHLD, URG and PIPE (CONTRACT, "Terminals"), and none that the kernel raises for a fault of our own. TTIN and TTOU
# keep their default, which stops us as job control wants it: a caught one would be raised again by the same read.
_LEFT_ALONE = frozenset(
    (
        _signal.SIGKILL, _signal.SIGSTOP, _signal.SIGCHLD, _signal.SIGURG, _signal.SIGPIPE, _signal.SIGTTIN, _signal.SIGTTOU,
        _signal.SIGILL, _signal.SIGTRAP, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGSEGV, _signal.SIGSYS,
    )
)  # fmt: skip
# 32 and 33 belong to the C library (nptl(7)); systemd is told to halt by SIGRTMIN+3.
_ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)
CAUGHT = (*(number for number in range(1, 32) if number not in _LEFT_ALONE), *range(_signal.SIGRTMIN, _signal.SIGRTMAX + 1))


class Interruptible:
    """A Waiter whose waits HUP, INT and TERM end, with KeyboardInterrupt(number): as a cancel ends those of the library.

    Only waits: anywhere else an exception could come between making something and noting down that it was made. The first
    signal alone counts, so that the undoing is not interrupted; a signal that is ignored stays so. Main thread only, for the
    rest of the process's life.
    """

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter
        self._shielded = False
        self._fd, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _ENDING:
            if _signal.getsignal(number) in (_signal.SIG_DFL, _signal.default_int_handler):
                _signal.signal(number, _woken)

    async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
        if self._shielded:
            return await self._waiter.wait_any(fds, timeout)
        ready = await self._waiter.wait_any({**fds, self._fd: POLLIN}, timeout)
        if ready.pop(self._fd, 0):
            self._shielded = True
            raise KeyboardInterrupt(os.read(self._fd, 1)[0])
        return ready

    async def sleep(self, seconds: float) -> None:
        await self.wait_any({}, seconds)

    async def shield(self, work: Awaitable[T]) -> T:
        before, self._shielded = self._shielded, True
        try:
            return await self._waiter.shield(work)
        finally:
            self._shielded = before


class Signals:
    """Catches CAUGHT while its block lasts; `fd` is readable when one came. The dispositions are as before after it.

    What was ignored when we started is caught and passed on too, as runc does: a `nohup aiorun run` hands HUP on.
    Main thread only. Enter it after the container's init is cloned: a clone would write into the same pipe.
    """

    def __init__(self) -> None:
        self.fd = -1

    def __enter__(self) -> Signals:
        self.fd, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._old_wakeup = _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old = [(number, _signal.signal(number, _woken)) for number in CAUGHT]
        return self

    def __exit__(self, *_error: object) -> None:
        for number, disposition in self._old:
            if disposition is not None:  # None: set by C code, which Python can't set again
                _signal.signal(number, disposition)
        _signal.set_wakeup_fd(self._old_wakeup)
        os.close(self.fd)
        os.close(self._writer)
        self.fd = -1

    def take(self) -> bytes:
        """The numbers of those that came since, in order, one byte each."""
        try:
            return os.read(self.fd, 65536)
        except BlockingIOError:
            return b""

    def forward(self, pidfd: int) -> set[int]:
        """Send what came, but SIGWINCH, to the process behind `pidfd`, unless it's gone; all that came."""
        came = self.take()
        for number in came:
            if number != SIGWINCH:
                try:
                    _signal.pidfd_send_signal(pidfd, number)
                except OSError:
                    pass  # it has ended (ESRCH), or became another user's (EPERM): then nothing of ours reaches it
        return set(came)


def _woken(_number: int, _frame: object) -> None:
    """The wake-up fd tells it; this is here because SIG_DFL and SIG_IGN wouldn't."""


class PassingOn:
    """A Waiter that passes signals on to the process behind `pidfd` while something else is waited for: a slow hook, say."""

    def __init__(self, waiter: Waiter, pidfd: int, signals: Signals) -> None:
        self._waiter, self._pidfd, self._signals = waiter, pidfd, signals

    async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = await self._waiter.wait_any({**fds, self._signals.fd: POLLIN}, left)
            came = ready.pop(self._signals.fd, 0)
            if came:
                self._signals.forward(self._pidfd)
            if ready or not came:
                return ready

    async def sleep(self, seconds: float) -> None:
        await self._waiter.sleep(seconds)

    async def shield(self, work: Awaitable[T]) -> T:
        return await self._waiter.shield(work)


async def forward_until_exit(waiter: Waiter, pidfd: int, signals: Signals) -> None:
    """Pass signals on to the process behind `pidfd` until it has exited: the foreground of a `run` without a terminal."""
    ready: dict[int, int] = {}
    while pidfd not in ready:
        ready = await waiter.wait_any({pidfd: POLLIN, signals.fd: POLLIN})
        if signals.fd in ready:
            signals.forward(pidfd)
