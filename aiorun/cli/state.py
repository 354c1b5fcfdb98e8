"""aiorun state: what a container is and does, as JSON."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.output import write_stdout
from aiorun.runtime.status import inspect
from aiorun.store import Store
from aiorun.wire.json import dumps_indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="state",
    usage="<container-id>",
    arguments=(1, 1),
    description="""\
The state command prints a container's state as JSON: its "status" is creating, created, running, paused or stopped, its
"pid" that of its first process, or 0 when it has stopped.
""",
    examples="""\
    # aiorun state web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    write_stdout(dumps_indented(inspect(Store(context.root), arguments[0])) + "\n")
    return 0
