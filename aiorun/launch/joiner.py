"""The joiner: a process that joins namespaces and then clones the init, which is born into them.

Where a user namespace is concerned, it has to be before the clone: what the clone makes anew belongs to the user namespace in
which it is made, and from a new one there's no way into those of another. We ourselves stay where we are.
"""

from __future__ import annotations

import os

from aiorun.launch.failure import SpawnFailed
from aiorun.linux import process, socket
from aiorun.wire.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.wire.ops import JoinNamespace
    from aiorun.wire.plan import Plan

_LIMIT = 65536
_HUP, _INT, _QUIT, _TERM = 1, 2, 3, 15


def clone_after_joins(plan: Plan, files: dict[str, int], flags: int) -> tuple[int, int, tuple[int, ...]]:
    """Clone the init of a plan with `joins`: (pid, pidfd, the joiner's pidfd); in the init (0, -1, ()). Raises SpawnFailed."""
    ours, theirs = socket.pair()
    try:
        # In the container's cgroup from here on: once a cgroup namespace is joined there may be no way to it.
        pid, joiner = process.clone(flags, cgroup=files.get("cgroup", -1))
    except OSError as error:
        raise SpawnFailed("clone", error.errno or 0) from None
    if pid == 0:
        ours.close()
        if _clone_as_joiner(plan, files, theirs.fileno()):
            return 0, -1, ()
    theirs.close()
    try:
        packet, fds = socket.receive(ours, _LIMIT, 1)
        kind, what, number = loads(packet) if packet else ("Failed", "join the namespaces: the joiner died", 0)
        if kind == "Spawned":
            return number, fds[0], (joiner,)
        failure = SpawnFailed(what, number)
    except OSError as error:
        failure = SpawnFailed("hear from the joiner", error.errno or 0)
    finally:
        ours.close()
    failure.ended = (joiner,)
    raise failure


def _clone_as_joiner(plan: Plan, files: dict[str, int], answers: int) -> bool:
    """True in the init. The joiner itself ends here."""
    status = 1
    in_init = False
    try:
        process.set_dumpable(False)  # CVE-2016-9962: others are in these namespaces already
        process.exit_on((_HUP, _INT, _QUIT, _TERM))
        failed = _join(plan.joins, files)
        if failed is None:
            pid, pidfd = process.clone(plan.clone_flags | process.CLONE_PARENT)
            in_init = pid == 0
            if not in_init:
                _answer(answers, ["Spawned", "", pid], (pidfd,))
                status = 0
        else:
            _answer(answers, ["Failed", *failed], ())
    except OSError as error:
        _answer(answers, ["Failed", "clone", error.errno or 0], ())
    finally:
        if not in_init:
            os._exit(status)
    os.close(answers)
    return True


def _join(joins: tuple[JoinNamespace, ...], files: dict[str, int]) -> tuple[str, int] | None:
    """Join them, in order; what we may not join yet again at the end, when we are in the user namespace. What failed, or None."""
    later = []
    for step in joins:
        try:
            process.setns(files[step.fd], step.flag)
        except PermissionError:
            later.append(step)
        except OSError as error:
            return step.complaint(), error.errno or 0
    for step in later:
        try:
            process.setns(files[step.fd], step.flag)
        except OSError as error:
            return step.complaint(), error.errno or 0
    return None


def _answer(fd: int, message: list[object], files: tuple[int, ...]) -> None:
    channel = socket.stream(fd)
    socket.send(channel, dumps(message).encode(), files)
    channel.close()
