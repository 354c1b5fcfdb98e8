"""What one command does while another one stands still in the middle: stopped after a chosen system call, and let go on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import COMMAND_SECONDS, Bundles, CommandLine, need
from tests.runtime.life import cgroups_of, dead, refused
from tests.runtime.steps import Step, steps_of
from tests.waiting import until


class Standing:
    """A command that stands still; `go_on` lets it go, and says how it ended."""

    def __init__(self, strace: subprocess.Popen[bytes], pid: int, stderr: Path) -> None:
        self.strace, self.pid, self.stderr = strace, pid, stderr

    def go_on(self) -> subprocess.CompletedProcess[str]:
        os.kill(self.pid, signal.SIGCONT)
        status = self.strace.wait(COMMAND_SECONDS)
        return subprocess.CompletedProcess([], status, "", self.stderr.read_text())


@contextmanager
def standing(program: CommandLine, step: Step, *args: str | Path, where: Path) -> Iterator[Standing]:
    """Run a command up to the end of `step` (what KILL alone prevents), where it stands until it is told to go on."""
    log, stderr = where / "standing.log", where / "standing.stderr"
    log.unlink(missing_ok=True)
    argv = [need("strace"), "-qq", "-o", str(log), *step.inject("signal=STOP"), *program.argv(*args)]
    with open(stderr, "wb") as errors, open(os.devnull, "r+b") as null:
        strace = subprocess.Popen(argv, stdin=null, stdout=null, stderr=errors)
    try:
        until(lambda: log.exists() and "stopped by SIGSTOP" in log.read_text(), f"the command to come to {step}")
        yield Standing(strace, int(Path(f"/proc/{strace.pid}/task/{strace.pid}/children").read_text()), stderr)
    finally:
        if strace.poll() is None:
            strace.kill()
        strace.wait()


def first(steps: list[Step], call: str, text: str = "") -> Step:
    return next(step for step in steps if step.call == call and text in step.arguments)


def nothing_left(aiorun: CommandLine, cgroup_parent: str) -> bool:
    return not os.listdir(aiorun.root) and not cgroups_of(cgroup_parent)


def create(aiorun: CommandLine, made: Path) -> int:
    aiorun("create", "--bundle", made, "x", check=True)
    pid: int = aiorun.state("x")["pid"]
    return pid


def test_who_is_late_for_a_delete_learns_it(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path) -> None:
    made = bundle(args=["sleep", "1000"])
    create(aiorun, made)
    steps = steps_of(aiorun, "delete", "x", after=f'{aiorun.root}/x"', log=tmp_path / "log")
    pid = create(aiorun, made)
    with standing(aiorun, first(steps, "flock", "LOCK_UN"), "delete", "x", where=tmp_path) as delete:
        assert not dead(pid)
        assert refused(aiorun("start", "x")) == "the container is being deleted"
        assert refused(aiorun("create", "--bundle", made, "x")).endswith("container with given ID already exists")
        with open(os.devnull, "r+b") as null:
            second = aiorun.popen("delete", "--force", "x", stdin=null, stdout=null, stderr=null)
        assert not dead(pid)
        assert delete.go_on().returncode == 0
        assert second.wait(COMMAND_SECONDS) == 0
    assert dead(pid)
    assert nothing_left(aiorun, cgroup_parent)


def test_a_delete_that_takes_over_a_start_wins(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path) -> None:
    """The init runs already, and the start has only the fifo left to remove."""
    made = bundle(args=["sleep", "1000"])
    create(aiorun, made)
    steps = steps_of(aiorun, "start", "x", after=f'{aiorun.root}/x"', log=tmp_path / "log")
    aiorun("delete", "--force", "x", check=True)
    pid = create(aiorun, made)
    with standing(aiorun, first(steps, "poll"), "start", "x", where=tmp_path) as start:
        until(lambda: aiorun.state("x")["status"] == "running", "the program")
        aiorun("delete", "--force", "x", check=True)
        assert dead(pid)
        create(aiorun, made)  # the next one of the name
        assert refused(start.go_on()) == "the container is being deleted"
    assert aiorun.state("x")["status"] == "created"
    aiorun("start", "x", check=True)
    aiorun("delete", "--force", "x", check=True)
    assert nothing_left(aiorun, cgroup_parent)


def test_a_create_that_is_deleted_meanwhile_ends(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path
) -> None:
    """After each of its changes of anything; the next container of the name comes to no harm."""
    made = bundle(args=["sleep", "1000"])
    command = ("create", "--bundle", made, "x")
    for _ in range(2):  # the second time the parent cgroup is there
        steps = steps_of(aiorun, *command, after="config.json", log=tmp_path / "log")
        aiorun("delete", "x", check=True)
    calls = ("fchmod", "mknodat", "socketpair", "clone3", "sendmsg", "poll")
    unlocks = [step for step in steps if step.call == "flock" and "LOCK_UN" in step.arguments]
    assert len(unlocks) == 4
    places = [*(first(steps, call) for call in calls), *unlocks]
    for step in places:
        for again in (False, True):
            with standing(aiorun, step, *command, where=tmp_path) as creating:
                aiorun("delete", "--force", "x", check=True)
                if again:
                    create(aiorun, made)
                said = refused(creating.go_on())
            assert said.startswith("aiorun create failed: "), step
            assert "unexpected" not in said, step
            if again:
                assert aiorun.state("x")["status"] == "created", step
                aiorun("start", "x", check=True)
                aiorun("delete", "--force", "x", check=True)
            assert nothing_left(aiorun, cgroup_parent), step
