"""aiorun exec: one more process in a container."""

from __future__ import annotations

import os

from aiorun.cli.bundle import absolute
from aiorun.cli.command import Command
from aiorun.cli.flags import BOOL, INTS, STRINGS, Flag
from aiorun.cli.shared_flags import CONSOLE_SOCKET, DETACH, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS
from aiorun.console.signals import Interruptible
from aiorun.errors import UsageError
from aiorun.launch.spawn import HereSpawner
from aiorun.runtime.exec import ExecOptions, Target, exec_detached, exec_foreground
from aiorun.spec.process import Changes, read_process
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from aiorun.wire.text import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import Context
    from aiorun.cli.flags import Options

COMMAND = Command(
    name="exec",
    usage="<container-id> <command> [arguments...] || --process process.json <container-id>",
    arguments=(1, None),
    interspersed=False,
    flags=(
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        Flag(("cwd",), help="current working directory in the container"),
        Flag(("env", "e"), STRINGS, help="set environment variables"),
        Flag(("tty", "t"), BOOL, help="allocate a pseudo-TTY"),
        Flag(("user", "u"), help="UID (format: <uid>[:<gid>])"),
        Flag(("additional-gids", "g"), INTS, help="additional gids"),
        Flag(("process", "p"), help="path to the process.json; the other flags change what it says"),
        DETACH,
        PID_FILE,
        Flag(("process-label",), help="set the asm process label for the process commonly used with selinux"),
        Flag(("apparmor",), help="set the apparmor profile for the process"),
        Flag(("no-new-privs",), BOOL, help="set the no new privileges value for the process"),
        Flag(("cap", "c"), STRINGS, help="add a capability to the bounding, effective and permitted sets of the process"),
        PRESERVE_FDS,
        Flag(("cgroup",), STRINGS, help="run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>."),
        Flag(("ignore-paused",), BOOL, help="allow exec in a paused container: it goes on once that is resumed"),
    ),
    failure="exec failed: ",
    failure_status=255,
    description="""\
The exec command executes one more process in a created or running container, with what the container's config.json says of
its program (user, directory, environment, capabilities, limits), changed by flags. It waits for its end, passes signals on,
and exits with its status, or with 128 + N if signal N killed it; with 255 if it could not be executed.

With --process all that is said of the process is taken from a file, an object like "process" of config.json.
""",
    examples="""\
    # aiorun exec web ps
    # aiorun exec --user 1000 --cwd /tmp --env WORD=hello web sh -c 'echo $WORD from $PWD'
""",
)


def run(options: Options, arguments: list[str], context: Context) -> int:
    given = read_process(options.string("process")) if options.string("process") else None
    detach = options.boolean("detach")
    chosen = ExecOptions(
        console_socket=options.string("console-socket"),
        pidfd_socket=options.string("pidfd-socket"),
        pid_file=absolute(options.string("pid-file")),
        preserve=_preserved(options),
        detached=detach,
        sub_cgroups=tuple(options.strings("cgroup")),
        ignore_paused=options.boolean("ignore-paused"),
    )
    with Target(Store(context.root), arguments[0], given, _changes(options, arguments[1:]), chosen) as target:
        if given is None:
            _enter(target.state.bundle)
        if context.log.debugging:
            _warn(target, context)
        waiter, spawner = Interruptible(PollWaiter()), context.log.traced(HereSpawner())
        if detach:
            drive(exec_detached(target, chosen, waiter=waiter, spawner=spawner))
            return 0
        return drive(exec_foreground(target, chosen, waiter=waiter, spawner=spawner))


def _enter(bundle: str) -> None:
    """What the paths of sockets count from, as in runc. One that is gone is needed for nothing else."""
    try:
        os.chdir(bundle)
    except OSError:
        pass


def _preserved(options: Options) -> int:
    number = options.integer("preserve-fds")
    if number < 0:
        raise UsageError(f"--preserve-fds {number}: not a number of file descriptors")
    return number


def _changes(options: Options, args: list[str]) -> Changes:
    user, colon, group = options.string("user").partition(":")
    groups = options.integers("additional-gids")
    for gid in groups:
        if gid < 0:
            raise UsageError(f"additional-gids must be a positive number {gid}")
    return Changes(
        args=tuple(args),
        cwd=options.string("cwd"),
        env=tuple(options.strings("env")),
        terminal=options.boolean("tty") if options.is_set("tty") else None,
        uid=_id(user, "uid") if user or colon else None,
        gid=_id(group, "gid") if colon else None,
        groups=tuple(groups),
        capabilities=tuple(options.strings("cap")),
        no_new_privileges=options.boolean("no-new-privs") if options.is_set("no-new-privs") else None,
        apparmor=options.string("apparmor"),
        selinux_label=options.string("process-label"),
    )


def _id(text: str, what: str) -> int:
    """In runc's words, which are Go's."""
    if text.removeprefix("+").removeprefix("-").isdecimal() and text.isascii():
        return int(text)
    raise UsageError(f"parsing {text} as int for {what} failed: strconv.Atoi: parsing {quote(text)}: invalid syntax")


def _warn(target: Target, context: Context) -> None:
    from aiorun.runtime.capabilities import left_out

    for sentence in left_out(target.spec):
        context.log.warning(sentence)
