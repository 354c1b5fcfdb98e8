"""A terminal that comes straight back: the console socket of somebody who makes a container and relays its terminal himself."""

from __future__ import annotations

from aiorun.errors import ConsoleError, reason
from aiorun.linux import socket


class TerminalPair:
    """`theirs` is the file "console" of an init, an fd; once that is ready, `receive` has the master."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.pair()
        self._ours.setblocking(False)
        self.theirs = self._theirs.fileno()

    def receive(self) -> int:
        """The master, which the init sent before it was ready; its owner is the caller. Raises ConsoleError."""
        try:
            _payload, fds = socket.receive(self._ours, 4096, 1)
        except OSError as error:
            raise ConsoleError(f"receive the container's terminal: {reason(error)}") from None
        if not fds:
            raise ConsoleError("receive the container's terminal: none came")
        return fds[0]

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()
