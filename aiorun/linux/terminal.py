"""Terminals and their masters: ioctl_tty(2), termios(3), pts(4). Every OSError says what was asked.

termios of Python 3.11 lacks a few constants, and `import tty` costs 1 ms, so both are made here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    Attributes = list[int | list[bytes | int]]

TIOCSPTLCK, TIOCGPTN, TIOCGPTPEER = 0x40045431, 0x80045430, 0x5441  # asm-generic/ioctls.h: x86 and arm64 alike
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6  # the order of tcgetattr's list
_CLEAR_INPUT = (
    termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
    | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
)  # fmt: skip
_CLEAR_LOCAL = termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN


def _ioctl(fd: int, request: int, argument: int | bytes, what: str) -> int | bytes:
    try:
        return fcntl.ioctl(fd, request, argument)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), what) from None


def open_peer(master: int) -> int:
    """A new descriptor of the terminal behind `master`, close-on-exec, not made controlling.

    By the master itself (TIOCGPTPEER), so that no path is walked that a container could have laid (CVE-2025-52565).
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    return int(_ioctl(master, TIOCGPTPEER, flags, "the terminal's peer"))


def unlock(master: int) -> None:
    """Let the terminal behind `master` be opened. unlockpt(3)."""
    _ioctl(master, TIOCSPTLCK, bytes(4), "the terminal's lock")


def number(master: int) -> int:
    """The N of the terminal's /dev/pts/N. Only a master has it: ENOTTY of anything else. ptsname(3)."""
    answer = _ioctl(master, TIOCGPTN, bytes(4), "the terminal's number")
    return int.from_bytes(bytes(answer), "little")


def size(fd: int) -> tuple[int, int]:
    """Rows and columns."""
    answer = bytes(_ioctl(fd, termios.TIOCGWINSZ, bytes(8), "the terminal's size"))
    return int.from_bytes(answer[0:2], "little"), int.from_bytes(answer[2:4], "little")


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set rows and columns, each cut to 16 bits as runc does; the foreground process group gets SIGWINCH if they changed."""
    window = (rows & 0xFFFF).to_bytes(2, "little") + (columns & 0xFFFF).to_bytes(2, "little") + bytes(4)
    _ioctl(fd, termios.TIOCSWINSZ, window, "the terminal's size")


def make_controlling(fd: int) -> None:
    """Make it the controlling terminal of the caller, who leads a session without one."""
    _ioctl(fd, termios.TIOCSCTTY, 0, "the controlling terminal")


def is_terminal(fd: int) -> bool:
    return os.isatty(fd)


def is_master(fd: int) -> bool:
    """Whether it's a master of a Unix 98 pty: only these have a terminal's number."""
    try:
        return stat.S_ISCHR(os.fstat(fd).st_mode) and number(fd) >= 0
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EIO):
            return False
        raise


def attributes(fd: int) -> Attributes:
    """What tcgetattr(3) says."""
    try:
        return termios.tcgetattr(fd)
    except termios.error as error:  # not an OSError, of all things
        raise OSError(error.args[0], os.strerror(error.args[0]), "the terminal's modes") from None


def restore(fd: int, old: Attributes) -> None:
    """Set all modes, at once: what was typed ahead stays, and output that hangs doesn't hold us up."""
    try:
        termios.tcsetattr(fd, termios.TCSANOW, old)
    except termios.error as error:
        raise OSError(error.args[0], os.strerror(error.args[0]), "the terminal's modes") from None


def make_raw(fd: int) -> Attributes:
    """Hand on every byte typed, unechoed and uninterpreted; the modes as they were before, for `restore`.

    As cfmakeraw(3), but output is processed as before: with the inner terminal's ONLCR cleared, it's this one that
    turns a newline into carriage return and newline, and a file or a pipe gets plain newlines. So does runc.
    """
    old = attributes(fd)
    raw = attributes(fd)  # a second look, since the list within the list would be shared by a copy
    special = raw[_CC]
    assert isinstance(special, list)
    special[termios.VMIN], special[termios.VTIME] = 1, 0
    _clear(raw, _IFLAG, _CLEAR_INPUT)
    _clear(raw, _LFLAG, _CLEAR_LOCAL)
    _clear(raw, _CFLAG, termios.CSIZE | termios.PARENB)
    _set(raw, _CFLAG, termios.CS8)
    restore(fd, raw)
    return old


def clear_onlcr(master: int) -> None:
    """Keep the terminal from turning newlines into carriage return and newline: the terminal further out does."""
    modes = attributes(master)
    _clear(modes, _OFLAG, termios.ONLCR)
    restore(master, modes)


def _clear(modes: Attributes, index: int, bits: int) -> None:
    value = modes[index]
    assert isinstance(value, int)
    modes[index] = value & ~bits


def _set(modes: Attributes, index: int, bits: int) -> None:
    value = modes[index]
    assert isinstance(value, int)
    modes[index] = value | bits
