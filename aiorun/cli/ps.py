"""aiorun ps: the processes of a container."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.output import write_stdout
from aiorun.cli.shared_flags import FORMAT
from aiorun.errors import UsageError
from aiorun.runtime.ps import pids, ps_lines
from aiorun.store import Store
from aiorun.waiter import drive
from aiorun.wire.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="ps",
    usage="<container-id> [ps options]",
    arguments=(1, None),
    flags=(FORMAT,),
    interspersed=False,
    description="""\
The ps command shows the processes of a container, as ps(1) does with the options given after the id (-ef without any).
With --format json it prints an array of their pids.
""",
    examples="""\
    # aiorun ps web
    # aiorun ps --format json web
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    found = pids(Store(context.root), arguments[0])
    kind = options.string("format")
    if kind not in ("table", "json"):
        raise UsageError("invalid format option")
    if kind == "json":
        write_stdout(dumps(found or None))
    else:
        write_stdout("\n".join(drive(ps_lines(found, arguments[1:] or ["-ef"]))) + "\n")
    return 0
