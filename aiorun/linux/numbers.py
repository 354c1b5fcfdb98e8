"""System call numbers: one table for each machine. asm/unistd.h."""

from __future__ import annotations

import os

# Since 5.0 all machines share their new numbers (424 and up).
PIDFD_SEND_SIGNAL, OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK = 424, 428, 429, 430, 431, 432, 433
PIDFD_OPEN, CLONE3, CLOSE_RANGE, OPENAT2, PIDFD_GETFD, MOUNT_SETATTR = 434, 435, 436, 437, 438, 442

_X86_64 = {
    "clone": 56, "setresuid": 117, "setresgid": 119, "setgroups": 116, "capset": 126, "capget": 125, "prctl": 157,
    "mount": 165, "umount2": 166, "pivot_root": 155, "unshare": 272, "setns": 308, "keyctl": 250, "bpf": 321,
    "mknodat": 259, "sethostname": 170, "setdomainname": 171, "prlimit64": 302, "statfs": 137, "fstatfs": 138,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "execveat": 322, "waitid": 247, "personality": 135,
    "setuid": 105, "setgid": 106, "statx": 332, "execve": 59, "madvise": 28,
    "sched_setattr": 314, "ioprio_set": 251, "set_mempolicy": 238, "seccomp": 317,
}  # fmt: skip
_AARCH64 = {
    "clone": 220, "setresuid": 147, "setresgid": 149, "setgroups": 159, "capset": 91, "capget": 90, "prctl": 167,
    "mount": 40, "umount2": 39, "pivot_root": 41, "unshare": 97, "setns": 268, "keyctl": 219, "bpf": 280,
    "mknodat": 33, "sethostname": 161, "setdomainname": 162, "prlimit64": 261, "statfs": 43, "fstatfs": 44,
    "rt_sigaction": 134, "rt_sigprocmask": 135, "execveat": 281, "waitid": 95, "personality": 92,
    "setuid": 146, "setgid": 144, "statx": 291, "execve": 221, "madvise": 233,
    "sched_setattr": 274, "ioprio_set": 30, "set_mempolicy": 237, "seccomp": 277,
}  # fmt: skip

MACHINE = os.uname().machine
NUMBER = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(MACHINE, {})
