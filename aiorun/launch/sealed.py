"""The sealed interpreter: whatever may become an init runs from a copy of Python that nobody can write to.

A container can run `/proc/self/exe` and then write to it (CVE-2019-5736), so that file must never be the host's own.
Three ways, each tried where the one before can't be had: a read-only overlay at a place below `PLACE`, shared by all
commands (`aiorun.launch.seal_overlay`); a sealed copy in memory, and an unlinked copy (`aiorun.launch.seal_copy`).

Only the check is here, since every create, run, exec and restore makes it. What makes a seal is imported where it's needed.
"""

from __future__ import annotations

import os
import sys

from aiorun.errors import AiorunError, reason
from aiorun.linux.file import OVERLAYFS_SUPER_MAGIC, filesystem_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PLACE = "/run/aiorun-python"  # root's own, and below no --root
OVERLAY, MEMORY, UNLINKED = "overlay", "memory", "unlinked"
WAYS = (OVERLAY, MEMORY, UNLINKED)

_EXE = "/proc/self/exe"
_TRIED = "aiorun_sealing"  # python -X aiorun_sealing=WAY: this way has been tried. It never stands for the check
_MEMORY_SEALS = 1 | 2 | 4 | 8  # F_SEAL_SEAL, SHRINK, GROW, WRITE: fcntl(2)


def ensure() -> None:
    """Return if this process runs from a sealed interpreter; otherwise start the same script anew from one.

    The arguments, the environment and the open files stay. To be called before anything is done that must not be done
    twice. Raises AiorunError where no way to seal is left.
    """
    if not way_of_this_process():
        _seal_and_exec()


def way_of_this_process() -> str:
    """The way in which the interpreter that runs this is sealed, one of WAYS; empty if it isn't."""
    exe = os.readlink(_EXE)
    if exe.startswith(PLACE + "/"):
        return OVERLAY if is_sealed_overlay(_EXE, exe[len(PLACE) + 1 :].split("/", 1)[0]) else ""
    return _way_of_a_copy(exe)


def is_sealed_overlay(file: str, key: str) -> bool:
    """Whether `file` is what `PLACE`/`key` has to show: root's read-only overlay of today's binary. docs/security.md, P13."""
    try:
        binary = binary_of(key)
        real, here = os.stat(binary), os.stat(file)
        kind, flags = filesystem_of(file)
        return (
            kind == OVERLAYFS_SUPER_MAGIC
            and bool(flags & os.ST_RDONLY)
            and key == key_of(binary, real)
            and (here.st_size, here.st_mtime_ns) == (real.st_size, real.st_mtime_ns)
            and is_roots_directory(os.lstat(PLACE))
            and is_roots_directory(os.lstat(f"{PLACE}/{key}"))
        )
    except OSError:
        return False


def _way_of_a_copy(exe: str) -> str:
    if not exe.endswith(" (deleted)"):
        return ""  # neither a memfd nor unlinked: most likely the plain interpreter
    import fcntl

    fd = os.open(_EXE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _MEMORY_SEALS == _MEMORY_SEALS:
            return MEMORY
    except OSError:  # EINVAL: no memfd
        pass
    finally:
        os.close(fd)
    # A Python that was upgraded while it runs is unlinked too, but never ours alone and without a write bit.
    status = os.stat(_EXE)
    ours = status.st_nlink == 0 and status.st_uid == os.geteuid() and not status.st_mode & 0o222
    return UNLINKED if ours else ""


def is_roots_directory(status: os.stat_result) -> bool:
    """Whether nobody but root can change what is in it."""
    return status.st_mode & 0o170000 == 0o040000 and status.st_uid == 0 and not status.st_mode & 0o022


# --- names -----------------------------------------------------------------------------------------------------


def name_of(binary: str) -> str:
    """The name below `PLACE` that stays the same when `binary` is upgraded: a link to the key of today's."""
    return binary.lstrip("/").replace("%", "%25").replace("/", "%2F").replace("@", "%40")


def key_of(binary: str, status: os.stat_result) -> str:
    """The name below `PLACE` of this very file: path, device, inode, size and time of change."""
    return f"{name_of(binary)}@{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


def binary_of(key: str) -> str:
    """The path of the binary that `name_of` or `key_of` made a name of."""
    return "/" + key.split("@", 1)[0].replace("%40", "@").replace("%2F", "/").replace("%25", "%")


def real_binary() -> str:
    """The path of the interpreter that isn't sealed: of the one that runs this, or that it was made from."""
    exe = os.readlink(_EXE)
    for path in (exe, sys.executable):  # the second after our overlay was detached, and for a copy in memory
        if path.startswith(PLACE + "/"):
            return binary_of(path[len(PLACE) + 1 :].split("/", 1)[0])
    exe = exe.removesuffix(" (deleted)")  # upgraded meanwhile: the new one is at the same path
    return exe if os.path.isfile(exe) else os.path.realpath(sys.executable)


# --- sealing ---------------------------------------------------------------------------------------------------


def _seal_and_exec() -> NoReturn:
    binary = real_binary()
    tried = sys._xoptions.get(_TRIED)
    untried = WAYS[WAYS.index(tried) + 1 :] if isinstance(tried, str) and tried in WAYS else WAYS
    why = "the copy isn't sealed"
    for way in untried:
        options = ("-X", f"{_TRIED}={way}", "-I", "-S", "-X", "utf8")
        try:
            _exec(way, binary, [*options, *sys.argv])
        except OSError as error:
            why = reason(error)
    raise AiorunError(f'seal the interpreter "{binary}": {why}')


def _exec(way: str, binary: str, arguments: list[str]) -> None:
    """Become `binary`, sealed in this way. Raises OSError where it can't be."""
    if way == OVERLAY:
        from aiorun.launch.seal_overlay import publish

        sealed = publish(binary)
        os.execve(sealed, [sealed, *arguments], caller_environment())
    from aiorun.launch.seal_copy import COPY

    copy = COPY[way](binary)
    try:
        os.execve(copy, [binary, *arguments], caller_environment())
    finally:
        os.close(copy)


def caller_environment() -> dict[bytes, bytes]:
    """The environment that this process was started with.

    `os.environ` has more: without LANG and LC_ALL, as engines call us, Python adds LC_CTYPE (PEP 538).
    """
    with open("/proc/self/environ", "rb") as file:
        pairs = [entry.partition(b"=") for entry in file.read().split(b"\0")]
    return {name: value for name, equals, value in pairs if name and equals}


def describe() -> str:
    """How the commands of this user seal their interpreter here, in words. Leaves nothing; raises AiorunError if they can't."""
    from aiorun.launch import seal_copy, seal_overlay

    binary = real_binary()
    try:
        return f'a read-only overlay of "{os.path.dirname(binary)}" at "{seal_overlay.find_out(binary)}"'
    except OSError as error:
        because = f"no overlay: {reason(error)}"
    for way, words in ((MEMORY, "a sealed copy in memory for each command"), (UNLINKED, "an unlinked copy for each command")):
        try:
            os.close(seal_copy.COPY[way](binary))
        except OSError as error:
            because += f"; none in memory: {reason(error)}"
        else:
            return f"{words} ({because})"
    raise AiorunError(f'seal the interpreter "{binary}": {because}')
