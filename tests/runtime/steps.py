"""A command as a series of system calls: killed before any of them, or told by the kernel that it failed. strace(1), --inject."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from tests.conftest import COMMAND_SECONDS, CommandLine, need
from tests.runtime.life import Ended

# What changes something, waits, or asks the kernel for something new: between two of these nothing happens that anyone could see.
KINDS = (
    "chdir clone3 connect exit_group fchmod flock kill mkdir mknodat openat pidfd_open pidfd_send_signal poll renameat rmdir "
    "sendmsg socketpair unlinkat waitid write"
).split()


class Step(NamedTuple):
    """The `nth` call of one system call by a command; of an openat the `nth` of that path, since imports have a varying many."""

    call: str
    nth: int
    arguments: str
    path: str = ""

    def inject(self, what: str) -> list[str]:
        """strace's options to do something to it."""
        return [f"--inject={self.call}:{what}:when={self.nth}", *(["-P", self.path] if self.path else [])]


def steps_of(program: CommandLine, *args: str | Path, after: str, log: Path) -> list[Step]:
    """The steps of a command that runs to its end, from the first one on that has `after` in its arguments: past all imports."""
    ended = _strace(program, ["--trace=" + ",".join(KINDS)], *args, log=log)
    assert ended.returncode == 0, ended
    counts: dict[tuple[str, str], int] = {}
    found = []
    for line in log.read_text().splitlines():
        called = re.match(r"(\w+)\((.*)", line)
        if called:
            call, arguments = called.groups()
            path = arguments.split('"')[1] if call == "openat" else ""
            nth = counts[call, path] = counts.get((call, path), 0) + 1
            found.append(Step(call, nth, arguments, path))
    begin = next(number for number, step in enumerate(found) if after in step.arguments)
    return [step for step in found[begin:] if not re.match(r"/proc/\d", step.path)]  # those have another name each time


def sample(steps: list[Step], most: int) -> list[Step]:
    """At most `most` of the steps, evenly, with the first and the last."""
    if len(steps) <= most:
        return steps
    return [steps[number * (len(steps) - 1) // (most - 1)] for number in range(most)]


def killed_at(program: CommandLine, step: Step, *args: str | Path, log: Path) -> Ended:
    """Run a command that gets SIGKILL just before `step`."""
    return _strace(program, step.inject("signal=KILL"), *args, log=log)


def interrupted_at(program: CommandLine, step: Step, *args: str | Path, log: Path) -> Ended:
    """Run a command that gets SIGTERM in its `step`."""
    return _strace(program, step.inject("signal=TERM"), *args, log=log)


def failing_at(program: CommandLine, step: Step, error: str, *args: str | Path, log: Path) -> Ended:
    """Run a command whose `step` fails with `error`."""
    return _strace(program, step.inject(f"error={error}"), *args, log=log)


def _strace(program: CommandLine, options: list[str], *args: str | Path, log: Path) -> Ended:
    strace = need("strace")
    traced = CommandLine(strace, program.root)
    traced.argv = lambda *words: [strace, "-qq", "-s", "200", "-o", str(log), *options, *program.argv(*words)]  # type: ignore[method-assign]
    ended = traced(*args, timeout=COMMAND_SECONDS, env={**os.environ, "LC_ALL": "C"})
    own = f"{strace}: Requested path "  # -P of a link
    ended.stderr = "".join(line for line in ended.stderr.splitlines(keepends=True) if not line.startswith(own))
    return ended
