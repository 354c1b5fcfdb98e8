"""aiorun features: what this aiorun can do, as the specification's features document."""

from __future__ import annotations

from aiorun.cli.command import Command
from aiorun.cli.output import write_stdout
from aiorun.cli.version import libseccomp_version
from aiorun.runtime.features import document
from aiorun.wire.json import dumps_indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="features",
    description="""\
The features command prints what this aiorun can do as JSON: the namespaces, mount options, capabilities and so on of the
specification that it knows. Engines ask it before they offer something. What the host can do is for "aiorun check".
""",
    examples="""\
    # aiorun features
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    from aiorun.cli.main import COMMANDS

    found = document(checkpoint="checkpoint" in COMMANDS, libseccomp=libseccomp_version())
    write_stdout(dumps_indented(found, step="    ") + "\n")
    return 0
