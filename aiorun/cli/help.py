"""Help, in the shape that users of runc know: NAME, USAGE, DESCRIPTION, EXAMPLES, OPTIONS."""

from __future__ import annotations

from aiorun.cli.flags import BOOL, DURATION, HELP, STRING
from aiorun.cli.tables import table
from aiorun.cli.version import version_lines
from aiorun.wire.text import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiorun.cli.command import Command
    from aiorun.cli.flags import Flag

_PROGRAM = """\
aiorun creates and runs containers from bundles, as the Open Container Initiative's runtime specification describes
them. It takes the place of runc: podman, containerd, Docker and Kubernetes call it the same way.

A bundle is a directory with a file named "config.json" and a root file system. A container has an id, which is yours to
choose. A first one:

    # mkdir -p hello/rootfs/bin && cd hello
    # cp /bin/busybox rootfs/bin/sh
    # aiorun spec
    # aiorun run hello

"aiorun COMMAND --help" says more about each command.
"""


def command_help(command: Command, summary: str) -> str:
    """What `aiorun COMMAND --help` prints."""
    options = "[command options] " if command.flags else ""
    parts = [
        ("NAME", f"aiorun {command.name} - {summary}"),
        ("USAGE", f"aiorun {command.name} {options}{command.usage}".rstrip()),
        ("DESCRIPTION", command.description),
        ("EXAMPLES", command.examples),
        ("OPTIONS", _flag_table((*command.flags, HELP))),
    ]
    return _sections(parts)


def program_help(commands: Mapping[str, tuple[str, str]], flags: Sequence[Flag]) -> str:
    """What `aiorun --help` prints. `commands` is main's table."""
    summaries = [(name, summary) for name, (_module, summary) in commands.items()]
    summaries.append(("help, h", "show the commands, or the help of one command"))
    parts = [
        ("NAME", "aiorun - Open Container Initiative runtime\n\n" + _PROGRAM),
        ("USAGE", "aiorun [global options] command [command options] [arguments...]"),
        ("VERSION", "\n".join(version_lines()).removeprefix("aiorun version ")),
        ("COMMANDS", table(summaries, minwidth=0, padding=2)),
        ("GLOBAL OPTIONS", _flag_table(flags)),
    ]
    return _sections(parts)


def _sections(parts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{title}:\n{_indented(text)}" for title, text in parts if text)


def _indented(text: str) -> str:
    return "".join(f"   {line}".rstrip() + "\n" for line in text.strip("\n").splitlines())


def _flag_table(flags: Sequence[Flag]) -> str:
    rows = [(", ".join(_form(flag, name) for name in flag.names), flag.help + _default(flag)) for flag in flags]
    return table(rows, minwidth=0, padding=2)


def _form(flag: Flag, name: str) -> str:
    dashes = "-" if len(name) == 1 else "--"
    return f"{dashes}{name}" if flag.kind == BOOL else f"{dashes}{name} value"


def _default(flag: Flag) -> str:
    if flag.default is None:
        return ""
    return f" (default: {quote(str(flag.default)) if flag.kind == STRING else default_text(flag)})"


def default_text(flag: Flag) -> str:
    """A flag's default as one would write it."""
    return f"{flag.default:g}s" if flag.kind == DURATION else f"{flag.default}"
