"""The command line of recvtty: what it's told, and what it exits with."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import trio

from aiorun.console.standard_streams import open_standard_streams
from aiorun.errors import AiorunError
from recvtty.server import serve

_DESCRIPTION = """\
Receive the terminals that a container runtime hands over, so that somebody is at their other end.

A container with "terminal": true that is created, not run, needs a process that holds its terminal.
recvtty listens at SOCKET, which the runtime is told as --console-socket (there a relative path counts from the bundle):

    recvtty BUNDLE/tty.sock                # in one terminal: it becomes the container's
    aiorun create --bundle BUNDLE --console-socket tty.sock box && aiorun start box      # in another
"""
_EPILOG = """\
SOCKET may be a relative path, one longer than sockets usually allow, or @name for an abstract socket. A socket that
a dead server left is replaced; one that is in use is refused. Only processes of this user and of root are received from.

Exit status: 0 when the terminal hung up, or on SIGTERM and SIGINT; 1 if the socket can't be had; 2 for wrong usage.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve as `argv` says until there's nothing more to serve; the exit status."""
    open_standard_streams()
    arguments = _parser().parse_args(argv)
    server = partial(serve, arguments.socket, mode=arguments.mode, pid_file=arguments.pid_file, stdin=not arguments.no_stdin)
    failures: list[BaseException] = []
    try:
        trio.run(server)
    except* (AiorunError, OSError) as group:
        failures = _leaves(group)
    for failure in failures:
        print(f"recvtty: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recvtty", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("socket", metavar="SOCKET", help="where to listen")
    parser.add_argument(
        "-m",
        "--mode",
        choices=("single", "null"),
        default="single",
        help="single: connect the first terminal that comes to this one and end with it. "
        "null: take any number of terminals and drop what they say. Default: %(default)s",
    )
    parser.add_argument("--pid-file", metavar="FILE", help="write the process id there, once the socket is listening")
    parser.add_argument("--no-stdin", action="store_true", help="show a terminal's output only, type nothing into it (single)")
    return parser


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


if __name__ == "__main__":
    sys.exit(main())
