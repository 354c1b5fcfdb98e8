"""linux.seccomp: what a filter answers, from inside, side by side with runc; and what of the init it answers to."""

from __future__ import annotations

import errno
import os
import platform
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT, Bundles, CommandLine, Config
from tests.container.conftest import Sandbox
from tests.container.filters import ALLOW, ENOSYS, ERRNO, KILL_PROCESS, X32_BIT, X86, X86_64, answer, filters_of, podmans_profile
from tests.security.attacks import Trace

MKDIR = ["mkdir", "mkdirat"]
NNP = [False, True]


def seccomp(*rules: Config, default: str = "SCMP_ACT_ALLOW", nnp: bool = True, **members: Any) -> Config:
    """A change: a profile with these rules."""
    profile = {"defaultAction": default, "syscalls": list(rules), **members}
    return {"linux": {"seccomp": profile}, "process": {"noNewPrivileges": nnp}, "root": {"readonly": False}}


def rule(names: list[str], action: str, *args: tuple[int, str, int] | tuple[int, str, int, int], **members: Any) -> Config:
    found = [dict(zip(("index", "op", "value", "valueTwo"), argument, strict=False)) for argument in args]
    made = {"names": names, "action": f"SCMP_ACT_{action}", **members}
    return {**made, "args": [{**argument, "op": f"SCMP_CMP_{argument['op']}"} for argument in found]} if found else made


# --- actions


@pytest.mark.parametrize("nnp", NNP)
@pytest.mark.parametrize(("members", "said"), [({}, errno.EPERM), ({"errnoRet": errno.ENOTTY}, errno.ENOTTY)])
def test_errno_answers_with_its_number_and_the_call_is_not_made(sandbox: Sandbox, members: Config, said: int, nnp: bool) -> None:
    change = seccomp(rule(MKDIR, "ERRNO", **members), nnp=nnp)
    text = os.strerror(said)
    assert text in sandbox(change, "mkdir /tmp/made 2>&1; ls -d /tmp/made 2>/dev/null; grep -c 'Seccomp:.2' /proc/self/status")


def test_one_filter_is_loaded(sandbox: Sandbox) -> None:
    found = sandbox(seccomp(rule(MKDIR, "ERRNO")), "grep Seccomp /proc/self/status")
    assert found.split() == ["Seccomp:", "2", "Seccomp_filters:", "1"]


@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
def test_kill_and_trap_end_the_caller_by_sigsys(sandbox: Sandbox, action: str) -> None:
    ended = sandbox(seccomp(rule(MKDIR, action)), "sh -c 'exec mkdir /tmp/made'; echo $?; ls /tmp")
    assert ended.split()[-1] == str(128 + signal.SIGSYS)


def test_trap_can_be_caught_and_kill_cannot(sandbox: Sandbox) -> None:
    script = "trap 'echo caught' SYS; cd /tmp; echo went on"
    assert sandbox(seccomp(rule(["chdir"], "TRAP")), script).split("\n")[-2:] == ["caught", "went on"]
    assert sandbox.run(seccomp(rule(["chdir"], "KILL_PROCESS")), script).stdout == ""


def test_log_and_allow_let_the_call_through(sandbox: Sandbox) -> None:
    for action in ("LOG", "ALLOW"):
        change = seccomp(rule(MKDIR, action), default="SCMP_ACT_ALLOW" if action == "LOG" else "SCMP_ACT_LOG")
        assert sandbox(change, "mkdir /tmp/made && ls -d /tmp/made") == "/tmp/made"


def test_trace_without_a_tracer_is_enosys(sandbox: Sandbox) -> None:
    assert os.strerror(errno.ENOSYS) in sandbox(seccomp(rule(MKDIR, "TRACE")), "mkdir /tmp/made 2>&1; true")


def test_the_default_is_for_what_no_rule_names(sandbox: Sandbox) -> None:
    names = "read write close fstat lseek mmap mprotect munmap brk ioctl access execve exit uname fcntl getcwd readlink prctl "
    names += "arch_prctl exit_group openat newfstatat readlinkat set_robust_list prlimit64 getrandom rseq set_tid_address "
    names += "rt_sigaction rt_sigprocmask rt_sigreturn getuid geteuid getgid getegid getpid getppid wait4 clone fork vfork "
    # what the runtimes need after it: runc's is a program in Go
    names += "futex close_range capget capset setgroups setgid setuid chdir fchown fchdir getdents64 open poll dup2 dup3 "
    names += "epoll_ctl epoll_pwait epoll_create1 nanosleep madvise sigaltstack gettid tgkill sched_yield pipe2 eventfd2 "
    names += "setresuid setresgid faccessat faccessat2 stat lstat statfs fstatfs clone3 sched_getaffinity nosuch_call"
    change = seccomp(rule(names.split(), "ALLOW"), default="SCMP_ACT_ERRNO", defaultErrnoRet=errno.EXDEV)
    assert os.strerror(errno.EXDEV) in sandbox(change, "mkdir /tmp/made 2>&1; true")


# --- arguments: kill(2) with a signal that nobody minds

HARMLESS = (0, 17, 18, 23, 28)


@pytest.mark.parametrize(
    ("args", "denied"),
    [
        ([(1, "EQ", 18)], {18}),
        ([(1, "NE", 18)], {0, 17, 23, 28}),
        ([(1, "LT", 18)], {0, 17}),
        ([(1, "LE", 18)], {0, 17, 18}),
        ([(1, "GT", 18)], {23, 28}),
        ([(1, "GE", 18)], {18, 23, 28}),
        ([(1, "MASKED_EQ", 1, 1)], {17, 23}),
        ([(1, "MASKED_EQ", 19, 18)], {18}),
        ([(0, "EQ", 1), (1, "EQ", 18)], {18}),  # both
        ([(0, "EQ", 2), (1, "EQ", 18)], set()),
        ([(1, "EQ", 17), (1, "EQ", 23)], {17, 23}),  # two on one argument: either
        ([(0, "EQ", 1), (1, "EQ", 17), (1, "EQ", 23)], set(HARMLESS)),  # and then the others, too
    ],
)
def test_arguments_are_compared(sandbox: Sandbox, args: list[tuple[int, str, int]], denied: set[int]) -> None:
    script = f"for number in {' '.join(map(str, HARMLESS))}; do kill -$number 1 2>/dev/null || echo $number; done"
    found = sandbox(seccomp(rule(["kill"], "ERRNO", *args)), script)
    assert {int(number) for number in found.split()} == denied


# --- the whole filter, call by call


def loaded(command_line: CommandLine, bundle: Path, id: str) -> bytes:
    """The filter that a container's program has."""
    try:
        command_line("run", "--detach", "--bundle", bundle, id, check=True, stdin=None)
        (program,) = filters_of(command_line.state(id)["pid"])
        return program
    finally:
        command_line("delete", "--force", id, check=True)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are x86-64's")
@pytest.mark.parametrize(
    "architectures", [["SCMP_ARCH_X86_64"], ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], ["SCMP_ARCH_X86", "SCMP_ARCH_X32"], []]
)
def test_podmans_profile_answers_to_every_call_as_runcs_filter_does(
    aiorun: CommandLine, runc: CommandLine, bundle: Bundles, architectures: list[str]
) -> None:
    profile = {**podmans_profile(), "architectures": architectures}
    made = bundle({"linux": {"seccomp": profile}}, args=["sleep", "1000"])
    ours, theirs = loaded(aiorun, made, "ours"), loaded(runc, made, "theirs")
    for arch in (X86_64, X86, 0xC00000B7):
        for number in [*range(600), *range(X32_BIT, X32_BIT + 600), 2**31]:
            for arguments in ((), (0, 1, 2, 3, 4, 5), (2**63,) * 6, (8, 0x20000, 16)):
                mine = answer(ours, number, *arguments, arch=arch)
                assert mine == answer(theirs, number, *arguments, arch=arch), (hex(arch), number, arguments)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are x86-64's")
def test_a_call_newer_than_all_that_are_named_is_enosys(aiorun: CommandLine, bundle: Bundles) -> None:
    mkdir, mount, tomorrows = 83, 165, 1000
    profile = seccomp(rule(["mkdir", "openat2", "execve"], "ALLOW"), rule(["mount"], "ERRNO", errnoRet=errno.ENOTTY))
    profile = {**profile["linux"]["seccomp"], "defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86_64"]}
    profile["syscalls"].append(rule(PROGRAM, "ALLOW"))
    profile["syscalls"].append(rule(["nanosleep", "clock_nanosleep", "write"], "ALLOW"))
    program = loaded(aiorun, bundle({"linux": {"seccomp": profile}}, args=["sleep", "1000"]), "x")
    assert answer(program, mkdir) == ALLOW
    assert answer(program, mount) == ERRNO | errno.ENOTTY
    assert answer(program, tomorrows) == ENOSYS
    assert answer(program, 436) == KILL_PROCESS  # close_range, older than openat2
    permissive = {"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64"]}
    program = loaded(aiorun, bundle({"linux": {"seccomp": permissive}}, args=["sleep", "1000"]), "x")
    assert answer(program, tomorrows) == 0x7FFC0000


# --- flags, and what is refused


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (None, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        ([], "0"),
        (["SECCOMP_FILTER_FLAG_TSYNC"], "0"),
        (["SECCOMP_FILTER_FLAG_LOG"], "SECCOMP_FILTER_FLAG_LOG"),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "0"),
        (
            ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            "SECCOMP_FILTER_FLAG_LOG|SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        ),
    ],
)
def test_flags_reach_the_kernel(aiorun: CommandLine, bundle: Bundles, tmp_path: Path, flags: list[str] | None, said: str) -> None:
    change = seccomp()
    if flags is not None:
        change["linux"]["seccomp"]["flags"] = flags
    trace = Trace(aiorun, tmp_path / "trace", "run", "--bundle", bundle(change), "x")
    (line,) = (line for line in trace.of_init() if line.startswith("seccomp("))
    assert line.startswith(f"seccomp(SECCOMP_SET_MODE_FILTER, {said}, {{len=")
    assert line.endswith(" = 0")


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY cannot be used as default action"),
        ({"syscalls": [rule(["mkdir", "write"], "NOTIFY")]}, "SCMP_ACT_NOTIFY cannot be used for the write syscall"),
        ({"syscalls": [rule(MKDIR, "NOTIFY")]}, "listenerPath is not set"),
    ],
)
def test_what_cannot_be_answered_for_is_refused(sandbox: Sandbox, profile: Config, said: str) -> None:
    assert said in sandbox.refuses({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", **profile}}})


def test_what_libseccomp_refuses_is_one_sentence(ours: Sandbox) -> None:
    said = ours.refuses(seccomp(architectures=["SCMP_ARCH_S390X"]))  # of the other byte order
    assert 'make the seccomp filter (linux.seccomp): add the architecture "SCMP_ARCH_S390X": ' in said
    many = [rule(["getuid"], "ERRNO", (0, "EQ", number)) for number in range(4200)]
    assert re.search(
        r"make the seccomp filter \(linux.seccomp\): \d+ instructions, and 4096 is the most", ours.refuses(seccomp(*many))
    )


# --- where it stands


def documented(heading: str) -> set[str]:
    """The calls that docs/security.md names in a line that begins so."""
    text = (CHECKOUT / "docs" / "security.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith(heading))
    return set(re.findall(r"`(\w+)`", line))


def after_the_filter(trace: Trace) -> list[str]:
    calls = [line.partition("(")[0] for line in trace.of("seccomp") if line[0].isalpha()]
    return calls[calls.index("seccomp") + 1 :]


def test_with_no_new_privs_nothing_comes_between_the_filter_and_the_program(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path
) -> None:
    made = bundle(seccomp(rule(MKDIR, "ERRNO")), args=["true"])
    assert after_the_filter(Trace(aiorun, tmp_path / "trace", "run", "--bundle", made, "x")) == ["execve"]


@pytest.mark.parametrize("user", [0, 1000])
def test_without_no_new_privs_what_comes_after_the_filter_is_documented(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, user: int
) -> None:
    change = seccomp(rule(MKDIR, "ERRNO"), nnp=False)
    change["process"]["user"] = {"uid": user, "gid": user}
    change["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]
    trace = Trace(aiorun, tmp_path / "trace", "run", "--bundle", bundle(change), "x")
    assert trace.ended.returncode == 0
    assert set(after_the_filter(trace)) <= documented("Without no_new_privs")


# What busybox' `true` calls for itself.
PROGRAM = (
    "brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom mprotect uname getuid "
    "exit_group newfstatat fstat prctl mmap munmap execve exit"
).split()


@pytest.mark.parametrize("nnp", NNP)
def test_a_profile_of_the_documented_calls_and_the_programs_is_enough(ours: Sandbox, bundle: Bundles, nnp: bool) -> None:
    allowed = [*PROGRAM, *(() if nnp else documented("Without no_new_privs"))]
    change = seccomp(rule(allowed, "ALLOW"), default="SCMP_ACT_KILL_PROCESS", nnp=nnp)
    ended = ours.run_bundle(bundle(change, args=["true"]))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_filter_that_ends_the_init_is_told(ours: Sandbox) -> None:
    said = ours.refuses(seccomp(rule(["capset"], "KILL_PROCESS"), nnp=False))
    assert "init died with status 159" in said


def test_the_hooks_of_a_start_run_outside_the_filter(ours: Sandbox, bundle: Bundles) -> None:
    hook = {"path": "/bin/mkdir", "args": ["mkdir", "/tmp/by-hook"]}
    change = seccomp(rule(MKDIR, "ERRNO")) | {"hooks": {"startContainer": [hook]}}
    assert ours(change, "ls -d /tmp/by-hook; mkdir /tmp/made 2>/dev/null || echo denied") == "/tmp/by-hook\ndenied"


def test_an_exec_that_the_filter_refuses_fails_the_start(ours: Sandbox) -> None:
    ended = ours.run(seccomp(rule(["execve"], "ERRNO", errnoRet=errno.ENOTTY)), "true")
    assert ended.returncode == 1
    assert 'exec "sh": inappropriate ioctl for device' in ended.stderr.replace('\\"', '"')
