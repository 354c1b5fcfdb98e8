"""Processes from outside: their pidfds, their identity and their end.

By what Python itself has, so that a command that makes no container goes without ctypes, which costs it half a millisecond.
A Python that was built on headers before Linux 5.3 has no pidfds.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the C module: signal itself brings enum

if not hasattr(os, "pidfd_open"):
    from aiorun.linux._call import call
    from aiorun.linux.numbers import PIDFD_OPEN, PIDFD_SEND_SIGNAL

_EINVAL = 22
_P_PIDFD = 3  # os.P_PIDFD, where there is one


def pidfd_open(pid: int) -> int:
    """pidfd_open(2), Linux 5.3. Raises ProcessLookupError when there's no such process."""
    try:
        return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else call(PIDFD_OPEN, pid, 0)
    except OSError as error:
        # Gone, but a session or a group still has its number; newer kernels say ESRCH. Or a thread has it by now.
        if error.errno == _EINVAL:
            raise ProcessLookupError(3, os.strerror(3), str(pid)) from None
        raise


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2), Linux 5.1. Raises ProcessLookupError when the process has been reaped."""
    if hasattr(_signal, "pidfd_send_signal"):
        _signal.pidfd_send_signal(pidfd, signal)
    else:
        call(PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A close-on-exec copy of file `fd` of the process behind `pidfd`, for who may trace that. pidfd_getfd(2), Linux 5.6."""
    from aiorun.linux._call import call
    from aiorun.linux.numbers import PIDFD_GETFD

    return call(PIDFD_GETFD, pidfd, fd, 0)


def reap(pidfd: int) -> tuple[int, int]:
    """Wait for the child behind `pidfd`: (si_code, si_status). waitid(2), P_PIDFD 5.4.

    si_code is CLD_EXITED (1), CLD_KILLED (2) or CLD_DUMPED (3). Raises ChildProcessError if it isn't a child.
    """
    ended = os.waitid(_P_PIDFD, pidfd, os.WEXITED)
    assert ended is not None  # without WNOHANG it has ended
    return ended.si_code, ended.si_status


def start_time(pid: int) -> tuple[int, str, int]:
    """(start time in clock ticks, state letter, flags) of a process: /proc/PID/stat, proc(5).

    pid and start time together are a process's identity. Raises ProcessLookupError when there's none.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ProcessLookupError(3, os.strerror(3), str(pid)) from None
    try:
        content = os.read(fd, 4096)
    finally:
        os.close(fd)
    after_name = content[content.rindex(b")") + 2 :].split()
    return int(after_name[19]), after_name[0].decode(), int(after_name[6])
