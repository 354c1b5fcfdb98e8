"""A lifecycle that is cancelled at any of its waits leaves nothing: the Waiter of these tests cancels at its n-th wait."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from aiorun.launch.spawn import HereSpawner
from aiorun.runtime.create import Options, create
from aiorun.runtime.delete import delete
from aiorun.runtime.run import run_detached
from aiorun.runtime.start import start
from aiorun.runtime.status import inspect
from aiorun.spec import read
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from tests.conftest import Bundles, need_root
from tests.leaks import Belongings
from tests.runtime.life import await_death, cgroups_of

T = TypeVar("T")
MANY = 200  # waits: no lifecycle has so many


class Cancelled(BaseException):
    """What trio.Cancelled is to a lifecycle."""


class CancellingWaiter(PollWaiter):
    """Cancels at the wait number `at`, from 0, unless that is shielded; `waits` says how many there were."""

    def __init__(self, at: int) -> None:
        self.at, self.waits, self.shields = at, 0, 0

    def _wait(self) -> None:
        self.waits += not self.shields
        if not self.shields and self.waits > self.at:
            raise Cancelled

    async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
        self._wait()
        return await super().wait_any(fds, timeout)

    async def sleep(self, seconds: float) -> None:
        self._wait()
        await super().sleep(seconds)

    async def shield(self, work: Awaitable[T]) -> T:
        self.shields += 1
        try:
            return await work
        finally:
            self.shields -= 1


class Life:
    """One bundle with hooks of every kind that the runtime itself runs, and one id."""

    def __init__(self, bundle: Path, root: Path, cgroup_parent: str) -> None:
        self.bundle, self.store, self.cgroup_parent = str(bundle), Store(str(root)), cgroup_parent
        self.spec = read(self.bundle)

    def create(self, waiter: PollWaiter) -> None:
        made = drive(create(self.store, "x", self.spec, self.bundle, Options(), waiter=waiter, spawner=HereSpawner()))
        os.close(made.pidfd)

    def start(self, waiter: PollWaiter) -> None:
        drive(start(self.store, "x", waiter=waiter))

    def run_detached(self, waiter: PollWaiter) -> None:
        drive(run_detached(self.store, "x", self.spec, self.bundle, Options(), waiter=waiter, spawner=HereSpawner()))

    def delete(self, waiter: PollWaiter) -> None:
        drive(delete(self.store, "x", waiter=waiter, force=True))

    def status(self) -> str:
        status: str = inspect(self.store, "x")["status"]
        return status

    def nothing_left(self) -> list[str]:
        return [*self.store.ids(), *map(str, cgroups_of(self.cgroup_parent))]


@pytest.fixture
def life(bundle: Bundles, root_dir: Path, cgroup_parent: str) -> Life:
    need_root()
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null; echo said"], "env": ["PATH=/bin:/usr/bin"]}
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    made = bundle({"hooks": {kind: [hook] for kind in kinds}}, args=["sleep", "1000"])
    return Life(made, root_dir, cgroup_parent)


def cancelled_everywhere(step: Callable[[PollWaiter], None], after: Callable[[bool], None]) -> None:
    """`step` cancelled at its wait 0, 1, …, each time with `after`(whether it was cancelled), until it runs to its end."""
    for at in range(MANY):
        waiter = CancellingWaiter(at)
        try:
            step(waiter)
        except Cancelled:
            after(True)
        else:
            assert waiter.waits <= at, "it swallowed the cancel"
            after(False)
            assert at > 0, "it never waited"
            return
    raise AssertionError(f"more than {MANY} waits")


def test_a_create_cancelled_at_any_wait_leaves_nothing(life: Life) -> None:
    before = Belongings.now()

    def after(cancelled: bool) -> None:
        if not cancelled:
            assert life.status() == "created"
            life.delete(PollWaiter())
        assert life.nothing_left() == []
        assert before.left_since() == []

    cancelled_everywhere(life.create, after)


def test_a_run_cancelled_at_any_wait_leaves_nothing(life: Life) -> None:
    before = Belongings.now()

    def after(cancelled: bool) -> None:
        if not cancelled:
            assert life.status() == "running"
            life.delete(PollWaiter())
        assert life.nothing_left() == []
        assert before.left_since() == []

    cancelled_everywhere(life.run_detached, after)


def test_a_start_cancelled_at_any_wait_leaves_the_container_created_or_running(life: Life) -> None:
    before = Belongings.now()

    def start(waiter: PollWaiter) -> None:
        life.create(PollWaiter())
        fds = Belongings.now().fds
        try:
            life.start(waiter)
        finally:
            assert Belongings.now().fds == fds

    def after(cancelled: bool) -> None:
        if cancelled:
            assert life.status() in ("created", "running")
        else:
            assert life.status() == "running"
        life.delete(PollWaiter())
        assert life.nothing_left() == []
        assert before.left_since() == []

    cancelled_everywhere(start, after)


def test_a_delete_once_begun_is_not_cancelled_half_way(life: Life) -> None:
    before = Belongings.now()
    for at in range(3):
        life.create(PollWaiter())
        life.start(PollWaiter())
        pid: int = inspect(life.store, "x")["pid"]
        life.delete(CancellingWaiter(at))
        await_death(pid)
        assert life.nothing_left() == []
        assert before.left_since() == []
