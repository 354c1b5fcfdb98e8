"""ps: the processes of a container, by its cgroup."""

from __future__ import annotations

import os

from aiorun import cgroups
from aiorun.errors import AiorunError, reason
from aiorun.store import identity
from aiorun.waiter import PollWaiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.store import Store

_PLACES = ("/usr/bin/ps", "/bin/ps", "/usr/local/bin/ps")  # engines call us without a PATH


def pids(store: Store, id: str) -> list[int]:
    """The pids of all processes in the container's cgroup, as the caller's pid namespace has them. Raises ContainerNotFound.

    Without a cgroup (rootless) they are its init and what descends from it: all of a pid namespace, whose orphans are its init's.
    """
    with store.open(id) as directory:
        state = directory.read()
    if state.cgroup_paths:
        return sorted(cgroups.load(state.cgroup_paths).pids())
    seen = identity(state)
    return [] if seen is None or seen[0] in "ZX" else sorted(_family(state.pid))


def _family(pid: int) -> Iterator[int]:
    """`pid` and all that descend from it. proc_pid_task_tid_children(5)."""
    yield pid
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                children = file.read().split()
            for child in children:
                yield from _family(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended


async def ps_lines(wanted: list[int], arguments: list[str]) -> list[str]:
    """The header of ps(1), called with `arguments`, and its lines about the pids `wanted`. Raises AiorunError."""
    path = next((place for place in _PLACES if os.access(place, os.X_OK)), "")
    if not path:
        raise AiorunError('exec: "ps": executable file not found in $PATH')
    from aiorun.linux.program import run_program  # only here: `--format json` goes without

    environment = tuple(f"{key}={value}" for key, value in os.environ.items())
    try:
        ending = await run_program(PollWaiter(), path, ("ps", *arguments), environment, stdin=b"", timeout=None)
    except OSError as error:
        raise AiorunError(f"run {path}: {reason(error)}") from None
    if ending.status:
        said = (ending.output + ending.errors).decode("utf-8", "replace").strip()
        raise AiorunError(f"exit status {ending.status}: {said}")
    header, *lines = ending.output.decode("utf-8", "replace").splitlines() or [""]
    if "PID" not in header.split():
        raise AiorunError("couldn't find PID field in ps output")
    column = header.split().index("PID")
    return [header, *(line for line in lines if _pid(line, column) in wanted)]


def _pid(line: str, column: int) -> int:
    try:
        return int(line.split()[column])
    except (IndexError, ValueError):
        raise AiorunError(f"unexpected pid in the line {line!r} of ps") from None
