"""aiorun start: let a created container's program begin."""

from __future__ import annotations

import os

from aiorun.cli.command import Command
from aiorun.runtime.start import start
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="start",
    usage="<container-id>",
    arguments=(1, 1),
    description="""\
The start command lets the program of a created container begin, and returns once it has been executed. A container can
be started once.
""",
    examples="""\
    # aiorun start web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    notify_socket = os.environ.get("NOTIFY_SOCKET", "")
    drive(start(Store(context.root), arguments[0], waiter=PollWaiter(), notify_socket=notify_socket))
    return 0
