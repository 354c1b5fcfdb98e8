"""The caller's terminal, in front of which a foreground command runs."""

from __future__ import annotations

import os

from aiorun.errors import ConsoleError, reason
from aiorun.linux import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.linux.terminal import Attributes


def find() -> Terminal:
    """The first of stderr, stdout, stdin that is a terminal, else /dev/tty. Raises ConsoleError without one."""
    for fd in (2, 1, 0):
        if terminal.is_terminal(fd):
            return Terminal(fd)
    try:
        return Terminal(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC), owned=True)
    except OSError as error:
        raise ConsoleError(f"open /dev/tty: {reason(error)}") from None


def attached(fd: int) -> Terminal | None:
    """The terminal that `fd` is, if it's one."""
    return Terminal(fd) if terminal.is_terminal(fd) else None


class Terminal:
    """A terminal that somebody sits at. `close` restores its modes, and closes `fd` if it's `owned`."""

    def __init__(self, fd: int, *, owned: bool = False) -> None:
        self.fd = fd
        self._owned = owned
        self._modes: Attributes | None = None

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return terminal.size(self.fd)

    def give_size(self, master: int) -> None:
        """Set the size of the terminal behind `master` to ours, if ours is known and both are still there."""
        try:
            rows, columns = terminal.size(self.fd)
            if rows and columns:
                terminal.set_size(master, rows, columns)
        except OSError:
            pass  # one of them hung up, and whoever reads it will see that

    def make_raw(self) -> None:
        """Hand on every byte typed, until `restore`."""
        if self._modes is None:
            try:
                self._modes = terminal.make_raw(self.fd)
            except OSError as error:
                raise ConsoleError(f"set the terminal to raw mode: {reason(error)}") from None

    def restore(self) -> None:
        """The modes as they were before `make_raw`. Does nothing the second time, nor to a terminal that hung up."""
        modes, self._modes = self._modes, None
        if modes is not None:
            try:
                terminal.restore(self.fd, modes)
            except OSError:
                pass

    def close(self) -> None:
        self.restore()
        if self._owned:
            os.close(self.fd)
            self._owned = False
