"""Cancellation at any await, an error anywhere, and ^C leave nothing: no process, cgroup, directory, mount or fd."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
import trio

import aiorun
from aiorun import PIPE, Container, Runtime, Size
from aiorun.trio_waiter import TrioWaiter
from tests.supervise.conftest import Jobs, Leftovers

T = TypeVar("T")
Work = Callable[[Runtime, Jobs], Awaitable[None]]
HOOKS = {kind: [{"path": "/bin/true"}] for kind in ("createRuntime", "createContainer", "poststart", "poststop")}


class CancellingWaiter(TrioWaiter):
    """Cancels `scope` at the `at`-th wait, and then waits, whatever comes of it."""

    def __init__(self) -> None:
        self.seen, self.at = 0, 0
        self.scope = trio.CancelScope()

    def _count(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.scope.cancel()

    async def wait_any(self, fds: Mapping[int, int], timeout: float | None = None) -> dict[int, int]:
        self._count()
        return await super().wait_any(fds, timeout)

    async def sleep(self, seconds: float) -> None:
        self._count()
        await super().sleep(seconds)


@pytest.fixture
async def waiter(runtime: Runtime, jobs: Jobs) -> AsyncIterator[CancellingWaiter]:
    """The waiter of the test's Runtime, whose launcher runs already."""
    waiter = CancellingWaiter()
    runtime._waiter = runtime._launcher._waiter = waiter
    await runtime.run(jobs(), bundle=jobs.bundle)
    yield waiter


async def block(runtime: Runtime, jobs: Jobs) -> None:
    options = jobs.options("cat", change={"hooks": HOOKS})
    async with runtime.container("job", **options, stdin=PIPE, stdout=PIPE, stderr=PIPE) as job:
        assert job.stdin is not None
        await job.start()
        await job.stdin.aclose()
        await job.wait()
        await job.stop()


async def block_with_a_terminal(runtime: Runtime, jobs: Jobs) -> None:
    async with runtime.container("job", **jobs.options("true"), terminal=Size(24, 80), grace=60) as job:
        await job.start()
        await job.wait()


async def block_with_a_dead_end(runtime: Runtime, jobs: Jobs) -> None:
    async with runtime.container("job", **jobs.options("nosuch")):
        pass


async def fed_and_collected(runtime: Runtime, jobs: Jobs) -> None:
    await runtime.run(jobs("cat"), bundle=jobs.bundle, input=bytes(1 << 18), capture_output=True, timeout=600)


async def step_by_step(runtime: Runtime, jobs: Jobs) -> None:
    """Without a block what was made stays: the test's own `finally` ends it, as a supervisor's would."""
    job = await runtime.create("job", **jobs.options("sleep", "1000", change={"hooks": HOOKS}))
    try:
        await job.start()
        await job.kill("KILL")
        await job.wait()
        await job.delete()
    finally:
        await job.aclose()


WORKS = [block, block_with_a_terminal, block_with_a_dead_end, fed_and_collected, step_by_step]


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
async def test_a_cancel_at_any_wait_leaves_nothing(
    runtime: Runtime, jobs: Jobs, waiter: CancellingWaiter, leftovers: Callable[[], Leftovers], work: Work
) -> None:
    before = leftovers()
    cancelled = 0
    while True:
        waiter.seen, waiter.at, waiter.scope = 0, waiter.at + 1, trio.CancelScope()
        with waiter.scope:
            try:
                await work(runtime, jobs)
            except aiorun.InitFailed:
                assert work is block_with_a_dead_end
        assert before.left() == [], f"cancelled at wait {waiter.at}"
        if waiter.seen < waiter.at:
            break  # it never came so far: all waits are tried
        cancelled += waiter.scope.cancelled_caught
    assert cancelled >= 2


@pytest.mark.parametrize("work", [block, step_by_step], ids=lambda work: work.__name__)
async def test_a_cancel_at_any_moment_leaves_nothing(
    runtime: Runtime, jobs: Jobs, waiter: CancellingWaiter, leftovers: Callable[[], Leftovers], work: Work
) -> None:
    before = leftovers()
    start = trio.current_time()
    await work(runtime, jobs)
    duration = trio.current_time() - start
    chance = random.Random(4)
    for _ in range(25):
        after = chance.uniform(0, duration)
        with trio.move_on_after(after):
            await work(runtime, jobs)
        assert before.left() == [], f"cancelled after {after} of {duration} seconds"


async def test_containers_cancelled_all_at_once_leave_nothing(
    runtime: Runtime, jobs: Jobs, waiter: CancellingWaiter, leftovers: Callable[[], Leftovers]
) -> None:
    async def one(number: int) -> None:
        async with runtime.container(f"job-{number}", **jobs.options("cat"), stdin=PIPE) as job:
            await job.start()
            await job.wait()

    before = leftovers()
    for at in (3, 30, 60):
        waiter.seen, waiter.at, waiter.scope = 0, at, trio.CancelScope()
        with waiter.scope:
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(one, number)
        assert waiter.scope.cancelled_caught
        assert before.left() == []


async def test_an_error_in_the_block_comes_out_of_it_and_leaves_nothing(
    runtime: Runtime, jobs: Jobs, waiter: CancellingWaiter, leftovers: Callable[[], Leftovers]
) -> None:
    before = leftovers()

    @asynccontextmanager
    async def two() -> AsyncIterator[tuple[Container, Container]]:
        async with (
            runtime.container("one", **jobs.options("cat"), stdin=PIPE) as one,
            runtime.container("two", **jobs.options("cat"), stdin=PIPE) as two,
        ):
            yield one, two

    for error in (ValueError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            async with two() as (one, _two):
                await one.start()
                raise error
        assert caught.value is error
        assert before.left() == []


async def test_an_error_comes_out_of_a_cancelled_block_too(
    runtime: Runtime, jobs: Jobs, waiter: CancellingWaiter, leftovers: Callable[[], Leftovers]
) -> None:
    before = leftovers()
    with trio.CancelScope() as scope, pytest.raises(ValueError, match="mine"):
        async with runtime.container("job", **jobs.options("cat"), stdin=PIPE):
            scope.cancel()
            raise ValueError("mine")
    assert before.left() == []


async def test_streams_that_cannot_be_taken_leave_no_container(
    runtime: Runtime, jobs: Jobs, waiter: CancellingWaiter, leftovers: Callable[[], Leftovers], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_stdio: object) -> None:
        raise aiorun.ConsoleError("no terminal came")

    before = leftovers()
    monkeypatch.setattr("aiorun.supervise.streams.Stdio.take", fail)
    with pytest.raises(aiorun.ConsoleError, match="no terminal came"):
        await runtime.create("job", **jobs.options("cat"), stdin=PIPE)
    assert before.left() == []
