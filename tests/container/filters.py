"""Seccomp filters as the tests see them: taken out of a running process, and asked what they answer to a call."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import pytest

X86_64, X86, X32_BIT = 0xC000003E, 0x40000003, 1 << 30
KILL_THREAD, KILL_PROCESS, TRAP, ERRNO, NOTIFY, TRACE, LOG, ALLOW = (
    0, 0x80000000, 0x30000, 0x50000, 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000,
)  # fmt: skip
ENOSYS = ERRNO | 38

_PTRACE_ATTACH, _PTRACE_DETACH, _PTRACE_SECCOMP_GET_FILTER = 16, 17, 0x420C
_WALL = 0x40000000
_EIO, _EINVAL, _ENOENT = 5, 22, 2
_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def filters_of(pid: int) -> list[bytes]:
    """The seccomp filters of a process, the last one first. ptrace(2), PTRACE_SECCOMP_GET_FILTER."""
    _request(_PTRACE_ATTACH, pid)
    os.waitpid(pid, _WALL)
    try:
        found: list[bytes] = []
        while True:
            try:
                count = _request(_PTRACE_SECCOMP_GET_FILTER, pid, len(found))
            except OSError as error:
                if error.errno == _EIO:
                    pytest.skip("this kernel doesn't tell a process's filters (CONFIG_CHECKPOINT_RESTORE)")
                if error.errno in (_ENOENT, _EINVAL):
                    return found
                raise
            content = ctypes.create_string_buffer(8 * count)
            _request(_PTRACE_SECCOMP_GET_FILTER, pid, len(found), ctypes.addressof(content))
            found.append(content.raw)
    finally:
        _request(_PTRACE_DETACH, pid)


def _request(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    result: int = _ptrace(request, pid, address, data)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def answer(program: bytes, number: int, *arguments: int, arch: int = X86_64) -> int:
    """What a filter returns for a call: classic BPF, as far as libseccomp uses it. linux/filter.h."""
    data = number.to_bytes(4, "little") + arch.to_bytes(4, "little") + bytes(8)
    data += b"".join(value.to_bytes(8, "little") for value in (*arguments, *[0] * (6 - len(arguments))))
    accumulator = at = 0
    scratch: dict[int, int] = {}
    while True:
        code = int.from_bytes(program[at : at + 2], "little")
        yes, no = program[at + 2 : at + 4]
        value = int.from_bytes(program[at + 4 : at + 8], "little")
        at += 8
        if code == 0x20:
            accumulator = int.from_bytes(data[value : value + 4], "little")
        elif code == 0x02:
            scratch[value] = accumulator
        elif code == 0x60:
            accumulator = scratch[value]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            at += 8 * value
        elif code & 0xF == 0x5:
            taken = {0x10: accumulator == value, 0x20: accumulator > value, 0x30: accumulator >= value}
            at += 8 * (yes if taken.get(code & 0xF0, bool(accumulator & value)) else no)
        else:
            assert code == 0x06, hex(code)
            return value


def podmans_profile(*architectures: str) -> dict[str, Any]:
    """podman's default profile, with its rules for everybody, as it writes them to a config.json."""
    path = Path("/usr/share/containers/seccomp.json")
    if not path.exists():
        pytest.skip("podman's profile isn't installed (golang-github-containers-common)")
    profile = json.loads(path.read_text())
    rules = [rule for rule in profile["syscalls"] if _is_for_all(rule.get("includes") or {})]
    members = ("names", "action", "args", "errnoRet")
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": list(architectures or ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")),
        "syscalls": [{member: rule[member] for member in members if rule.get(member)} for rule in rules],
    }


def _is_for_all(includes: dict[str, Any]) -> bool:
    """Whether a rule doesn't depend on capabilities, and is for x86-64."""
    return not includes.get("caps") and "amd64" in (includes.get("arches") or ["amd64"])
