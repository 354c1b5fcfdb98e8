"""The container's init from outside: by pidfd, with its identity checked."""

from __future__ import annotations

import os

from aiorun.errors import AiorunError, reason
from aiorun.linux.pidfd import pidfd_open, pidfd_send_signal, reap
from aiorun.store import identity
from aiorun.waiter import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiorun.store import State
    from aiorun.waiter import Waiter

SIGKILL = 9
_CLD_EXITED = 1
_DYING_SECONDS = 10.0


def open_init(state: State) -> int:
    """A pidfd of the container's init; -1 if that is gone. The pidfd is opened before the identity is compared."""
    if not state.pid:
        return -1
    try:
        pidfd = pidfd_open(state.pid)
    except ProcessLookupError:
        return -1
    if identity(state) is None:
        os.close(pidfd)
        return -1
    return pidfd


def send(pidfd: int, signal: int) -> bool:
    """Send a signal; False if the process is gone."""
    try:
        pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    return True


async def kill(waiter: Waiter, pidfd: int) -> None:
    """KILL, wait until it has died, and reap it if it is a child of ours. Raises AiorunError if it doesn't die."""
    send(pidfd, SIGKILL)
    await await_death(waiter, pidfd)
    reap_child(pidfd)


async def await_death(waiter: Waiter, pidfd: int) -> None:
    """Wait until a process that was killed has died. Its exit is left to whoever made it.

    Raises AiorunError after ten seconds: it hangs in the kernel, where no signal reaches it. The words are runc's.
    """
    if not await waiter.wait_any({pidfd: POLLIN}, _DYING_SECONDS):
        raise AiorunError("container init still running")


def end_of_child(pidfd: int) -> tuple[int | None, int | None] | None:
    """Reap a child that has ended: (its exit code, None), or (None, the signal it died of). None if it isn't a child of ours."""
    try:
        code, status = reap(pidfd)
    except ChildProcessError:
        return None
    return (status, None) if code == _CLD_EXITED else (None, status)


def reap_child(pidfd: int) -> int | None:
    """The same as a shell's status: its exit code, 128 + N by signal N."""
    ended = end_of_child(pidfd)
    if ended is None:
        return None
    code, signal = ended
    return code if signal is None else 128 + signal


def describe_streams(files: Mapping[str, int]) -> list[str]:
    """What an init's standard streams are, ours where `files` names none: "pipe:[123]", "/dev/null"."""
    numbers = [files.get(name, number) for number, name in enumerate(("stdin", "stdout", "stderr"))]
    return [os.readlink(f"/proc/self/fd/{number}") for number in numbers]


def write_pid_file(path: str, pid: int) -> None:
    """`.NAME` beside it, renamed: decimal, no newline. Raises AiorunError."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    try:
        try:
            os.unlink(temporary)  # of one that was killed; in a directory of everybody's it may also be a link to another file
        except FileNotFoundError:
            pass
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, str(pid).encode())
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise AiorunError(f'write the pid file "{path}": {reason(error)}') from None
