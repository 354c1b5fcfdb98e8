"""How a container ended, and what was seen of it."""

from __future__ import annotations

from aiorun.wire.record import Record


class Exit(Record):
    """How a container's program ended: by itself with `code`, or by `signal`; one of them is None.

    `oom_killed`: the kernel killed something in the container for want of memory. `known` is False, and both are None, where
    the container wasn't this process's child, so that nobody told us.
    """

    code: int | None
    signal: int | None
    oom_killed: bool = False
    known: bool = True

    @property
    def status(self) -> int:
        """As a shell says it: the code, or 128 + the signal. 255 when unknown."""
        if self.signal is not None:
            return 128 + self.signal
        return 255 if self.code is None else self.code


class Result(Record):
    """What `Runtime.run` saw of a container: its exit, what was captured of its output, whether its time ran out."""

    exit: Exit
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
