"""aiorun delete: remove a container and all that belongs to it."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.flags import BOOL, Flag
from aiorun.runtime.delete import delete
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="delete",
    usage="<container-id>",
    arguments=(1, 1),
    flags=(Flag(("force", "f"), BOOL, help="kill the container first if it still runs (uses SIGKILL)"),),
    description="""\
The delete command removes what a container holds: its cgroups and its entry below --root. A container that runs is
refused, unless --force kills it first; one that was created and never started is killed and removed.
""",
    examples="""\
    # aiorun delete web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    force = options.boolean("force")
    drive(delete(Store(context.root), arguments[0], waiter=PollWaiter(), force=force, warn=context.log.warning))
    return 0
