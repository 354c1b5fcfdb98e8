"""aiorun events: what a container uses and what befalls it."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.flags import BOOL, DURATION, Flag
from aiorun.cli.output import write_stdout
from aiorun.errors import UsageError
from aiorun.runtime.events import events, stats
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from aiorun.wire.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options
    from aiorun.runtime.events import Event
else:
    import _signal  # the C module: signal itself brings enum

COMMAND = Command(
    name="events",
    usage="<container-id>",
    arguments=(1, 1),
    flags=(
        Flag(("interval",), DURATION, default=5.0, help="how often to show what the container uses, such as 500ms or 1m"),
        Flag(("stats",), BOOL, help="show what the container uses once, and end"),
    ),
    description="""\
The events command prints a line of JSON, of the type "stats", with what the container uses of CPU, memory, processes and
block devices, every five seconds, and one of the type "oom" each time the kernel kills something in it for want of memory.
It ends with the container.
""",
    examples="""\
    # aiorun events --stats web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    store, id, interval = Store(context.root), arguments[0], options.seconds("interval")
    store.open(id).close()  # in runc's order: whether it is there, and then what is wrong with the rest
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    if options.boolean("stats"):
        _print(stats(store, id))
    else:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # ^C is how a person ends it, and no error
        drive(events(store, id, _print, interval=interval, waiter=PollWaiter()))
    return 0


def _print(event: Event) -> None:
    write_stdout(dumps(event) + "\n")
