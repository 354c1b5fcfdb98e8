"""The terminal in front of which a foreground `run` or `exec` stands. Loaded where the program has one."""

from __future__ import annotations

import os

from aiorun.console import relay, terminal
from aiorun.console.pair import TerminalPair
from aiorun.waiter import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.console.signals import Signals
    from aiorun.undo import Undo
    from aiorun.waiter import Waiter


class Front:
    """The terminal that somebody sits at, and the socket by which the container's master comes. Raises ConsoleError."""

    def __init__(self, closing: Undo) -> None:
        self._terminal = terminal.find()
        closing.add(self._terminal.close)
        self._pair = TerminalPair()
        closing.add(self._pair.close)
        self.console = self._pair.theirs  # the init's file "console"
        self.rows, self.columns = self._terminal.size()
        self._master = -1
        closing.add(self._close)

    def _close(self) -> None:
        if self._master >= 0:
            os.close(self._master)

    def attach(self) -> None:
        """Take the master, which the init has sent by now, and make it fit. Raises ConsoleError."""
        self._master = self._pair.receive()
        relay.prepare(self._master, self._terminal)

    async def serve(self, waiter: Waiter, pidfd: int, signals: Signals) -> None:
        """Carry bytes until the program behind `pidfd` has exited; signals are passed on to it."""
        master, self._master = self._master, -1
        await relay.relay(waiter, master, terminal=self._terminal, until=pidfd, signals=signals)
        await waiter.wait_any({pidfd: POLLIN})
