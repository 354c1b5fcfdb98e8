"""Containers for supervisors: `import aiorun`, an OCI runtime as a trio library. The same package is the command `aiorun`.

The names are loaded when they are asked for: `import aiorun` alone brings no trio, which a command never needs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.errors import (
        AiorunError,
        CgroupError,
        ConsoleError,
        ContainerExists,
        ContainerNotFound,
        CriuError,
        HookFailed,
        InitFailed,
        InvalidId,
        InvalidSpec,
        InvalidState,
        LauncherDied,
        ProtocolError,
        UnsupportedSpec,
        UsageError,
    )
    from aiorun.supervise import (
        DEVNULL,
        PIPE,
        STDOUT,
        Container,
        Created,
        Deleted,
        Events,
        Exit,
        Exited,
        FailedHook,
        Missed,
        Oom,
        Paused,
        Process,
        PtyStream,
        Result,
        Resumed,
        Runtime,
        Size,
        Started,
        Stats,
        run,
    )

_SUPERVISE = (
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Container",
    "Created",
    "Deleted",
    "Events",
    "Exit",
    "Exited",
    "FailedHook",
    "Missed",
    "Oom",
    "Paused",
    "Process",
    "PtyStream",
    "Result",
    "Resumed",
    "Runtime",
    "Size",
    "Started",
    "Stats",
    "run",
)
_ERRORS = (
    "AiorunError", "CgroupError", "ConsoleError", "ContainerExists", "ContainerNotFound", "CriuError", "HookFailed",
    "InitFailed", "InvalidId", "InvalidSpec", "InvalidState", "LauncherDied", "ProtocolError", "UnsupportedSpec", "UsageError",
)  # fmt: skip

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AiorunError",
    "CgroupError",
    "ConsoleError",
    "Container",
    "ContainerExists",
    "ContainerNotFound",
    "Created",
    "CriuError",
    "Deleted",
    "Events",
    "Exit",
    "Exited",
    "FailedHook",
    "HookFailed",
    "InitFailed",
    "InvalidId",
    "InvalidSpec",
    "InvalidState",
    "LauncherDied",
    "Missed",
    "Oom",
    "Paused",
    "Process",
    "ProtocolError",
    "PtyStream",
    "Result",
    "Resumed",
    "Runtime",
    "Size",
    "Started",
    "Stats",
    "UnsupportedSpec",
    "UsageError",
    "run",
]


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


if not TYPE_CHECKING:  # a checker would take it for a promise of any name

    def __getattr__(name: str) -> object:
        if name in _SUPERVISE:
            from aiorun import supervise

            return getattr(supervise, name)
        if name in _ERRORS:
            from aiorun import errors

            return getattr(errors, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
