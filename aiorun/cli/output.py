"""Writing to the standard streams: whole, unbuffered, and without a surprise where one of them is closed."""

from __future__ import annotations

import os
import select

from aiorun.errors import AiorunError, reason


def encode(text: str) -> bytes:
    """UTF-8, with the stray bytes of paths and arguments as they came."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # JSON may hold half a surrogate pair, which no encoding has
        return text.encode("utf-8", "replace")


def write(fd: int, text: str) -> None:
    """Write all of `text` to `fd`, with one write(2) where the kernel takes it. Raises OSError."""
    rest = encode(text)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # the caller's pipe is in non-blocking mode, which isn't ours to change
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


def write_stdout(text: str) -> None:
    """What a command prints. Raises AiorunError where it can't be written."""
    try:
        write(1, text)
    except OSError as error:
        raise AiorunError(f"write to standard output: {reason(error)}") from None


def write_stderr(text: str) -> None:
    """What a person should see. A closed stderr is no error: engines close it and still expect the command to work."""
    try:
        write(2, text)
    except OSError:
        pass
