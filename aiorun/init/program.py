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

_EPIPE, _EISDIR, _ENOENT = 32, 21, 2
_PASSWD_LIMIT = 1 << 20


def set_home(init: Init, step: ops.SetHome) -> None:
    init.extra_env = ("HOME=" + (_home_of(init, step.uid) or "/"),)


def _home_of(init: Init, uid: int) -> str:
    """The sixth field of the user's line. What isn't a regular file of a sane size isn't read: it is an attacker's."""
    try:
        fd = root.resolve(init.root, "/etc/passwd", flags=os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        content = os.read(fd, _PASSWD_LIMIT)
    except OSError:
        return ""
    finally:
        os.close(fd)
    for line in content.split(b"\n"):
        words = line.split(b":")
        if len(words) > 5 and words[2].strip() == b"%d" % uid:
            return words[5].decode("utf-8", "surrogateescape")
    return ""


def find_program(init: Init, step: ops.FindProgram) -> None:
    """As execvp would, in the program's own PATH, as the user, now that we are inside. Go's words, which engines match."""
    if "/" in step.name:
        fault = _fault_of(step.name)
        if fault:
            raise StepFailed(f"{step.describe()}: {f'stat {step.name}' if fault == _ENOENT else ''}".rstrip(" :"), fault)
        init.program = step.name
        return
    for directory in step.path.split(":"):
        candidate = f"{directory}/{step.name}"
        if candidate.startswith("/") and not _fault_of(candidate):
            init.program = candidate
            return
    raise StepFailed(f"{step.describe()}: executable file not found in $PATH")


def _fault_of(path: str) -> int:
    """The errno that keeps `path` from being executed, or 0."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno or _ENOENT
    if stat.S_ISDIR(found.st_mode):
        return _EISDIR
    return 0 if os.access(path, os.X_OK) else 13  # EACCES


def report(init: Init, step: ops.Report) -> None:
    init.say(Ready())
    init.await_proceed()
    init.leave_parent()


def await_start(init: Init, step: ops.AwaitStart) -> None:
    """Block until somebody reads the fifo. One who is killed between opening and reading has not started us: wait for another."""
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


def execute(init: Init, step: ops.Execute) -> None:
    close_range(3 + step.preserve, 0xFFFFFFFF, flags=CLOSE_RANGE_CLOEXEC)
    process.default_signals()
    process.execve(init.program, step.args, step.env + init.extra_env)
