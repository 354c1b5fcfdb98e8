"""The last steps: find the program, report, wait at the fifo, become it."""

from __future__ import annotations

import os
import stat

from aiorun.init import root
from aiorun.init.state import StepFailed
from aiorun.linux import process
from aiorun.linux.file import CLOSE_RANGE_CLOEXEC, close_range
from aiorun.wire.protocol import Ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops

_ENOENT, _EACCES, _EISDIR = 2, 13, 21
_PASSWD_LIMIT = 1 << 20
_PATH_MAX = 4096


def set_home(init: Init, step: ops.SetHome) -> None:
    init.extra_env = ("HOME=" + (_home_of(init, step.uid) or "/"),)


def _home_of(init: Init, uid: int) -> str:
    """The sixth field of the user's line."""
    try:
        content = _passwd(init)
    except OSError:
        return ""
    lines = content.split(b"\n")
    if len(content) == _PASSWD_LIMIT:
        lines.pop()  # cut off
    for line in lines:
        words = line.split(b":")
        if len(words) > 5 and words[2].strip() == b"%d" % uid and b"\0" not in words[5] and len(words[5]) < _PATH_MAX:
            return words[5].decode("utf-8", "surrogateescape")
    return ""


def _passwd(init: Init) -> bytes:
    """The container's /etc/passwd, or the start of one that is too long. It is an attacker's: only a regular file is opened at
    all, and none of procfs, whose files have no size (/proc/self/mem, /proc/kmsg)."""
    found = root.resolve(init.root, "/etc/passwd")
    try:
        status = os.fstat(found)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return b""
        fd = root.reopen(init.procfs, found, os.O_RDONLY | os.O_NONBLOCK)
    finally:
        os.close(found)
    try:
        return os.read(fd, _PASSWD_LIMIT)
    finally:
        os.close(fd)


def find_program(init: Init, step: ops.FindProgram) -> None:
    """As execvp would, in the program's own PATH, as the user, now that we are inside. Go's words, which engines match."""
    if "/" in step.name:
        try:
            fault = _fault_of(step.name)
        except OSError as error:
            raise StepFailed(f"{step.complaint()}: stat {step.name}", error.errno or _ENOENT) from None
        if fault:
            raise StepFailed(step.complaint(), fault)
        init.program = step.name
        return
    for directory in step.path.split(":"):
        candidate = f"{directory}/{step.name}"
        if candidate.startswith("/") and _is_program(candidate):
            init.program = candidate
            return
    raise StepFailed(f"{step.complaint()}: executable file not found in $PATH")


def _fault_of(path: str) -> int:
    """The errno that keeps what is at `path` from being executed, or 0. Raises OSError if nothing can be seen there."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        return _EISDIR
    return 0 if os.access(path, os.X_OK) else _EACCES


def _is_program(path: str) -> bool:
    try:
        return not _fault_of(path)
    except OSError:
        return False


def report(init: Init, step: ops.Report) -> None:
    """Without an AwaitStart behind it the channel stays open: its end tells the parent that the program is executed."""
    for fd in init.kernel_mounts.values():
        os.close(fd)
    init.say(Ready())
    init.await_proceed()


def await_start(init: Init, step: ops.AwaitStart) -> None:
    """Leave the parent, and block until somebody reads the fifo.

    One who is killed between opening and reading has not started us: wait for another.
    """
    init.leave_parent()
    path = f"self/fd/{init.files[step.fd]}"
    while True:
        fifo = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=init.procfs)
        try:
            os.write(fifo, b"0")
        except BrokenPipeError:
            os.close(fifo)
            continue
        init.fifo = fifo
        return


def shed_ours(init: Init, step: ops.ShedOurs) -> None:
    close_range(3 + step.preserve, 0xFFFFFFFF, flags=CLOSE_RANGE_CLOEXEC, procfs=init.procfs)
    process.default_signals()


def execute(init: Init, step: ops.Execute) -> None:
    process.execve(init.program, step.args, step.env + init.extra_env)
