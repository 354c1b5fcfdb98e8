"""The log: logrus' text or JSON lines on stderr or in `--log FILE`.

Engines read it: containerd's shim takes the last line with level "error", podman wants the whole file to be one JSON
object. So an error is one line, written at once, and anything else is written only with `--debug`.
"""

from __future__ import annotations

import os
import time

from aiorun.cli.output import write, write_stderr
from aiorun.errors import AiorunError, UsageError, reason
from aiorun.wire.text import escape, text_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from aiorun.launch.spawn import Spawner

_STDERR = 2


class Log:
    """Where errors go: as text on stderr until `configure` says otherwise."""

    def __init__(self) -> None:
        self.debugging = False
        self._fd = _STDERR
        self._line: Callable[[str, str, float, int], str] = text_line

    def configure(self, *, path: str, format: str, debug: bool) -> None:
        """Follow `--log`, `--log-format` and `--debug`. Raises UsageError, AiorunError, in runc's words."""
        self.debugging = debug
        if format == "json":
            from aiorun.wire.log_json import json_line  # now, not in the middle of a crash

            self._line = json_line
        elif format not in ("", "text"):
            raise UsageError(f"invalid log-format: {format}")
        if path:
            try:
                # For append: containerd's shim gives all commands of a container's life the same file.
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            except OSError as error:
                raise AiorunError(f"open {path}: {reason(error)}") from None

    def error(self, sentence: str) -> None:
        """Why the command failed: one line in the log and, where that is a file, the plain sentence on stderr too."""
        self._write("error", sentence)
        if self._fd != _STDERR:
            self.tell(sentence)

    def warning(self, sentence: str) -> None:
        """Something went otherwise than asked for. Logged with --debug only: a success has to be silent."""
        if self.debugging:
            self._write("warning", sentence)

    def debug(self, sentence: str) -> None:
        """A step, for whoever looks for a fault. Logged with --debug only."""
        if self.debugging:
            self._write("debug", sentence)

    def traced(self, spawner: Spawner) -> Spawner:
        """The same spawner; with --debug one whose inits tell this log of their steps."""
        if not self.debugging:
            return spawner
        from aiorun.launch.trace import TracingSpawner

        json, offset = self._line is not text_line, time.localtime().tm_gmtoff
        return TracingSpawner(spawner, log=self._fd, json=json, offset=offset, say=self.debug)

    def tell(self, sentence: str) -> None:
        """A plain line on stderr, for a person, in no log."""
        write_stderr(escape(sentence) + "\n")

    def _write(self, level: str, message: str) -> None:
        try:
            now = time.time()
            write(self._fd, self._line(level, message, now, time.localtime(now).tm_gmtoff))
        except OSError:
            pass  # a full disk or a closed stderr: there is nobody left to tell
