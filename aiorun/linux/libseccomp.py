"""libseccomp, the library that every engine uses: a profile of config.json becomes a BPF program. seccomp_rule_add(3).

Loaded only for what isn't in the cache (aiorun.launch.filters): a profile of 400 names takes it 2 to 12 ms.
"""

from __future__ import annotations

import os

from aiorun.linux._call import Library
from aiorun.linux.seccomp import ACTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NAME = "libseccomp.so.2"
OPERATORS = {f"SCMP_CMP_{name}": number for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)}
ARCHITECTURES = tuple(
    "SCMP_ARCH_" + name
    for name in (
        "X86", "X86_64", "X32", "ARM", "AARCH64", "LOONGARCH64", "M68K", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64",
        "MIPSEL64N32", "PARISC", "PARISC64", "PPC", "PPC64", "PPC64LE", "RISCV64", "S390", "S390X", "SH", "SHEB",
    )
)  # fmt: skip

_EPERM, _EEXIST, _ENOSYS = 1, 17, 38
_OPTIMIZE, _BINARY_TREE = 8, 2  # SCMP_FLTATR_CTL_OPTIMIZE
_MANY = 32  # rules from which on a tree of comparisons is quicker than a list
_X86_64, _X32, _X32_BIT = 0xC000003E, 0x4000003E, 1 << 30
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

# linux/filter.h: opcodes of what is put before libseccomp's program
_LOAD, _JUMP, _IF_EQUAL, _IF_GREATER, _IF_SET, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x45, 0x06
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4  # offsets in struct seccomp_data


class LibraryFault(Exception):
    """libseccomp isn't there, or doesn't take what is asked of it."""


def assemble(profile: Mapping[str, Any], *, library: str = NAME) -> bytes:
    """The BPF program of a checked linux.seccomp. Names of system calls that nobody knows are passed over, as in runc.

    Raises LibraryFault.
    """
    try:
        libseccomp = _Library(library)
    except (OSError, AttributeError) as error:
        raise LibraryFault(f"load {library}: {error}") from None
    program = _Program(libseccomp, action(profile["defaultAction"], profile.get("defaultErrnoRet")))
    try:
        architectures = [program.add_architecture(name) for name in profile.get("architectures") or []]
        for rule in profile.get("syscalls") or []:
            program.add_rule(rule)
        stub = b""
        if profile["defaultAction"] not in _PERMISSIVE:
            names = [name.encode() for rule in profile.get("syscalls") or [] for name in rule["names"]]
            stub = _answer_of_old_kernels({arch: program.highest(arch, names) for arch in architectures})
        return stub + program.export()
    finally:
        program.release()


def action(name: str, errno: int | None) -> int:
    """What a filter returns: SECCOMP_RET_*, with the errno, or what a tracer is told, in the lower half."""
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return ACTIONS[name] | (_EPERM if errno is None else errno)
    return ACTIONS[name]


class _Library:
    """The functions that are needed. Those that return an int have it in the lower half of the register."""

    def __init__(self, name: str) -> None:
        library = Library(name)
        self.init = library.function("seccomp_init", 1)
        self.release = library.function("seccomp_release", 1)
        self.arch_resolve_name = library.function("seccomp_arch_resolve_name", 1)
        self.arch_add = library.function("seccomp_arch_add", 2)
        self.syscall_resolve_name = library.function("seccomp_syscall_resolve_name", 1)
        self.syscall_resolve_name_arch = library.function("seccomp_syscall_resolve_name_arch", 2)
        self.rule_add_array = library.function("seccomp_rule_add_array", 5)
        self.attr_set = library.function("seccomp_attr_set", 3)
        self.export_bpf = library.function("seccomp_export_bpf", 2)


def _int(register: int) -> int:
    return (register & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


class _Program:
    """A filter in the making."""

    def __init__(self, library: _Library, default: int) -> None:
        self._library, self._default, self._rules = library, default, 0
        self._context: int = library.init(default)
        if not self._context:
            raise LibraryFault(f"begin a filter with the default action {default:#x}")

    def release(self) -> None:
        self._library.release(self._context)

    def add_architecture(self, name: str) -> int:
        """The library's number of it. The machine's own is in from the beginning."""
        arch = int(self._library.arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())) & 0xFFFFFFFF
        if not arch:
            raise LibraryFault(f'architecture "{name}" is unknown to libseccomp')
        self._check(self._library.arch_add(self._context, arch), f'add the architecture "{name}"', _EEXIST)
        return arch

    def add_rule(self, rule: Mapping[str, Any]) -> None:
        what = action(rule["action"], rule.get("errnoRet"))
        if what == self._default:
            return  # nothing that the default doesn't say; the library refuses it
        conditions = [_condition(argument) for argument in rule.get("args") or []]
        indices = [argument["index"] for argument in rule.get("args") or []]
        # Two conditions on one argument: the library can't have both in one rule, so any of all of them, as in runc.
        groups = [conditions] if len(set(indices)) == len(indices) else [[condition] for condition in conditions]
        for name in rule["names"]:
            number = _int(self._library.syscall_resolve_name(name.encode()))
            if number == -1:
                continue
            for group in groups:
                added = self._library.rule_add_array(self._context, what, number, len(group), b"".join(group))
                self._check(added, f'add a rule for "{name}"')
                self._rules += 1

    def highest(self, arch: int, names: list[bytes]) -> int:
        """The highest number that any of the names has there. A call that the architecture hasn't got has a negative one."""
        return max((_int(self._library.syscall_resolve_name_arch(arch, name)) for name in names), default=-1)

    def export(self) -> bytes:
        if self._rules > _MANY:
            self._library.attr_set(self._context, _OPTIMIZE, _BINARY_TREE)  # an older library has only lists
        file = os.memfd_create("aiorun-seccomp", os.MFD_CLOEXEC)
        try:
            self._check(self._library.export_bpf(self._context, file), "assemble the filter")
            return os.pread(file, os.fstat(file).st_size, 0)
        finally:
            os.close(file)

    @staticmethod
    def _check(result: int, what: str, *harmless: int) -> None:
        errno = -_int(result)
        if errno and errno not in harmless:
            raise LibraryFault(f"{what}: {os.strerror(errno).lower()}")


def _condition(argument: Mapping[str, Any]) -> bytes:
    """struct scmp_arg_cmp. MASKED_EQ: `value` is the mask, `valueTwo` what is left by it."""
    numbers = ((argument["index"], 4), (OPERATORS[argument["op"]], 4), (argument["value"], 8), (argument.get("valueTwo", 0), 8))
    return b"".join(number.to_bytes(size, "little") for number, size in numbers)


def _answer_of_old_kernels(highest: Mapping[int, int]) -> bytes:
    """What goes before the filter: a call that is newer than all that the profile names gets ENOSYS, as from an older kernel.

    Programs, libc first of all, then do it the old way; EPERM they take for the last word. As in runc, where the profile lists
    architectures. `highest` is the highest number named for each of them.
    """
    sections: list[list[bytes]] = []
    for audit in sorted({_X86_64 if arch == _X32 else arch for arch in highest}):
        checks = []
        for arch in (audit, _X32) if audit == _X86_64 else (audit,):
            if highest.get(arch, -1) <= 0:
                continue
            if audit == _X86_64:  # x32's calls are x86-64's to the kernel, with a bit of their own in the number
                checks.append(_instruction(_IF_SET, _X32_BIT, 0, 2) if arch == _X32 else _instruction(_IF_SET, _X32_BIT, 2, 0))
            checks.append(_instruction(_IF_GREATER, highest[arch], 0, 1))
            checks.append(_instruction(_RETURN, ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS))
        if checks:
            sections.append([_instruction(_IF_EQUAL, audit, 0, len(checks) + 2), _instruction(_LOAD, _AT_NUMBER), *checks])
    if not sections:
        return b""
    program = [_instruction(_LOAD, _AT_ARCHITECTURE)]
    left = sum(len(section) + 1 for section in sections)
    for section in sections:
        left -= len(section) + 1
        program += [*section, _instruction(_JUMP, left)]  # to the filter
    return b"".join(program)


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """struct sock_filter."""
    return code.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little")
