"""Two commands on one container at once: exactly one wins, the other says why not, and nothing is left."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMAND_SECONDS, Bundles, CommandLine
from tests.runtime.life import Ended, await_death, cgroups_of, complaint, dead

ROUNDS = 20


@pytest.fixture
def at_once(aiorun: CommandLine, tmp_path: Path) -> Callable[..., list[Ended]]:
    """Runs command lines at once, begun now in this order and now in that, and returns how they ended, in the order given."""
    rounds = itertools.count()

    def run(*lines: tuple[str | Path, ...]) -> list[Ended]:
        numbered = list(enumerate(lines))
        started = {}
        for number, line in numbered if next(rounds) % 2 else reversed(numbered):
            with open(tmp_path / f"stderr-{number}", "wb") as stderr, open(os.devnull, "r+b") as null:
                started[number] = aiorun.popen(*line, stdin=null, stdout=null, stderr=stderr)
        ended = []
        for number, line in numbered:
            status = started[number].wait(COMMAND_SECONDS)
            ended.append(
                subprocess.CompletedProcess(list(map(str, line)), status, "", (tmp_path / f"stderr-{number}").read_text())
            )
        return ended

    return run


def sleeper(bundle: Bundles) -> Path:
    return bundle(args=["sleep", "1000"])


def split(ended: list[Ended]) -> tuple[list[Ended], list[Ended]]:
    """Those that went well, and those that failed."""
    assert {one.returncode for one in ended} <= {0, 1}
    return [one for one in ended if one.returncode == 0], [one for one in ended if one.returncode]


def clean_up(aiorun: CommandLine, cgroup_parent: str) -> None:
    """Delete what won, and see that nothing else is there."""
    aiorun("delete", "--force", "x", check=True)
    assert os.listdir(aiorun.root) == []
    assert cgroups_of(cgroup_parent) == []


def test_of_two_creates_one_has_the_id(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, at_once: Callable[..., list[Ended]]
) -> None:
    made, other = sleeper(bundle), sleeper(bundle)
    for _ in range(ROUNDS):
        won, lost = split(at_once(("create", "--bundle", made, "x"), ("create", "--bundle", other, "x")))
        assert len(won) == 1, lost
        assert complaint(lost[0]) == "aiorun create failed: container with given ID already exists"
        state = aiorun.state("x")
        assert (state["status"], state["bundle"]) == ("created", won[0].args[2])
        aiorun("start", "x", check=True)
        clean_up(aiorun, cgroup_parent)


def test_two_creates_that_are_given_one_cgroup_leave_nothing_of_the_one_that_fails(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, at_once: Callable[..., list[Ended]]
) -> None:
    """Which is a fault of who gives it: what the one takes back may be what the other has found there."""
    made = sleeper(bundle)
    for _ in range(ROUNDS):
        won, lost = split(at_once(("create", "--bundle", made, "x"), ("create", "--bundle", made, "y")))
        assert sorted(os.listdir(aiorun.root)) == sorted(one.args[-1] for one in won)
        for one in lost:
            assert complaint(one).startswith("aiorun create failed: ")
        for one in won:
            aiorun("delete", "--force", one.args[-1], check=True)
        clean_up(aiorun, cgroup_parent)


def test_of_two_starts_one_starts_it(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, at_once: Callable[..., list[Ended]]
) -> None:
    made = sleeper(bundle)
    for _ in range(ROUNDS):
        aiorun("create", "--bundle", made, "x", check=True)
        won, lost = split(at_once(("start", "x"), ("start", "x")))
        assert len(won) == 1, lost
        assert complaint(lost[0]) == "cannot start an already running container"
        assert aiorun.state("x")["status"] == "running"
        clean_up(aiorun, cgroup_parent)


def test_start_against_delete_one_wins(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, at_once: Callable[..., list[Ended]]
) -> None:
    made = sleeper(bundle)
    for _ in range(2 * ROUNDS):
        aiorun("create", "--bundle", made, "x", check=True)
        pid = aiorun.state("x")["pid"]
        won, lost = split(at_once(("start", "x"), ("delete", "x")))
        assert len(won) == 1, lost
        said = complaint(lost[0])
        if won[0].args[0] == "start":
            assert said == "cannot delete container x that is not stopped: running"
            assert aiorun.state("x")["status"] == "running"
        else:
            assert said in (
                "container does not exist",
                "the container is being deleted",
                "container process is already dead",
                "cannot start a container that has stopped",
            )
            assert dead(pid)
            assert os.listdir(aiorun.root) == []
        clean_up(aiorun, cgroup_parent)


def test_kill_against_exit_hits_it_or_says_it_is_gone(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, at_once: Callable[..., list[Ended]]
) -> None:
    made = bundle(args=["true"])
    for _ in range(ROUNDS):
        aiorun("create", "--bundle", made, "x", check=True)
        pid = aiorun.state("x")["pid"]
        start, kill = at_once(("start", "x"), ("kill", "x", "KILL"))
        if kill.returncode:
            assert complaint(kill) == "container not running"
        if start.returncode:
            assert complaint(start) in ("container process is already dead", "cannot start a container that has stopped")
        assert start.returncode == 0 or kill.returncode == 0
        await_death(pid)
        aiorun("delete", "x", check=True)  # stopped, whoever did it
        clean_up(aiorun, cgroup_parent)


@pytest.mark.parametrize("status", ["created", "stopped"])
def test_of_two_deletes_one_deletes(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, at_once: Callable[..., list[Ended]], status: str
) -> None:
    made = sleeper(bundle)
    for _ in range(ROUNDS):
        aiorun("create", "--bundle", made, "x", check=True)
        if status == "stopped":
            aiorun("kill", "x", check=True)
        won, lost = split(at_once(("delete", "x"), ("delete", "x")))
        assert len(won) == 1, lost
        assert complaint(lost[0]) == "container does not exist"
        assert os.listdir(aiorun.root) == []
        won, lost = split(at_once(("delete", "--force", "x"), ("delete", "--force", "x")))
        assert not lost
        clean_up(aiorun, cgroup_parent)


def test_create_against_a_forced_delete_one_wins(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, at_once: Callable[..., list[Ended]]
) -> None:
    made = sleeper(bundle)
    for _ in range(ROUNDS):
        create, delete = at_once(("create", "--bundle", made, "x"), ("delete", "--force", "x"))
        assert delete.returncode == 0, delete.stderr
        left = os.listdir(aiorun.root)
        if create.returncode:
            assert complaint(create)
            assert left == []
        elif left:
            aiorun("start", "x", check=True)
        clean_up(aiorun, cgroup_parent)


def test_deletes_never_hit_the_next_container_of_the_name(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, at_once: Callable[..., list[Ended]]
) -> None:
    made = sleeper(bundle)
    for _ in range(ROUNDS):
        aiorun("create", "--bundle", made, "x", check=True)
        aiorun("kill", "x", check=True)
        *deletes, create = at_once(("delete", "x"), ("delete", "x"), ("create", "--bundle", made, "x"))
        won, _ = split(deletes)
        if create.returncode:
            assert complaint(create).endswith("container with given ID already exists")
            assert len(won) == 1
        elif len(won) == 1:  # the old one's
            aiorun("start", "x", check=True)
        assert bool(os.listdir(aiorun.root)) == (create.returncode == 0 and len(won) == 1)
        clean_up(aiorun, cgroup_parent)
