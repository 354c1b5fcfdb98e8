"""Commands that are killed at any of their steps: what they leave is true, can be gone on with, and can be cleaned up."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine, need
from tests.runtime.life import cgroups_of, dead, has_execd, refused
from tests.runtime.steps import Step, interrupted_at, killed_at, sample, steps_of

STEPS, STEPS_AT_LEAST = 24, 10  # of each command, evenly among all; not all are there each time


class World:
    """One container "x", again and again."""

    def __init__(self, aiorun: CommandLine, bundle: Path, cgroup_parent: str, log: Path) -> None:
        self.aiorun, self.bundle, self.cgroup_parent, self.log = aiorun, bundle, cgroup_parent, log
        self.killed = 0

    def create(self) -> None:
        self.aiorun("create", "--bundle", self.bundle, "x", check=True)

    def start(self) -> None:
        self.aiorun("start", "x", check=True)

    def steps(self, *args: str | Path, after: str) -> list[Step]:
        """The steps of a command, in a world in which it has been done before: compiled, sealed, the parent cgroup made."""
        found = steps_of(self.aiorun, *args, after=after, log=self.log)
        self.aiorun("delete", "--force", "x", check=True)
        return sample(found, STEPS)

    def kill_at(self, step: Step, *args: str | Path) -> None:
        """The command, killed before `step`; to its end if it needed fewer looks at something this time."""
        ended = killed_at(self.aiorun, step, *args, log=self.log)
        self.killed += ended.returncode == -signal.SIGKILL

    def status(self) -> str:
        """What `state` says, "" if that is that there is none. Fails unless it's true."""
        status, pid = self.told()
        if status in ("created", "running") and dead(pid):
            status, pid = self.told()  # it was on its way out when we asked: the kill is older than the question
        if not status:
            return ""
        if status in ("created", "running"):
            assert not dead(pid)
            assert has_execd(pid) == (status == "running")
        else:
            assert status in ("creating", "stopped")
            assert pid == 0 or not dead(pid)
        return status

    def told(self) -> tuple[str, int]:
        """Status and pid, as `state` says at this moment."""
        ended = self.aiorun("state", "x")
        if ended.returncode:
            assert refused(ended) == "container does not exist"
            return "", 0
        state = json.loads(ended.stdout)
        return state["status"], state["pid"]

    def starts_if_it_may(self) -> None:
        """A `start` ends: well if the container was created, else with an error that says why not."""
        before = self.status()
        ended = self.aiorun("start", "x")
        if before == "created" and ended.returncode == 0:
            assert self.status() in ("running", "stopped")
        elif before == "created":  # it was let go by the one that was killed, or dies with its create
            assert refused(ended) in (
                "cannot start an already running container",
                "cannot start a container that has stopped",
                "container process is already dead",
                "the container is being deleted",
            )
        else:
            assert refused(ended)

    def can_be_cleaned_up(self) -> None:
        """`delete --force` leaves nothing, and the id is free."""
        self.aiorun("delete", "--force", "x", check=True)
        self.create()
        assert self.status() == "created"
        self.aiorun("delete", "--force", "x", check=True)
        assert os.listdir(self.aiorun.root) == []
        assert cgroups_of(self.cgroup_parent) == []


@pytest.fixture
def world(aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path) -> World:
    world = World(aiorun, bundle(args=["sleep", "1000"]), cgroup_parent, tmp_path / "strace.log")
    world.create()
    aiorun("delete", "x", check=True)
    return world


def test_a_create_that_is_killed_anywhere_can_be_cleaned_up(world: World) -> None:
    command = ("create", "--bundle", world.bundle, "x")
    for step in world.steps(*command, after="config.json"):
        world.kill_at(step, *command)
        world.starts_if_it_may()
        world.can_be_cleaned_up()
    assert world.killed >= STEPS_AT_LEAST


def test_a_create_that_is_interrupted_anywhere_leaves_nothing_or_has_made_the_container(world: World, bundle: Bundles) -> None:
    """With a hook, which is a process of ours besides. What was interrupted too late is as if it hadn't been."""
    world.bundle = bundle({"hooks": {"createRuntime": [{"path": need("true")}]}}, args=["sleep", "1000"])
    command = ("create", "--bundle", world.bundle, "x")
    for step in world.steps(*command, after="config.json"):
        ended = interrupted_at(world.aiorun, step, *command, log=world.log)
        if ended.returncode == 0:
            assert world.status() == "created"
        else:
            assert ended.returncode in (128 + signal.SIGTERM, -signal.SIGTERM), (step, ended)
            assert cgroups_of(world.cgroup_parent) == [], step
            assert os.listdir(world.aiorun.root) == [], step
            world.killed += 1
        world.can_be_cleaned_up()
    assert world.killed >= STEPS_AT_LEAST


def test_a_start_that_is_killed_anywhere_leaves_a_container_that_is_created_or_runs(world: World) -> None:
    world.create()
    for step in world.steps("start", "x", after=f'{world.aiorun.root}/x"'):
        world.create()
        world.kill_at(step, "start", "x")
        assert world.status() in ("created", "running")
        world.starts_if_it_may()
        assert world.status() == "running"
        world.can_be_cleaned_up()
    assert world.killed >= STEPS_AT_LEAST


@pytest.mark.parametrize("before", ["created", "running"])
def test_a_delete_that_is_killed_anywhere_can_be_done_again(world: World, before: str) -> None:
    def prepare() -> None:
        world.create()
        if before == "running":
            world.start()

    prepare()
    for step in world.steps("delete", "--force", "x", after=f'{world.aiorun.root}/x"'):
        prepare()
        world.kill_at(step, "delete", "--force", "x")
        world.starts_if_it_may()
        world.can_be_cleaned_up()
    assert world.killed >= STEPS_AT_LEAST


def test_a_run_that_is_killed_anywhere_can_be_cleaned_up(world: World, bundle: Bundles) -> None:
    world.bundle = bundle(args=["true"])
    command = ("run", "--bundle", world.bundle, "x")
    for step in world.steps(*command, after="config.json"):
        world.kill_at(step, *command)
        world.starts_if_it_may()
        world.can_be_cleaned_up()
    assert world.killed >= STEPS_AT_LEAST
