"""pause and resume: what stops, what goes on, and what is said where there is nothing to stop."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.runtime.life import await_death, dead, freeze, reap, refused
from tests.runtime.steps import steps_of
from tests.runtime.test_meanwhile import create, first, nothing_left, standing
from tests.waiting import until

Containers = Callable[..., str]
HANDLES_TERM = "trap 'exit 7' TERM; echo ready > /said; while :; do sleep 0.02; done"


@pytest.fixture(params=["aiorun", "runc"])
def program(request: pytest.FixtureRequest) -> CommandLine:
    """aiorun, and then runc: what a test expects holds of both."""
    command_line: CommandLine = request.getfixturevalue(request.param)
    return command_line


def test_a_paused_container_stands_still_until_it_is_resumed(program: CommandLine, bundle: Bundles) -> None:
    made = bundle({"root": {"readonly": False}}, args=["sh", "-c", HANDLES_TERM])
    program("create", "--bundle", made, "x", check=True)
    pid = program.state("x")["pid"]
    program("start", "x", check=True)
    until((made / "rootfs" / "said").exists, "the program")
    paused = program("pause", "x", check=True)
    assert (paused.stdout, paused.stderr) == ("", "")
    assert program.state("x")["status"] == "paused"
    os.kill(pid, signal.SIGTERM)
    subprocess.run(["true"], check=True)  # in this time it would end
    assert not dead(pid)
    resumed = program("resume", "x", check=True)
    assert (resumed.stdout, resumed.stderr) == ("", "")
    await_death(pid)
    assert reap(pid) == 7
    program("delete", "x", check=True)


def test_what_can_be_paused_and_resumed_and_what_is_said_of_the_rest(program: CommandLine, bundle: Bundles) -> None:
    for command in ("pause", "resume"):
        assert refused(program(command, "x")) == "container does not exist"
    program("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
    pid = program.state("x")["pid"]
    for before in ("created", "running"):
        assert refused(program("resume", "x")) == "container not paused"
        program("pause", "x", check=True)
        assert refused(program("pause", "x")) == "container not running"
        assert program.state("x")["status"] == "paused"
        program("resume", "x", check=True)
        assert program.state("x")["status"] == before
        if before == "created":
            program("start", "x", check=True)
    program("kill", "x", "KILL", check=True)
    await_death(pid)
    assert refused(program("pause", "x")) == "container not running"
    assert refused(program("resume", "x")) == "container not paused"
    program("delete", "x", check=True)


def test_kill_ends_a_paused_container_and_delete_removes_one(program: CommandLine, bundle: Bundles) -> None:
    for command in (("kill", "x", "KILL"), ("delete", "--force", "x")):
        program("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
        pid = program.state("x")["pid"]
        program("start", "x", check=True)
        program("pause", "x", check=True)
        program(*command, check=True)
        await_death(pid)
        assert reap(pid) == -signal.SIGKILL
        program("delete", "--force", "x", check=True)


def test_a_pause_that_is_late_for_a_delete_leaves_nothing_frozen(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path
) -> None:
    """Else the delete would wait for a frozen process to die."""
    made = bundle(args=["sleep", "1000"])
    create(aiorun, made)
    steps = steps_of(aiorun, "delete", "x", after=f'{aiorun.root}/x"', log=tmp_path / "log")
    create(aiorun, made)
    with standing(aiorun, first(steps, "flock", "LOCK_UN"), "delete", "x", where=tmp_path) as delete:
        said = aiorun("pause", "x")
        status = aiorun.state("x")["status"]
        freeze(bundle.read(made)["linux"]["cgroupsPath"], False)  # whatever happened: nothing that is frozen could be cleaned up
        assert delete.go_on().returncode == 0
    assert (refused(said), status) == ("the container is being deleted", "created")
    assert nothing_left(aiorun, cgroup_parent)


def test_a_container_below_a_frozen_cgroup_is_not_resumed_in_silence(
    aiorun: CommandLine, bundle: Bundles, container: Containers, cgroup_parent: str
) -> None:
    if not Path("/sys/fs/cgroup/freezer").exists():
        pytest.skip("on v2 a cgroup doesn't show what is above it")
    id = container(bundle(args=["sleep", "1000"]))
    freeze(cgroup_parent)
    try:
        assert refused(aiorun("resume", id)) == "thaw the container's cgroup: a cgroup above it is frozen"
    finally:
        freeze(cgroup_parent, False)
