"""After each test: no process, mount, cgroup, fd or container of its own is left behind.

The test run has its own mount namespace, so that what shows up there is ours, and is a subreaper, so that
what a command leaves behind when it exits becomes our child.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
DYING_SECONDS = 5.0  # what was killed as the test's last act may take this long to be gone
SEALED = "/run/aiorun-python"  # the sealed interpreter stays mounted below it, for the next command

libc = ctypes.CDLL(None, use_errno=True)


def enclose() -> None:
    """Make this process a subreaper and, as root, give it a mount namespace of its own. Once, before any thread."""
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    if os.geteuid() == 0:
        if libc.unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
        if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
            raise OSError(ctypes.get_errno(), "mount --make-rprivate /")


@dataclass(frozen=True)
class Belongings:
    """What this process has at one moment."""

    processes: frozenset[int]
    mounts: frozenset[tuple[str, str]]
    fds: frozenset[tuple[int, str]]

    @classmethod
    def now(cls) -> Belongings:
        return cls(processes=frozenset(children()), mounts=frozenset(mounts()), fds=frozenset(fds()))

    def left_since(self) -> list[str]:
        """A sentence for each thing that is there now and wasn't then. Zombies are reaped, and are no leak."""
        lines = [f"process {pid}: {name}" for pid, name in sorted(living_since(self.processes).items())]
        now = Belongings.now()
        lines += [f"mount {kind} on {where}" for where, kind in sorted(now.mounts - self.mounts) if not where.startswith(SEALED)]
        lines += [f"fd {fd}: {what}" for fd, what in sorted(now.fds - self.fds)]
        return lines


def children() -> list[int]:
    """The pids of this process's children, zombies too; of whatever thread."""
    pids: list[int] = []
    for task in os.listdir("/proc/self/task"):
        try:
            pids += map(int, Path(f"/proc/self/task/{task}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that ended; its children are another one's
    return pids


def living_since(before: frozenset[int]) -> dict[int, str]:
    """{pid: command line} of the children that weren't there before and don't end by themselves."""
    living = {}
    for pid in set(children()) - before:
        pidfd = os.pidfd_open(pid)
        try:
            if not ended(pidfd):
                living[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # so that the next test begins clean
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        finally:
            os.close(pidfd)
    return living


def mounts() -> list[tuple[str, str]]:
    """(mount point, type) of each mount of this namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [(line.split(" ")[4], line.partition(" - ")[2].split(" ")[0]) for line in lines]


def fds() -> list[tuple[int, str]]:
    """(fd, what it is) of each fd of this process."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            continue  # the fd that listed the directory
    return found


def cgroup_mounts() -> list[Path]:
    """Where this host has its cgroup hierarchies, v1 and v2."""
    return [Path(where) for where, kind in mounts() if kind in ("cgroup", "cgroup2")]


def cgroups_below(parent: str) -> list[Path]:
    """The cgroups below `parent` ("/name"), in all hierarchies, the deepest first."""
    found: list[Path] = []
    for hierarchy in cgroup_mounts():
        for directory, _, _ in os.walk(hierarchy / parent.lstrip("/"), topdown=False):
            found.append(Path(directory))
    return [path for path in found if not any(path == hierarchy / parent.lstrip("/") for hierarchy in cgroup_mounts())]


def remove_cgroups(parent: str) -> list[str]:
    """Remove `parent` everywhere. A sentence for each cgroup that was still below it, with its processes killed."""
    left = []
    for cgroup in cgroups_below(parent):
        left.append(f"cgroup {cgroup}")
        for pid in map(int, (cgroup / "cgroup.procs").read_text().split()):
            kill_and_wait(pid)
        cgroup.rmdir()
    for hierarchy in cgroup_mounts():
        directory = hierarchy / parent.lstrip("/")
        if directory.exists():
            directory.rmdir()
    return left


def kill_and_wait(pid: int) -> None:
    """Kill a process that may be gone already, and wait until it is."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        ended(pidfd)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def ended(pidfd: int) -> bool:
    """Whether a process ends by itself, soon."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(DYING_SECONDS * 1000))


def remove_containers(root: Path) -> list[str]:
    """Empty a `--root` directory. A sentence for each container that was still in it."""
    left = [f"container {entry.name} in {root}" for entry in sorted(root.iterdir()) if entry.is_dir()] if root.exists() else []
    shutil.rmtree(root, ignore_errors=True)
    return left


def fail_for(left: list[str]) -> None:
    """Fail the test that left these."""
    if left:
        pytest.fail("left behind: " + "; ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Fails the test that leaves a process, a mount or an fd. Fixtures that clean up ask for this one, to end before it."""
    before = Belongings.now()
    yield
    fail_for(before.left_since())
