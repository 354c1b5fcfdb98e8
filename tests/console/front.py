"""A foreground command as `aiorun run -t` is one, without a container: ARGV on a terminal, and the relay before it."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

from aiorun.console import terminal
from aiorun.console.relay import prepare, relay
from aiorun.console.signals import Signals
from aiorun.console.standard_streams import open_standard_streams
from aiorun.errors import ConsoleError
from aiorun.linux import terminal as pty
from aiorun.waiter import PollWaiter, drive


def start(argv: list[str], front: terminal.Terminal | None) -> tuple[int, int]:
    """The master and the pid of a program that leads a session on a new terminal."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    pty.unlock(master)
    peer = pty.open_peer(master)
    prepare(master, front)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        pty.make_controlling(peer)
        for fd in (0, 1, 2):
            os.dup2(peer, fd)
        os.execvp(argv[0], argv)
    os.close(peer)
    return master, pid


def main() -> int:
    open_standard_streams()
    needed = sys.argv[1] == "--terminal"
    try:
        front = terminal.find()
    except ConsoleError as error:
        if needed:
            print(error, file=sys.stderr)
            return 1
        front = None
    master, pid = start(sys.argv[2 if needed else 1 :], front)
    with Signals() as signals:
        drive(relay(PollWaiter(), master, terminal=front, until=os.pidfd_open(pid), signals=signals))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
