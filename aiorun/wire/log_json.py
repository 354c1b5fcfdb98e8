"""The log's lines as JSON. Apart from `text`, since only `--log-format json` needs the encoder."""

from __future__ import annotations

from aiorun.wire.json import dumps
from aiorun.wire.text import rfc3339


def json_line(level: str, message: str, moment: float, offset: int) -> str:
    """One object a line with the keys of logrus' JSONFormatter, in ASCII: nothing in it drives a terminal."""
    # Stray bytes and lone surrogates as U+FFFD, as Go's encoder has them: strict readers refuse half a pair.
    whole = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in message)
    line = dumps({"level": level, "msg": whole, "time": rfc3339(moment, offset)})
    return line.replace("\x7f", "\\u007f") + "\n"
