"""From the arguments to a command module: global flags, help, and how an error is told."""

from __future__ import annotations

from aiorun.cli.command import Context, absolute_root, default_root, wrong_number_of_arguments
from aiorun.cli.flags import BOOL, HELP, Flag, parse
from aiorun.cli.log import Log
from aiorun.cli.output import write_stdout
from aiorun.console.standard_streams import open_standard_streams
from aiorun.errors import AiorunError, UsageError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.command import CommandModule
    from aiorun.cli.flags import Options

# The order is that of the help. Only the module of the command that is asked for is imported.
COMMANDS = {
    "check": ("check", "show what this host and a bundle lack"),
    "checkpoint": ("checkpoint", "checkpoint a running container"),
    "create": ("create", "create a container"),
    "delete": ("delete", "delete a container and all that it holds"),
    "events": ("events", "show what a container uses, and when it lacks memory"),
    "exec": ("exec", "execute one more process in a container"),
    "features": ("features", "show what this aiorun can do"),
    "kill": ("kill", "send a signal (default: SIGTERM) to a container"),
    "list": ("list", "list the containers below --root"),
    "pause": ("pause", "stop all processes of a container where they are"),
    "plan": ("plan", "show what a bundle would do, step by step"),
    "ps": ("ps", "show the processes of a container"),
    "restore": ("restore", "restore a container from a checkpoint"),
    "resume": ("resume", "let the processes of a paused container go on"),
    "run": ("run", "create, start, wait for, and delete a container"),
    "spec": ("spec", "create a new specification file"),
    "start": ("start", "let the program of a created container begin"),
    "state": ("state", "print the state of a container"),
    "update": ("update", "change the limits of a container"),
}

# These clone an init out of their own interpreter, which therefore has to be a sealed one. CVE-2019-5736
MAKE_INITS = frozenset({"create", "exec", "restore", "run"})

GLOBAL_FLAGS = (
    Flag(("debug",), BOOL, help="enable debug logging"),
    Flag(("log",), help="set the log file to write aiorun's log to (default is '/dev/stderr')"),
    Flag(("log-format",), default="text", help="set the log format ('text', or 'json')"),
    Flag(("root",), help='root directory for storage of container state, on a tmpfs at best (default: "/run/aiorun")'),
    Flag(("criu",), help="taken from old callers, and ignored"),
    Flag(("systemd-cgroup",), BOOL, help='let systemd make the cgroups: cgroupsPath is then "slice:prefix:name"'),
    Flag(("rootless",), default="auto", help="ignore cgroup permission errors ('true', 'false', or 'auto')"),
    HELP,
    Flag(("version", "v"), BOOL, help="print the version"),
)

NO_SUCH_COMMAND = 3  # exit status, as runc's
_SIGINT = 2  # the exit status is 128 and the signal, as a shell says it


def main(argv: list[str]) -> int:
    """Run one command line (without the program's name) to its end, and return its exit status. Raises nothing."""
    log = Log()
    try:
        open_standard_streams()
        return _main(argv, log)
    except BaseException as error:  # noqa: BLE001 - whatever went wrong, engines need one line that says it
        return report(log, error)


def report(log: Log, error: BaseException, *, prefix: str = "", status: int = 1) -> int:
    """Tell the log and stderr in one sentence why the command failed; the exit status to end with."""
    if isinstance(error, AiorunError):
        log.error(f"{prefix}{error}")
        return status
    if log.debugging:
        import traceback

        log.debug("".join(traceback.format_exception(error)))
    if isinstance(error, KeyboardInterrupt):
        log.error(f"{prefix}interrupted")
        return 128 + (error.args[0] if error.args else _SIGINT)
    if isinstance(error, OSError):
        where = f' on "{error.filename}"' if error.filename else ""
        log.error(f"{prefix}unexpected error{where}: {reason(error)}")
    else:
        log.error(f"{prefix}unexpected error: {type(error).__name__}: {error}")
    return status


def _main(argv: list[str], log: Log) -> int:
    try:
        options, rest = parse(GLOBAL_FLAGS, argv, interspersed=False)
    except UsageError as error:
        _show_usage(f"Incorrect Usage. {error}")
        raise
    if options.boolean("help"):
        return _help("", log)
    if options.boolean("version"):
        from aiorun.cli.version import version_lines

        write_stdout("\n".join(version_lines()) + "\n")
        return 0
    context = _context(options, log)
    name = rest[0] if rest else ""
    if name in COMMANDS:
        return _run(name, rest[1:], context)
    if name in ("", "help", "h"):
        return _help(rest[1] if len(rest) > 1 else "", log)
    return _help(name, log)


def _context(options: Options, log: Log) -> Context:
    root = absolute_root(options.string("root")) if options.is_set("root") else default_root()
    debug = options.boolean("debug")
    log.configure(path=options.string("log"), format=options.string("log-format"), debug=debug)
    if options.is_set("criu"):
        log.warning("--criu is ignored: criu is found on the PATH")
    return Context(
        root=root,
        log=log,
        systemd_cgroup=options.boolean("systemd-cgroup"),
        rootless=options.string("rootless"),
        debug=debug,
        criu=options.string("criu"),
    )


def _run(name: str, arguments: list[str], context: Context) -> int:
    if name in MAKE_INITS:
        from aiorun.launch.sealed import ensure

        ensure()  # before the module's own imports, which would be made twice
    module = _module(name)
    command = module.COMMAND
    try:
        options, rest = parse((*command.flags, HELP), arguments, interspersed=command.interspersed)
    except UsageError as error:
        _show_usage(f"Incorrect Usage: {error}", name)
        raise
    if options.boolean("help"):
        return _help(name, context.log)
    fault = wrong_number_of_arguments(command, len(rest))
    if fault:
        _show_usage("Incorrect Usage.", name)
        raise UsageError(fault)
    if context.log.debugging:
        from aiorun._version import VERSION

        context.log.debug(f"aiorun {VERSION}: {' '.join([name, *arguments])} (--root {context.root})")
    try:
        return module.run(options, rest, context)
    except BaseException as error:  # noqa: BLE001 - told here, where the command's prefix and status are known
        return report(context.log, error, prefix=command.failure, status=command.failure_status)


def _module(name: str) -> CommandModule:
    # importlib, which has a function for it, would be one import more
    module: CommandModule = __import__(f"aiorun.cli.{COMMANDS[name][0]}", fromlist=("COMMAND",))
    return module


def _help(topic: str, log: Log) -> int:
    if topic and topic not in COMMANDS:
        log.error(f"No help topic for '{topic}'")
        return NO_SUCH_COMMAND
    write_stdout(_help_text(topic))
    return 0


def _help_text(name: str) -> str:
    from aiorun.cli.help import command_help, program_help

    return command_help(_module(name).COMMAND, COMMANDS[name][1]) if name else program_help(COMMANDS, GLOBAL_FLAGS)


def _show_usage(fault: str, name: str = "") -> None:
    try:
        write_stdout(f"{fault}\n\n{_help_text(name)}")
    except AiorunError:
        pass  # stdout is closed: the error that is on its way says more
