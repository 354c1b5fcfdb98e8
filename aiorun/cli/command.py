"""What a command module is made of, and what the global flags tell it.

A module `aiorun.cli.NAME` has `COMMAND`, a Command, and `run(options, arguments, context) -> int`: three steps, parse,
call, print. `main` parses the flags, checks the number of arguments, and words the errors.
"""

from __future__ import annotations

import os

from aiorun.cli.flags import Flag, parse_bool
from aiorun.errors import AiorunError, UsageError, reason
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from aiorun.cli.flags import Options
    from aiorun.cli.log import Log

    class CommandModule(Protocol):
        """What `main` expects of `aiorun.cli.NAME`."""

        COMMAND: Command

        def run(self, options: Options, arguments: list[str], context: Context) -> int:
            """Do it; the exit status. Raises AiorunError."""


class Command(Record):
    """How a command is called and explained.

    `usage` names its arguments ("<container-id>"), `arguments` says how many: (least, most), None for no limit.
    `failure` stands before the sentence of an error ("aiorun create failed: "), which ends with `failure_status`.
    """

    name: str
    usage: str = ""
    arguments: tuple[int, int | None] = (0, 0)
    flags: tuple[Flag, ...] = ()
    description: str = ""
    examples: str = ""
    interspersed: bool = True
    failure: str = ""
    failure_status: int = 1


class Context(Record):
    """The global flags."""

    root: str
    log: Log
    systemd_cgroup: bool = False
    rootless: str = "auto"
    debug: bool = False
    criu: str = ""


def wrong_number_of_arguments(command: Command, number: int) -> str:
    """runc's sentence for a number of arguments that `command` doesn't take; empty if it does."""
    least, most = command.arguments
    if least == most:
        fault, limit = ("exactly", least) if number != least else ("", 0)
    elif number < least:
        fault, limit = "a minimum of", least
    elif most is not None and number > most:
        fault, limit = "a maximum of", most
    else:
        fault, limit = "", 0
    return fault and f'aiorun: "{command.name}" requires {fault} {limit} argument(s)'


def absolute_root(path: str) -> str:
    """`--root` as an absolute, clean path. Raises UsageError for `/`, AiorunError where there is no current directory."""
    try:
        root = "/" + os.path.abspath(path).lstrip("/")  # POSIX lets two slashes stand at the start, Go doesn't
    except OSError as error:
        raise AiorunError(f"find the current directory for --root {path}: {reason(error)}") from None
    if root == "/":
        raise UsageError("Option --root argument should not be set to /")
    return root


def default_root() -> str:
    """Where containers are kept without `--root`: as runc's, the same whatever an engine put into the environment."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if runtime_dir and (os.geteuid() != 0 or (in_user_namespace() and os.environ.get("USER") != "root")):
        return f"{runtime_dir}/aiorun"
    return "/run/aiorun"


def in_user_namespace() -> bool:
    """Whether we run in another user namespace than the first one. user_namespaces(7), uid_map."""
    try:
        fd = os.open("/proc/self/uid_map", os.O_RDONLY)
    except OSError:
        return False  # a kernel without user namespaces
    try:
        return os.read(fd, 4096).split() != [b"0", b"0", b"4294967295"]
    finally:
        os.close(fd)


def ignores_cgroup_permissions(context: Context) -> bool:
    """Whether `--rootless` (or, for auto, who we are) says to go on where cgroups may not be written. Raises UsageError."""
    if context.rootless and context.rootless.lower() != "auto":
        return parse_bool(context.rootless)
    return not context.systemd_cgroup and (os.geteuid() != 0 or in_user_namespace())
