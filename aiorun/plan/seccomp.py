"""linux.seccomp, and process.noNewPrivileges beside it → the operation that loads the filter. config-linux.md, "Seccomp"."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.spec.types import Process, Seccomp, SeccompSyscall

_NOTIFY = "SCMP_ACT_NOTIFY"
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_WAIT_KILLABLE = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"


def compile_filter(profile: Seccomp, process: Process) -> ops.LoadSeccomp:
    """The operation for a checked profile. Raises InvalidSpec for what doesn't fit together, in runc's words where it has any."""
    if profile["defaultAction"] == _NOTIFY:
        raise InvalidSpec("linux.seccomp.defaultAction", f"{_NOTIFY} cannot be used as default action")
    _check_errno(profile["defaultAction"], profile.get("defaultErrnoRet"), "linux.seccomp.defaultErrnoRet")
    for index, rule in enumerate(profile.get("syscalls") or []):
        _check_rule(rule, f"linux.seccomp.syscalls[{index}]")
    listener = any(rule["action"] == _NOTIFY for rule in profile.get("syscalls") or [])
    if listener and not profile.get("listenerPath"):
        raise InvalidSpec("linux.seccomp.listenerPath", "seccomp listenerPath is not set")
    flags = profile.get("flags")
    if flags is None:
        flags = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]  # as in runc: the mitigations are the program's own affair
    if not listener:
        flags = [flag for flag in flags if flag != _WAIT_KILLABLE]  # about whom nobody answers; EINVAL without a listener
    return ops.LoadSeccomp("seccomp", tuple(flags), not process.get("noNewPrivileges", False), listener)


def _check_rule(rule: SeccompSyscall, at: str) -> None:
    if "" in rule["names"]:
        raise InvalidSpec(f"{at}.names[{rule['names'].index('')}]", "must not be empty")
    if rule["action"] == _NOTIFY and "write" in rule["names"]:
        # With it the init tells the parent of the listener, and nobody can answer before that.
        raise InvalidSpec(f"{at}.names[{rule['names'].index('write')}]", f"{_NOTIFY} cannot be used for the write syscall")
    _check_errno(rule["action"], rule.get("errnoRet"), f"{at}.errnoRet")
    for index, argument in enumerate(rule.get("args") or []):
        if argument["index"] > 5:
            raise InvalidSpec(f"{at}.args[{index}].index", "must be from 0 to 5: a system call has six arguments")


def _check_errno(action: str, errno: int | None, at: str) -> None:
    """An errno of 0 beside an action that has none is as good as absent: engines write every member."""
    if errno and action not in _WITH_ERRNO:
        raise InvalidSpec(at, f"{action} has no errno")
    if errno and errno > 0xFFFF:
        raise InvalidSpec(at, "must be from 0 to 65535")
