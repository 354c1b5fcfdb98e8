"""Examples as a person runs them: a shell on a terminal, in an empty directory, with aiorun and recvtty on the PATH.

In a block of `console`, `$ ` (or `# ` for root) starts a command and `> ` continues it; a line that begins with a container's
prompt, `/ # `, is typed into the program that runs; every other line is what is printed, `…` standing for anything.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ptyprocess import PtyProcess

from aiorun import cgroups
from aiorun.waiter import PollWaiter, drive
from tests.conftest import CHECKOUT

INNER_PROMPT = "/ # "
_SECONDS = 60.0
_END = re.compile(r"\x00(\d+)\x00")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Commands come by an fd, so that the terminal is the programs' alone. /run/aiorun is the example's own.
_LOOP = r"""
mkdir -p /run/aiorun && mount -t tmpfs tmpfs /run/aiorun
while IFS= read -r -d '' -u {fd} command; do
    eval "(exit ${status:-0})
    $command" {fd}<&-
    status=$?
    printf '\0%d\0' $status
done
"""


@dataclass
class Command:
    text: str
    typed: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)

    def expected(self) -> str:
        return "\n".join(self.printed).strip()


def parse(block: str) -> Iterator[Command]:
    """The commands of a console block, each with what is typed and what is printed. Raises ValueError for no command."""
    command: Command | None = None
    for line in block.splitlines():
        if line.startswith(("$ ", "# ")):
            if command:
                yield command
            command = Command(line[2:])
        elif command is None:
            raise ValueError(f"a console block that begins with no command: {line}")
        elif line.startswith("> "):
            command.text += "\n" + line[2:]
        else:
            if line.startswith(INNER_PROMPT):
                command.typed.append(line.removeprefix(INNER_PROMPT))
            command.printed.append(line)
    if command:
        yield command


def matches(expected: str, printed: str) -> bool:
    """Whether `printed` is `expected`, in which `…` stands for anything, also for lines."""
    return re.fullmatch(".*".join(map(re.escape, expected.split("…"))), printed, re.DOTALL) is not None


class Shell:
    """A bash in a mount namespace of its own, and in a cgroup below `cgroup_parent`, below which its containers' are then."""

    def __init__(self, directory: Path, cgroup_parent: str) -> None:
        self._cgroup = cgroups.locate(cgroups.layout(), f"{cgroup_parent}/the-shell-itself", "shell")
        self._cgroup.create()
        commands, self._commands = os.pipe()
        os.set_inheritable(commands, True)
        self._child = PtyProcess.spawn(
            ["unshare", "--mount", "--propagation", "private", "bash", "--norc", "-c", _LOOP.replace("{fd}", str(commands))],
            cwd=str(directory),
            env={**os.environ, "PATH": f"{CHECKOUT}/.venv/bin:{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"},
            preexec_fn=self._enter,
            pass_fds=(commands,),
            echo=False,
            dimensions=(50, 200),
        )
        os.close(commands)

    def _enter(self) -> None:
        for path in set(self._cgroup.paths.values()):
            Path(path, "cgroup.procs").write_text("0")

    def run(self, command: Command) -> tuple[str, int]:
        """What the command printed, without escape codes, and its exit status. Raises TimeoutError, with what there is so far."""
        os.write(self._commands, command.text.encode() + b"\0")
        printed, waiting = "", list(command.typed)
        deadline = time.monotonic() + _SECONDS
        while not (end := _END.search(printed)):
            if waiting and printed.count(INNER_PROMPT) > len(command.typed) - len(waiting):
                self._child.write(waiting.pop(0).encode() + b"\n")
            ready, _, _ = select.select([self._child.fd], [], [], deadline - time.monotonic())
            if not ready:
                raise TimeoutError(f"{command.text} hangs after {printed!r}")
            printed = _ESCAPES.sub("", printed + self._child.read(65536).decode(errors="replace"))
        lines = printed[: end.start()].replace("\r", "").splitlines()
        return "\n".join(line.rstrip() for line in lines).strip(), int(end[1])

    def check(self, commands: Iterable[Command]) -> None:
        """Run them in order; each prints what is expected."""
        for command in commands:
            printed, _status = self.run(command)
            assert matches(command.expected(), printed), f"$ {command.text}\nexpected:\n{command.expected()}\nprinted:\n{printed}"

    def close(self) -> None:
        """End it, delete what an example that failed half-way left, and give the cgroup back."""
        self.run(Command("for id in $(aiorun list --quiet); do aiorun delete --force $id; done"))
        os.close(self._commands)
        self._child.wait()
        self._child.close()
        drive(self._cgroup.remove(PollWaiter()))
