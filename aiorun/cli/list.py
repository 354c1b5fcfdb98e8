"""aiorun list: all containers below --root."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.flags import BOOL, Flag
from aiorun.cli.output import write_stdout
from aiorun.cli.shared_flags import FORMAT
from aiorun.cli.tables import table
from aiorun.errors import AiorunError, UsageError
from aiorun.runtime.status import described
from aiorun.store import Store, read_all
from aiorun.wire.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="list",
    flags=(FORMAT, Flag(("quiet", "q"), BOOL, help="display only container IDs")),
    description="""\
The list command shows the containers that were made with the same --root: a table for people, or with --format json
one array.
""",
    examples="""\
    # aiorun list
    # aiorun list --format json
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    store = Store(context.root)
    if options.boolean("quiet"):
        write_stdout("".join(f"{id}\n" for id in store.ids()))
        return 0
    if options.string("format") not in ("table", "json"):
        raise UsageError("invalid format option")
    documents = _documents(store, context)
    write_stdout(dumps(documents or None) + "\n" if options.string("format") == "json" else _table(documents))
    return 0


def _documents(store: Store, context: Context) -> list[dict[str, Any]]:
    """Each container's state; broken entries are told and skipped."""
    documents = []
    for id, state in read_all(store):
        if isinstance(state, AiorunError):
            context.log.tell(f"load container {id}: {state}")
        else:
            documents.append(described(state))
    return documents


def _table(documents: list[dict[str, Any]]) -> str:
    rows = [["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]]
    rows += [[str(d[key]) for key in ("id", "pid", "status", "bundle", "created", "owner")] for d in documents]
    return table(rows)
