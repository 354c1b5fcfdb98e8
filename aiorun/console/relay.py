"""The relay between the caller's stdio and the master of a container's terminal: what `run -t` and `exec -t` are in front."""

from __future__ import annotations

import os
import select

from aiorun.console.signals import SIGWINCH
from aiorun.console.stream import Stream, shared
from aiorun.linux import terminal as pty
from aiorun.undo import Undo
from aiorun.waiter import POLLHUP, POLLIN, POLLOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.console.signals import Signals
    from aiorun.console.terminal import Terminal
    from aiorun.waiter import Waiter

_BUFFER = 65536
_ROUNDS = 16  # buffers moved one way before the other way and signals have their turn
# What a terminal can hold when its program exits: 4 KiB in the line discipline, 8 KiB and a write in the pty's port.
_HELD = 4 * _BUFFER


def prepare(master: int, terminal: Terminal | None = None) -> None:
    """Set `master` up as the relay wants it, before the program's first byte: plain newlines, the size of `terminal`.

    The relay does it too, but then a program that was started before it may have written already. Raises OSError if
    `master` isn't one.
    """
    pty.clear_onlcr(master)
    if terminal is not None:
        terminal.give_size(master)


async def relay(
    waiter: Waiter,
    master: int,
    *,
    stdin: int | None = 0,
    stdout: int = 1,
    terminal: Terminal | None = None,
    until: int | None = None,
    signals: Signals | None = None,
) -> None:
    """Carry bytes between `stdin`, `stdout` and `master` until the program behind the pidfd `until` has exited.

    Without `until` it's until the terminal hangs up. All that the program wrote before that is written out; a child
    that it left behind and that still has the terminal is not waited for. `terminal` is raw meanwhile and gives its
    size to the master, at first and on each SIGWINCH of `signals`; other signals are passed on to `until`. One that
    comes after the program's exit gives up what `stdout` doesn't take.

    `master` is ours from now on: it's closed on every way out, and as soon as `stdout` is broken or `terminal` hung up,
    which hangs up the program as a closed window does. `stdin` and `stdout` are left as they were, shared as they may be.
    Raises ConsoleError if the terminal can't be made raw, OSError if the master isn't one. Cancelling restores all.
    """
    with Undo() as undo:
        end = _Master(master)
        undo.add(end.close)
        if terminal is not None:
            undo.add(terminal.restore)
            terminal.make_raw()
        prepare(master, terminal)
        os.set_blocking(master, False)
        sink = shared(stdout, os.O_WRONLY)
        undo.add(sink.close)
        source = None if stdin is None else shared(stdin, os.O_RDONLY)
        if source is not None:
            undo.add(source.close)
        await _Relay(waiter, master=end, stdin=source, stdout=sink, terminal=terminal, until=until, signals=signals).run()


async def drain(waiter: Waiter, master: int) -> None:
    """Read and drop what comes from `master` until its terminal hangs up; then, and on every other way out, close it."""
    try:
        os.set_blocking(master, False)
        while True:
            await waiter.wait_any({master: POLLIN})
            try:
                for _ in range(_ROUNDS):
                    os.read(master, _BUFFER)
            except BlockingIOError:
                pass
    except OSError:
        pass  # EIO: nobody has the terminal open any more
    finally:
        os.close(master)


class _Master(Stream):
    """The master, and whether its terminal is hung up, which may be for a while only: a program may open it again."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.closed = False
        self._reopening: select.epoll | None = None

    def want(self, events: int) -> tuple[int, int]:
        """What to wait for: the master for `events`, or a sign that somebody is there again.

        A hung-up master is ready for poll(2) all the time; an edge-triggered epoll tells what changes. epoll(7).
        """
        if self._reopening is None:
            return self.fd, events
        return self._reopening.fileno(), POLLIN

    def hang_up(self) -> None:
        if self._reopening is None and not self.closed:
            self._reopening = select.epoll()
            self._reopening.register(self.fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    @property
    def hung_up(self) -> bool:
        return self._reopening is not None or self.closed

    def look_again(self) -> bool:
        """Take the sign, if there's one: then try to read and write."""
        return self._reopening is not None and bool(self._reopening.poll(0))

    def answered(self) -> None:
        """Somebody is there (again)."""
        if self._reopening is not None:
            self._reopening.close()
            self._reopening = None

    def close(self) -> None:
        if not self.closed:
            self.answered()
            self.closed = True
            os.close(self.fd)


class _Flow:
    """One direction: what was read from `source` and not yet written to `sink`."""

    def __init__(self, source: Stream, sink: Stream) -> None:
        self.source = source
        self.sink = sink
        self.ended = False  # the source, at least for now
        self.broken = False  # the sink
        self.left: int | None = None  # bytes that may still be read
        self._view = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0

    @property
    def pending(self) -> bool:
        return self._end > self._start

    @property
    def room(self) -> bool:
        return not self.ended and self._end < _BUFFER and self.left != 0

    def move(self) -> bool:
        """Read what's there and write what goes. True if it stopped only so that others have their turn."""
        for _ in range(_ROUNDS):
            read = self._fill()
            if not (self._flush() or read):
                return False
        return True

    def _fill(self) -> bool:
        before = self._end
        while self.room:
            end = _BUFFER if self.left is None else min(_BUFFER, self._end + self.left)
            try:
                count = self.source.read_into(self._view[self._end : end])
            except BlockingIOError:
                break
            except OSError:  # EIO: a terminal without anybody at its other end. Any other is as final
                count = 0
            self.ended = count == 0
            self._end += count
            if self.left is not None:
                self.left -= count
        return self._end > before

    def _flush(self) -> bool:
        before = self._start
        while self.pending and not self.broken:
            try:
                self._start += self.sink.write(self._view[self._start : self._end])
            except BlockingIOError:
                break
            except OSError:
                self.broken = True
        wrote = self._start > before
        if not self.pending:
            self._start = self._end = 0
        return wrote


class _Relay:
    def __init__(
        self,
        waiter: Waiter,
        *,
        master: _Master,
        stdin: Stream | None,
        stdout: Stream,
        terminal: Terminal | None,
        until: int | None,
        signals: Signals | None,
    ) -> None:
        self._waiter = waiter
        self._master = master
        self._output = _Flow(master, stdout)
        self._input = None if stdin is None else _Flow(stdin, master)
        self._terminal = terminal
        self._until = until
        self._signals = signals

    async def run(self) -> None:
        passed_on = False  # a signal, before the program's exit
        while True:
            more = self._move()
            if self._until is None and self._output.ended and not self._output.pending:
                return
            if self._output.broken:
                self._master.close()
                if self._until is None:
                    return
            ready = await self._waiter.wait_any(self._wanted(), 0 if more else None)
            came = self._take_signals(ready)
            if self._until in ready:
                await self._finish(in_a_hurry=came and passed_on)
                return
            passed_on |= came
            if self._terminal is not None and ready.get(self._terminal.fd, 0) & POLLHUP:
                self._output.broken = True  # the window is closed, though nobody tried to write to it

    def _move(self) -> bool:
        if self._master.closed:
            return False
        if self._master.look_again():
            self._output.ended = False
        more = self._output.move()
        if self._input is not None:
            more |= self._input.move()
        if self._output.ended or (self._input is not None and self._input.broken):
            if self._input is not None:
                self._input.broken = False  # until it's opened again; what is pending stays
            self._master.hang_up()
        else:
            self._master.answered()
        return more

    def _wanted(self) -> dict[int, int]:
        fds: dict[int, int] = {}
        if self._until is not None:
            fds[self._until] = POLLIN
        if self._signals is not None:
            fds[self._signals.fd] = POLLIN
        if self._master.closed:
            return fds
        if self._terminal is not None:
            fds[self._terminal.fd] = 0  # poll(2): POLLHUP is told unasked
        events = POLLIN if self._output.room else 0
        if self._output.pending:
            fds[self._output.sink.fd] = fds.get(self._output.sink.fd, 0) | POLLOUT
        if self._input is not None:
            if self._input.pending:
                events |= POLLOUT
            if self._input.room:
                fds[self._input.source.fd] = fds.get(self._input.source.fd, 0) | POLLIN
        if events or self._master.hung_up:
            fd, events = self._master.want(events)
            fds[fd] = events
        return fds

    def _take_signals(self, ready: dict[int, int]) -> bool:
        """Whether one came that asks for more than a new size."""
        if self._signals is None or self._signals.fd not in ready:
            return False
        came = set(self._signals.take()) if self._until is None else self._signals.forward(self._until)
        if SIGWINCH in came and self._terminal is not None and not self._master.closed:
            self._terminal.give_size(self._master.fd)
        return bool(came - {SIGWINCH})

    async def _finish(self, *, in_a_hurry: bool) -> None:
        """Write out what the program left in its terminal. n_tty's read waits for what is still on its way there.

        `in_a_hurry`, a second signal was seen together with the exit, so that none may follow that would end the wait.
        """
        output = self._output
        output.ended = self._master.closed
        output.left = _HELD
        while True:
            more = output.move()
            if output.broken or not (more or output.pending) or (in_a_hurry and not more):
                return
            fds = {output.sink.fd: POLLOUT}
            if self._signals is not None:
                fds[self._signals.fd] = POLLIN
            if self._take_signals(await self._waiter.wait_any(fds)):
                return
