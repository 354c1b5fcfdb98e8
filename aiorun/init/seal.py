"""Shut the interpreter: from here on no module, no code and no library is loaded into it.

The container's file system is an attacker's. A lazy import or a codec look-up after the pivot would find its files under the
host's absolute paths (docs/security.md, P1 to P3).
"""

from __future__ import annotations

import gc
import os
import sys

from aiorun.linux.file import close_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.init.state import Init

_FORBIDDEN = frozenset({"import", "compile", "exec", "marshal.loads", "ctypes.dlopen", "ctypes.dlsym", "code.__new__"})
_put_aside: list[object] = []
_EXIT = 71  # EX_OSERR; the parent says "init died" with it


def shut() -> None:
    """Empty what imports look into, and end the process on any attempt. There's no way back."""
    gc.disable()
    # Put aside and not freed: each page that is written to after the clone is copied, half a millisecond of them for these.
    _put_aside.extend((sys.meta_path, sys.path, sys.path_hooks, sys.path_importer_cache))
    sys.meta_path, sys.path, sys.path_hooks, sys.path_importer_cache = [], [], [], {}
    sys.excepthook = sys.unraisablehook = _say_nothing  # theirs print a traceback, for which they read files by our paths
    sys.addaudithook(_end_on_loading)


def _end_on_loading(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in _FORBIDDEN:
        os._exit(_EXIT)


def _say_nothing(*_what: object) -> None:
    pass


def keep_only(init: Init, channel: int, preserve: int) -> None:
    """Close every file but 0, 1, 2, the `preserve` ones after them, the named ones and the channel.

    What the calling process has open (other configs, logs, sockets) is none of the container's business.
    """
    following = 3 + preserve
    for fd in sorted({*init.files.values(), channel}):
        if fd > following:
            close_range(following, fd - 1)
        following = max(following, fd + 1)
    close_range(following, 0xFFFFFFFF)
