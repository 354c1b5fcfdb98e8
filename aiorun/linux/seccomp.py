"""Seccomp filters as the kernel has them. seccomp(2)."""

from __future__ import annotations

from aiorun.linux._call import Buffer, call
from aiorun.linux.numbers import NUMBER

_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2
_EFAULT = 14

# linux/seccomp.h. config.json's names; TSYNC would mean our other threads, and an init has none.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
NEW_LISTENER = 8
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
LARGEST = 4096  # instructions of a filter: BPF_MAXINSNS


def load(program: bytes, flags: int) -> int:
    """Filter the calling thread, and what it starts, with a BPF program. With NEW_LISTENER the result is the listener's fd.

    Takes no_new_privs, or CAP_SYS_ADMIN in the user namespace: else EACCES.
    """
    code = Buffer(program)
    program_of = (len(program) // 8).to_bytes(8, "little") + code.address.to_bytes(8, "little")  # struct sock_fprog
    return call(NUMBER["seccomp"], _SET_MODE_FILTER, flags, program_of)


def supported_flags() -> list[str]:
    """Those of FLAGS that this kernel knows: it looks at them before the program, for which it's given none."""
    return [name for name, flag in FLAGS.items() if _is_known(flag)]


def _is_known(flag: int) -> bool:
    try:
        # WAIT_KILLABLE_RECV goes with a listener alone
        call(NUMBER["seccomp"], _SET_MODE_FILTER, flag | (NEW_LISTENER if flag == 32 else 0), None)
    except OSError as error:
        return error.errno == _EFAULT
    return False


def supported_actions() -> list[str]:
    """Those of ACTIONS that this kernel knows. seccomp(2), SECCOMP_GET_ACTION_AVAIL, Linux 4.14."""
    return [name for name, action in ACTIONS.items() if _is_available(action)]


def _is_available(action: int) -> bool:
    try:
        call(NUMBER["seccomp"], _GET_ACTION_AVAIL, 0, action.to_bytes(4, "little"))
    except OSError:
        return False
    return True
