"""What create, run and plan have in common: the bundle, and the flags that say how."""

from __future__ import annotations

import os

from aiorun.errors import AiorunError, UsageError, reason
from aiorun.spec import read, require_process, require_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cli.flags import Options
    from aiorun.spec.types import Spec


def enter(options: Options) -> str:
    """Change to the bundle, as runc does, and return its absolute path. Raises AiorunError."""
    directory = options.string("bundle")
    try:
        if directory:
            os.chdir(directory)
        return os.getcwd()
    except OSError as error:
        raise AiorunError(f"chdir {directory or '.'}: {reason(error)}") from None


def load(bundle: str) -> Spec:
    """config.json of the bundle, with all that a container needs. Raises AiorunError, InvalidSpec."""
    spec = read(bundle)
    require_process(spec)
    require_root(spec)
    return spec


def listen_fds() -> int:
    """How many sockets systemd hands on through us: LISTEN_FDS, if LISTEN_PID says that they are ours. sd_listen_fds(3)."""
    try:
        return int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    except ValueError:
        return 0


def preserved(options: Options, spec: Spec) -> int:
    """How many fds after 2 the program gets; with those of systemd it learns of them as sd_listen_fds(3) says."""
    number, listening = options.integer("preserve-fds"), listen_fds()
    if number < 0:
        raise UsageError(f"--preserve-fds {number}: not a number of file descriptors")
    if listening:
        spec["process"]["env"] = [*(spec["process"].get("env") or []), f"LISTEN_FDS={listening}", "LISTEN_PID=1"]
    return number + listening


def absolute(path: str) -> str:
    """A path that is relative to the caller's directory, before `enter` changes it."""
    return os.path.abspath(path) if path else ""
