"""Telling the log of each step: `--debug`. Loaded for a plan that begins with Trace, and for no other."""

from __future__ import annotations

import os
import select
import stat
import time

from aiorun.wire import ops
from aiorun.wire.log_json import json_line
from aiorun.wire.text import text_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init

LONGEST = 4096  # bytes of a line: PIPE_BUF, what one write(2) to a pipe brings whole. pipe(7)
_LAST = "; what follows is not told"


def begin(init: Init, step: ops.Trace) -> None:
    init.trace = _Trace(init, step)


class _Trace:
    """The log, for as long as it's ours to write to. It is close-on-exec like all that an init has."""

    def __init__(self, init: Init, step: ops.Trace) -> None:
        self._init, self._fd, self._offset = init, init.files[step.fd], step.offset
        self._line = json_line if step.json else text_line
        self._started = time.time()
        self._is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)

    def __call__(self, step: ops.Operation) -> None:
        now = time.time()
        # A profile need not allow what we do to tell of it: the last line before a filter is our last.
        last = type(step) is ops.LoadSeccomp
        self._write(f"init: {(now - self._started) * 1000:.3f} ms: {step.describe()}{_LAST if last else ''}", now)
        # Whoever reads a pipe to its end (engines do) waits for us to close it, and we are about to wait for a start.
        if last or (not self._is_file and type(step) is ops.AwaitStart):
            os.close(self._fd)
            self._init.trace = None

    def _write(self, message: str, now: float) -> None:
        """One write(2). A log that can't be written, or not at once, is no reason to fail."""
        line = self._line("debug", message, now, self._offset).encode()
        while len(line) > LONGEST:
            message = message[: len(message) // 2]
            line = self._line("debug", message + "...", now, self._offset).encode()
        try:
            if self._is_file or self._has_room():
                os.write(self._fd, line)
        except OSError:
            pass

    def _has_room(self) -> bool:
        """Whether a pipe or a terminal takes a line without making us wait: nobody may be reading."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(0))
