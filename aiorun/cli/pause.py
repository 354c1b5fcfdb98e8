"""aiorun pause: stop a container's processes where they are."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.console.signals import Interruptible
from aiorun.runtime.pause import pause
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="pause",
    usage="<container-id>",
    arguments=(1, 1),
    description="""\
The pause command stops all processes of a container where they are, until "aiorun resume" lets them go on. It returns
when they have stopped. Signals wait until then, but for SIGKILL, which ends a paused container too.
""",
    examples="""\
    # aiorun pause web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    drive(pause(Store(context.root), arguments[0], waiter=Interruptible(PollWaiter())))
    return 0
