"""The interpreter in the container's file system: it loads nothing, reads no source, and tells nothing of the caller.
docs/security.md, P1 to P5, P9, P14."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import aiorun as package
from tests.conftest import CHECKOUT, Bundles, CommandLine, Config
from tests.security.attacks import Trace, one_line

SOURCES = sorted(Path(package.__file__).parent.rglob("*.py"))
_SEARCHED = subprocess.run(
    [os.path.realpath(sys.executable), "-I", "-S", "-c", "import json, sys; print(json.dumps(sys.path))"],
    check=True, capture_output=True,
)  # fmt: skip
SEARCHED = [Path(path) for path in json.loads(_SEARCHED.stdout)] + [CHECKOUT]
MARKED = "import os; os.close(os.open('/marked', os.O_CREAT))\n"
WANTED = [  # by Python itself: tracebacks, codecs, and what a careless line might import
    "encodings/__init__.py", "encodings/utf_8.py", "encodings/idna.py", "encodings/ascii.py", "encodings/latin_1.py",
    "traceback.py", "linecache.py", "warnings.py", "json/__init__.py", "pwd.py", "grp.py", "locale.py", "typing.py", "re.py",
    "contextlib.py", "struct.py", "ctypes/__init__.py", "socket.py", "stat.py", "os.py", "sitecustomize.py", "select.py",
    "aiorun.py",
]  # fmt: skip


def poison(rootfs: Path) -> None:
    """Whatever Python could look for, at each place where it does."""
    for searched in SEARCHED:
        for name in WANTED:
            put(rootfs, searched / name, MARKED)
    for source in SOURCES:
        put(rootfs, source, MARKED)
    for library in (
        "libnss_files.so.2",
        "libnss_dns.so.2",
        "libc.so.6",
        "libgcc_s.so.1",
        "gconv/gconv-modules",
        "gconv/UTF-8.so",
    ):
        for directory in ("/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib"):
            put(rootfs, Path(directory, library), "no library")
    put(rootfs, Path("/etc/ld.so.preload"), "/lib64/libc.so.6\n")
    put(rootfs, Path("/etc/nsswitch.conf"), "passwd: files dns\n")
    put(rootfs, Path("/usr/lib/locale/locale-archive"), "no archive")
    put(rootfs, Path("/usr/share/locale/de/LC_MESSAGES/libc.mo"), "no messages")


def put(rootfs: Path, path: Path, content: str) -> None:
    target = rootfs / str(path).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.write_text(content)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_loaded_from_the_containers_file_system(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, fails: bool
) -> None:
    """P1, P3: the image has modules, codecs, NSS and gconv libraries of its own wherever the host has one. The init opens none,
    and after the pivot no file at all but by fd, below the root or in the host's procfs, and only what config.json names."""
    change: Config = {"root": {"readonly": False}, "process": {"user": {"uid": 1000, "gid": 1000}}}
    if fails:
        change["linux"] = {"sysctl": {"net.ipv4.ip_forward": "not a number \xff\u202e"}}
    attacker = bundle(change)
    poison(attacker / "rootfs")
    environment = {**os.environ, "LANG": "de_DE.UTF-8", "LANGUAGE": "de", "LC_ALL": "de_DE.UTF-8", "CHARSET": "KOI8-R"}
    trace = Trace(aiorun, tmp_path / "trace", "run", "--bundle", attacker, "x", env=environment)
    assert trace.ended.returncode == int(fails), trace.ended
    opened = [line for line in trace.of_init() if re.match(r"open(at2?)?\(", line)]
    assert not [line for line in opened if re.search(r"\.py|\.so|\.mo|archive|encodings|gconv|locale|nsswitch|ld\.so", line)]
    linux = bundle.read(attacker)["linux"]
    named = {
        *(path.split("/", 2)[2] for path in (*linux["maskedPaths"], *linux["readonlyPaths"])),  # below the mount of /proc or /sys
        "/",
        "/dev/null",
        "/etc/passwd",
        "/sys/fs/cgroup",
        "sys/net/ipv4/ip_forward",
    }
    for line in (line for line in trace.after_the_pivot() if line in opened):
        by_fd = re.match(r'open(?:at|at2)\(\d+, "([^"]*)", ', line)
        assert by_fd, line
        assert by_fd[1] in named or by_fd[1].startswith("self/fd/"), line
    assert not (attacker / "rootfs" / "marked").exists()


FAILURES: dict[str, Config] = {
    "a masked path that is a loop": {"linux": {"maskedPaths": ["/loop"]}},
    "a read-only path below a file": {"linux": {"readonlyPaths": ["/etc/passwd/x"]}},
    "a host name that is too long": {"hostname": "x" * 65},
    "a sysctl's value": {"linux": {"sysctl": {"net.ipv4.ip_forward": "\u202e\x1b[31m"}}},
    "a working directory that is a file": {"process": {"cwd": "/etc/passwd"}},
    "a program that isn't there": {"process": {"args": ["\x1b[2Jno\nsuch"]}},
    "a program that is a directory": {"process": {"args": ["/etc"]}},
    "a user that there can't be": {"process": {"user": {"uid": 4294967295, "gid": 0}}},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_an_error_is_one_line_for_which_no_file_of_the_containers_is_read(
    aiorun: CommandLine, bundle: Bundles, failure: str
) -> None:
    """P2: a traceback reads the lines of the source by its path. There a fifo keeps it for ever, and a link tells of a file."""
    attacker = bundle(FAILURES[failure])
    rootfs = attacker / "rootfs"
    (rootfs / "loop").symlink_to("loop")
    for source in SOURCES:
        target = rootfs / str(source)[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(target)
    ended = aiorun("run", "--bundle", attacker, "x", timeout=20)
    assert (ended.returncode, ended.stdout) == (1, "")
    one_line(ended.stderr)


_UNRAISABLE = """\
import os, sys
sys.path[:0] = [{checkout!r}, {where!r}]
from aiorun.init import seal
import victim
os.unlink(victim.__file__)
os.mkfifo(victim.__file__)
seal.shut()
victim.Victim()
try:
    victim.fail()
finally:
    os.write(1, b"alive")
"""


def test_an_exception_that_nobody_catches_reads_no_source(tmp_path: Path) -> None:
    """P2, for what the interpreter itself reports: a finalizer that raises, and whatever reaches the top."""
    (tmp_path / "victim.py").write_text(
        "class Victim:\n    def __del__(self):\n        1 / 0\n\ndef fail():\n    raise ValueError\n"
    )
    code = _UNRAISABLE.format(checkout=str(CHECKOUT), where=str(tmp_path))
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "alive", "")


@pytest.mark.parametrize(
    "load", ["import antigravity", "compile('1', 'x', 'eval')", "exec('1')", "import ctypes; ctypes.CDLL('libm.so.6')"]
)
def test_what_loads_code_after_all_ends_the_process(load: str) -> None:
    """P1's second line: the audit hook. antigravity would be found, were the path not emptied."""
    before, _, after = load.rpartition("; ")
    code = (
        f"import sys, os; sys.path.insert(0, {str(CHECKOUT)!r}); {before or 'pass'}\nfrom aiorun.init import seal\nseal.shut()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{code}{after}\nos.write(1, b'went on')"],
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (71, b"", b"")


# --- the caller's environment: P4, P14


def variables(where: Path) -> dict[str, str]:
    """Each variable that could make a shell or a Python run something, set to what would leave a mark."""
    where.mkdir()
    mark = f"import os; os.close(os.open({str(where / 'mark')!r}, os.O_CREAT))\n"
    for name in ("sitecustomize", "usercustomize", "os", "sys", "select", "aiorun", "encodings", "startup"):
        (where / f"{name}.py").write_text(mark)
    for name in ("sh", "python3", "python3.11", "exec", "test", "["):
        (where / name).write_text(f"#!/bin/sh\n: > {where}/mark\n")
        (where / name).chmod(0o755)
    (where / "env.sh").write_text(f": > {where}/mark\n")
    return {
        "PYTHONPATH": str(where),
        "PYTHONHOME": str(where),
        "PYTHONSTARTUP": str(where / "startup.py"),
        "PYTHONUSERBASE": str(where),
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONDEVMODE": "1",
        "PYTHONBREAKPOINT": "startup.mark",
        "PYTHONPLATLIBDIR": str(where),
        "PYTHONPYCACHEPREFIX": str(where / "cache"),
        "PYTHONEXECUTABLE": str(where / "python3"),
        "PYTHONIOENCODING": "utf-16",
        "PYTHONWARNINGS": "error::startup.Mark",
        "PYTHONPROFILEIMPORTTIME": "1",
        "ENV": str(where / "env.sh"),
        "BASH_ENV": str(where / "env.sh"),
        "BASH_FUNC_exec%%": f"() {{ : > {where}/mark; }}",
        "IFS": "/-X",
        "CDPATH": str(where),
        "PS4": f"$(: > {where}/mark)",
        "SHELLOPTS": "xtrace",
        "PATH": str(where),
        "HOME": str(where),
        "LANG": "../../../..",
        "LC_ALL": "C",
        "LOCPATH": str(where),
        "NLSPATH": f"{where}/%N",
        "GCONV_PATH": str(where),
        "TZ": ":/nowhere",
        "MARKER": "do-not-tell",
    }


def test_the_callers_environment_runs_nothing_and_reaches_nobody(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    environment = variables(tmp_path / "evil")
    quiet = bundle(
        {
            "root": {"readonly": False},
            "hooks": {
                kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat /proc/self/environ > {place}"]}]
                for kind, place in (("createContainer", tmp_path / "hook"), ("startContainer", "/hook"))
            },
        },
        args=["cat", "/proc/self/environ"],
    )
    ended = aiorun("run", "--bundle", quiet, "x", env=environment, cwd=tmp_path / "evil", check=True)
    given = bundle.read(quiet)["process"]["env"]
    assert ended.stdout.split("\0")[:-1] == [*given, "HOME=/root"]
    assert ended.stderr == ""
    for hook in (quiet / "rootfs" / "hook", tmp_path / "hook"):  # runc gives them the program's environment too
        assert set(given) <= set(hook.read_text().split("\0"))
        assert "MARKER" not in hook.read_text()
    assert not (tmp_path / "evil" / "mark").exists()
    assert not (tmp_path / "evil" / "cache").exists()


# --- open files: P5, CVE-2024-21626


def test_a_program_has_the_three_standard_files_and_no_more(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    """Whatever the caller leaks, at any number, and with a log of ours."""
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(5)]
    os.dup2(leaked[0], 700)
    leaked.append(700)
    listing = bundle(args=["ls", "/proc/self/fd"])
    try:
        ended = aiorun("--log", tmp_path / "log", "run", "--bundle", listing, "x", pass_fds=leaked, check=True)
    finally:
        for fd in leaked:
            os.close(fd)
    assert ended.stdout.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_a_created_init_has_closed_what_the_caller_leaked(
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], tmp_path: Path
) -> None:
    """P14: not only the program, but also the init that waits for it, for as long as it takes."""
    leaked = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(leaked, 600)
    try:
        pid = aiorun.state(container(bundle(), pass_fds=(leaked, 600)))["pid"]
    finally:
        os.close(leaked)
        os.close(600)
    held = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    assert len(held) == 6, held  # the standard ones, the root, the procfs, and the fifo by its name
    assert str(tmp_path) not in held.values()


def test_the_callers_file_is_handed_on_and_our_own_never_in_its_stead(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path
) -> None:
    """--preserve-fds 1 of a caller without a file 3, whose number our log has taken."""
    listing = bundle(args=["ls", "/proc/self/fd"])
    ended = aiorun("--log", tmp_path / "log", "run", "--preserve-fds", "1", "--bundle", listing, "x")
    assert ended.returncode == 1
    assert "file descriptor 3 is not open" in ended.stderr


# --- signals: P9

SIGNALS = ["HUP", "INT", "QUIT", "PIPE", "CHLD", "TERM", "USR1", "XFSZ", "RT_1"]


def test_a_program_finds_every_signal_at_its_default(aiorun: CommandLine, bundle: Bundles) -> None:
    """Whatever the caller ignores and blocks."""

    def ignore() -> None:
        for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN + 1, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGINT, signal.SIGRTMAX])

    looking = bundle(args=["grep", "-E", "^Sig(Pnd|Blk|Ign|Cgt)", "/proc/self/status"])
    said = aiorun("run", "--bundle", looking, "x", preexec_fn=ignore, check=True).stdout
    assert {line.split("\t")[1] for line in said.splitlines()} == {"0" * 16}, said


STEPS = {  # a call that each step of an init begins or ends with, and which of those it is
    "setsid": 1, "keyctl": 1, "move_mount": 3, "mknodat": 1, "symlinkat": 1, "pivot_root": 1, "umount2": 1, "sethostname": 1,
    "open_tree": 4, "fsmount": 2, "setgroups": 1, "setresuid": 1, "capset": 1, "capget": 1,
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_term_at_any_step_ends_the_init_and_leaves_nothing(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, step: str
) -> None:
    inject = f"inject={step}:signal=TERM:when={STEPS[step]}"
    made = bundle()
    trace = Trace(aiorun, tmp_path / "trace", "run", "--bundle", made, "x", options=("-e", inject))
    assert trace.ended.returncode != 0, trace.ended
    assert trace.ended.stderr.count("\n") == 1, trace.ended.stderr
    assert "container does not exist" in aiorun("state", "x").stderr
    aiorun("run", "--bundle", made, "x", check=True)
