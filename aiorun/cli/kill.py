"""aiorun kill: send a signal to a container."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.flags import BOOL, Flag
from aiorun.runtime.kill import kill, signal_number
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="kill",
    usage="<container-id> [signal]",
    arguments=(1, 2),
    flags=(Flag(("all", "a"), BOOL, help="send the signal to all processes of the container, for old callers"),),
    description="""\
The kill command sends a signal to the container's first process: SIGTERM, or the one named, with or without SIG, or by
its number. It returns when the signal is sent, not when the process has died.
""",
    examples="""\
    # aiorun kill web KILL
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    signal = signal_number(arguments[1] if len(arguments) > 1 else "TERM")
    drive(kill(Store(context.root), arguments[0], signal, waiter=PollWaiter(), all=options.boolean("all")))
    return 0
