"""aiorun resume: let a paused container's processes go on."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.runtime.pause import resume
from aiorun.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="resume",
    usage="<container-id>",
    arguments=(1, 1),
    description="""\
The resume command lets the processes of a paused container go on.
""",
    examples="""\
    # aiorun resume web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    resume(Store(context.root), arguments[0])
    return 0
