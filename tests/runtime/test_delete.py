"""delete: everything is given back, and nothing that is somebody else's is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.runtime.life import await_death, cgroups_of, dead, freeze, refused


def sleeper(bundle: Bundles) -> Path:
    return bundle(args=["sleep", "1000"])


def nothing_left(aiorun: CommandLine, cgroup_parent: str) -> bool:
    return not os.listdir(aiorun.root) and not cgroups_of(cgroup_parent)


def test_a_created_container_is_deleted_without_force(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    aiorun("create", "--bundle", sleeper(bundle), "x", check=True)
    pid = aiorun.state("x")["pid"]
    assert aiorun("delete", "x", check=True).stdout == ""
    assert dead(pid)
    assert nothing_left(aiorun, cgroup_parent)


@pytest.mark.parametrize("runtime", ["aiorun", "runc"])
def test_what_lives_is_deleted_by_force_alone(
    runtime: str, request: pytest.FixtureRequest, bundle: Bundles, cgroup_parent: str
) -> None:
    program: CommandLine = request.getfixturevalue(runtime)
    made = sleeper(bundle)
    for paused in (False, True):
        program("create", "--bundle", made, "x", check=True)
        program("start", "x", check=True)
        pid = program.state("x")["pid"]
        if paused:
            freeze(bundle.read(made)["linux"]["cgroupsPath"])
        status = "paused" if paused else "running"
        assert program.state("x")["status"] == status
        ended = program("delete", "x")
        assert ended.returncode == 1
        assert f"cannot delete container x that is not stopped: {status}" in ended.stderr
        assert program.state("x")["status"] == status
        program("delete", "--force", "x", check=True)
        await_death(pid)
        assert nothing_left(program, cgroup_parent)


@pytest.mark.parametrize("status", ["created", "stopped", "paused before start"])
def test_force_takes_any_state(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, status: str) -> None:
    made = sleeper(bundle)
    aiorun("create", "--bundle", made, "x", check=True)
    pid = aiorun.state("x")["pid"]
    if status == "stopped":
        os.kill(pid, signal.SIGKILL)
        await_death(pid)
    elif status != "created":
        freeze(bundle.read(made)["linux"]["cgroupsPath"])
        assert aiorun.state("x")["status"] == "paused"
    aiorun("delete", "--force", "x", check=True)
    assert dead(pid)
    assert nothing_left(aiorun, cgroup_parent)


@pytest.mark.parametrize("runtime", ["aiorun", "runc"])
def test_an_absent_container_is_no_error_with_force(runtime: str, request: pytest.FixtureRequest) -> None:
    program: CommandLine = request.getfixturevalue(runtime)
    assert refused(program("delete", "nope")) == "container does not exist"
    ended = program("delete", "--force", "nope", check=True)
    assert (ended.stdout, ended.stderr) == ("", "")


def test_force_removes_what_a_killed_create_left_without_a_state(aiorun: CommandLine, bundle: Bundles) -> None:
    for content in (None, "", "{", '{"id": 1}', "[]"):
        (aiorun.root / "x").mkdir(parents=True)
        if content is not None:
            (aiorun.root / "x" / "state.json").write_text(content)
        assert refused(aiorun("state", "x"))
        assert refused(aiorun("delete", "x"))
        assert refused(aiorun("create", "--bundle", sleeper(bundle), "x")).endswith("container with given ID already exists")
        aiorun("delete", "--force", "x", check=True)
        assert os.listdir(aiorun.root) == []


def test_children_of_the_init_are_killed_too(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    shared = {"linux": {"namespaces": [{"type": "mount"}]}, "hostname": None}
    aiorun("create", "--bundle", bundle(shared, args=["sh", "-c", "sleep 1000 & exec sleep 1000"]), "x", check=True)
    aiorun("start", "x", check=True)
    init = aiorun.state("x")["pid"]
    os.kill(init, signal.SIGKILL)
    await_death(init)
    assert aiorun.state("x")["status"] == "stopped"
    aiorun("delete", "x", check=True)
    assert nothing_left(aiorun, cgroup_parent)


def test_a_pid_that_was_taken_by_a_stranger_is_not_the_container(aiorun: CommandLine, bundle: Bundles) -> None:
    aiorun("create", "--bundle", sleeper(bundle), "x", check=True)
    init = aiorun.state("x")["pid"]
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        path = aiorun.root / "x" / "state.json"
        state = json.loads(path.read_text())
        path.write_text(json.dumps({**state, "pid": stranger.pid}))
        assert (aiorun.state("x")["status"], aiorun.state("x")["pid"]) == ("stopped", 0)
        assert refused(aiorun("kill", "x", "KILL")) == "container not running"
        assert refused(aiorun("start", "x")) == "cannot start a container that has stopped"
        aiorun("delete", "--force", "x", check=True)
        assert stranger.poll() is None
        stranger.kill()
    assert dead(init)  # by its cgroup


def test_another_containers_cgroup_is_refused_and_comes_to_no_harm(aiorun: CommandLine, bundle: Bundles) -> None:
    made = sleeper(bundle)
    aiorun("create", "--bundle", made, "x", check=True)
    aiorun("start", "x", check=True)
    said = refused(aiorun("create", "--bundle", made, "y"))
    assert "container's cgroup is not empty" in said
    assert aiorun.state("x")["status"] == "running"
    assert os.listdir(aiorun.root) == ["x"]
    aiorun("delete", "--force", "x", check=True)
