"""A container's standard streams and terminal: trio streams on our side, files of the init on the other."""

from __future__ import annotations

import errno
import os
import termios
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio
from trio.lowlevel import FdStream

from aiorun.console.pair import TerminalPair
from aiorun.errors import AiorunError, UsageError, reason

if TYPE_CHECKING:
    from types import TracebackType

PIPE, STDOUT, DEVNULL = -1, -2, -3  # subprocess' own numbers, so that its constants do as well
_CHUNK = 65536


class HasFileno(Protocol):
    def fileno(self) -> int: ...


Redirection = int | str | os.PathLike[str] | HasFileno | None


class Size(NamedTuple):
    """Of a terminal, in characters."""

    rows: int
    columns: int


class PtyStream(trio.abc.Stream):
    """The master of a container's terminal, whose owner this is. Its end of file is the hang-up."""

    def __init__(self, master: int) -> None:
        os.set_blocking(master, False)
        self._stream = FdStream(master)

    def fileno(self) -> int:
        return self._stream.fileno()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Type. Raises trio.BrokenResourceError once the terminal is hung up."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What was written to the terminal; b"" once nobody has it open any more, and all was read."""
        try:
            return bytes(await self._stream.receive_some(max_bytes or _CHUNK))
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
                return b""
            raise

    def resize(self, size: Size) -> None:
        """The program gets SIGWINCH if it's another size than before."""
        termios.tcsetwinsize(self._stream.fileno(), size)

    @property
    def size(self) -> Size:
        return Size(*termios.tcgetwinsize(self._stream.fileno()))

    def close(self) -> None:
        """Hang up: the program gets SIGHUP."""
        self._stream.close()

    async def aclose(self) -> None:
        """`close`, and a checkpoint."""
        await self._stream.aclose()


def _is_standard(number: int) -> bool:
    """Whether our own standard stream is open: where it isn't, its number is soon that of a file which is nobody's business.

    What a program opens for itself is close-on-exec, what it was started with isn't. PEP 446.
    """
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def _open(name: str, path: str) -> int:
    flags = os.O_RDONLY if name == "stdin" else os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        # fifo(7): without O_NONBLOCK we would stand still until somebody opens its other end
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise AiorunError(f'open "{path}" as {name}: {reason(error)}') from None
    os.set_blocking(fd, True)
    return fd


def _named(*streams: Redirection) -> list[tuple[str, Redirection]]:
    return list(zip(("stdin", "stdout", "stderr"), streams))


def _resolved(name: str, number: int, target: Redirection) -> int | str:
    """PIPE, STDOUT, a path, or a file descriptor that is open."""
    if target is None:
        return number if _is_standard(number) else os.devnull
    if isinstance(target, (str, os.PathLike)):
        return os.fspath(target)
    fd = target if isinstance(target, int) else target.fileno()
    if fd == DEVNULL:
        return os.devnull
    if fd == PIPE or (fd == STDOUT and name == "stderr"):
        return fd
    try:
        os.fstat(fd)
    except (OSError, OverflowError):
        raise UsageError(f"take file descriptor {fd} as {name}: it is not open") from None
    return fd


class Stdio:
    """The two ends of a container's standard streams while it is made. What nobody took is closed at the end of the block."""

    def __init__(self, stdin: Redirection, stdout: Redirection, stderr: Redirection, *, terminal: bool) -> None:
        self.files: dict[str, int] = {}  # the init's ends, by name
        self._ours: dict[str, int] = {}
        self._pair: TerminalPair | None = None
        self._theirs, self._until_taken = ExitStack(), ExitStack()
        # All are looked at before anything is opened, which could get the number of a closed one.
        targets = [_resolved(name, number, target) for number, (name, target) in enumerate(_named(stdin, stdout, stderr))]
        with ExitStack() as stack:
            stack.callback(self._until_taken.close)
            stack.callback(self._theirs.close)
            if terminal:
                self._pair = TerminalPair()
                self._theirs.callback(self._pair.close)
                self.files["console"] = self._pair.theirs
            else:
                for (name, _), target in zip(_named(stdin, stdout, stderr), targets):
                    self._redirect(name, target)
            stack.pop_all()

    def _redirect(self, name: str, target: int | str) -> None:
        if target == PIPE:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            theirs, ours = (reader, writer) if name == "stdin" else (writer, reader)
            self._theirs.callback(os.close, theirs)
            self._until_taken.callback(os.close, ours)
            self.files[name], self._ours[name] = theirs, ours
        elif isinstance(target, str):
            self.files[name] = _open(name, target)
            self._theirs.callback(os.close, self.files[name])
        else:
            self.files[name] = self.files["stdout"] if target == STDOUT else target

    def take(self) -> tuple[FdStream | None, FdStream | None, FdStream | None, PtyStream | None]:
        """Our ends as streams, whose owner the caller is from now on."""
        terminal = PtyStream(self._pair.receive()) if self._pair is not None else None
        stdin, stdout, stderr = (
            FdStream(self._ours[name]) if name in self._ours else None for name in ("stdin", "stdout", "stderr")
        )
        self._until_taken.pop_all()
        return stdin, stdout, stderr, terminal

    def __enter__(self) -> Stdio:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._theirs.close()
        self._until_taken.close()
