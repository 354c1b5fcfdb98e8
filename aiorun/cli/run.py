"""aiorun run: create and start a container, and wait for its end."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.create import prepare
from aiorun.cli.flags import BOOL, Flag
from aiorun.cli.shared_flags import CREATE_FLAGS, DETACH, NO_SUBREAPER
from aiorun.console.signals import Interruptible
from aiorun.launch.spawn import HereSpawner
from aiorun.runtime.run import run_detached, run_foreground
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="run",
    usage="<container-id>",
    arguments=(1, 1),
    flags=(
        *CREATE_FLAGS,
        DETACH,
        Flag(("keep",), BOOL, help="do not delete the container after it exits"),
        NO_SUBREAPER,
    ),
    failure="aiorun run failed: ",
    description="""\
The run command makes a container from a bundle, starts it, waits until its program exits, and deletes it. It exits with
the program's status, or with 128 + N if signal N killed it. Signals that aiorun receives are passed on to the program.

If config.json has "terminal": true, the program gets this terminal. With --detach aiorun returns once the program runs.
""",
    examples="""\
A shell, in a bundle made by "aiorun spec":

    # aiorun run --bundle mybundle shell
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    chosen, spec, bundle = prepare(options, context)
    store, waiter, spawner = Store(context.root), Interruptible(PollWaiter()), context.log.traced(HereSpawner())
    if options.boolean("detach"):
        drive(run_detached(store, arguments[0], spec, bundle, chosen, waiter=waiter, spawner=spawner))
        return 0
    return drive(
        run_foreground(
            store, arguments[0], spec, bundle, chosen, waiter=waiter, spawner=spawner,
            keep=options.boolean("keep"), subreaper=not options.boolean("no-subreaper"), warn=context.log.warning,
        )
    )  # fmt: skip
