"""What the tests of a container's life share: what a command complained of, a frozen cgroup, a process's end."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests import leaks
from tests.waiting import until

Ended = subprocess.CompletedProcess[str]
_NEVER_EXECD = 0x40  # PF_FORKNOEXEC


def complaint(ended: Ended) -> str:
    """The one error that a command told, without the log's frame. Fails if it told none, or more than one line."""
    found = re.fullmatch(r'time="[^"]*" level=error msg="((?:[^"\\]|\\.)*)"\n', ended.stderr)
    assert found, f"exit {ended.returncode}, not one line with an error: {ended.stderr!r}"
    return found.group(1).replace('\\"', '"').replace("\\\\", "\\")


def refused(ended: Ended) -> str:
    """The complaint of a command that ended with status 1."""
    assert ended.returncode == 1, ended
    return complaint(ended)


def freeze(cgroup: str, on: bool = True) -> None:
    """Freeze the cgroup "/parent/name", as any other program of the host may, or thaw it."""
    for hierarchy in leaks.cgroup_mounts():
        v1, v2 = hierarchy / cgroup.lstrip("/") / "freezer.state", hierarchy / cgroup.lstrip("/") / "cgroup.freeze"
        if v1.exists():
            v1.write_text("FROZEN" if on else "THAWED")
            until(lambda: v1.read_text().strip() == ("FROZEN" if on else "THAWED"), f"{v1} to follow")  # noqa: B023
            return
        if v2.exists() and not (Path("/sys/fs/cgroup/freezer")).exists():
            v2.write_text(str(int(on)))
            return
    raise AssertionError(f"no freezer for {cgroup}")


def letter(pid: int) -> str:
    """The state letter of a process, "" once it's gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def dead(pid: int) -> bool:
    return letter(pid) in ("", "Z", "X")


def has_execd(pid: int) -> bool:
    """Whether a living process has become another program since it was forked."""
    return not int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]) & _NEVER_EXECD


def await_death(pid: int) -> None:
    until(lambda: dead(pid), f"process {pid} to die")


def reap(pid: int) -> int:
    """The exit status of an init that fell to us when its `create` ended: we are its subreaper, as an engine is."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def cgroups_of(parent: str) -> list[Path]:
    """The containers' cgroups that exist below a test's parent."""
    return leaks.cgroups_below(parent)
