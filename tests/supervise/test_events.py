"""The stream of events: what comes, in which order, to whom, and what is left of it."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import aiorun
from aiorun.cgroups import V1, layout
from aiorun.supervise import events as module
from aiorun.supervise.events import Event, Events
from tests.conftest import CommandLine
from tests.supervise.conftest import Jobs, Leftovers

SLEEPS = ("sleep", "1000")
SMALL = {"linux": {"resources": {"memory": {"limit": 1 << 25, "swap": 1 << 25}}}}
HOG = "dd if=/dev/zero of=/dev/null bs=200M count=1"
LeftoversNow = Callable[[], Leftovers]


async def read(stream: Events, number: int) -> list[Any]:
    """So many events, within a time that means never."""
    with trio.fail_after(30):
        return [await stream.__anext__() for _ in range(number)]


async def rest(stream: Events) -> list[Any]:
    """What is in a stream that has ended."""
    with trio.fail_after(30):
        return [event async for event in stream]


async def test_what_is_done_to_containers_is_told_in_order(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    stream = runtime.events()
    async with runtime.container("a", **jobs.options(*SLEEPS)) as job:
        await job.start()
        await job.pause()
        await job.resume()
        await job.stop(grace=0)
    runtime.close()
    assert await rest(stream) == [
        aiorun.Created("a"),
        aiorun.Started("a"),
        aiorun.Paused("a"),
        aiorun.Resumed("a"),
        aiorun.Exited("a", aiorun.Exit(None, signal.SIGKILL)),
        aiorun.Deleted("a"),
    ]


async def test_the_end_is_told_though_nobody_waits_for_it(runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow) -> None:
    await runtime.run(jobs("true"), bundle=jobs.bundle)  # with which the run's own epoll is there
    before = leftovers()
    job = await runtime.create("early", **jobs.options("sh", "-c", "exit 3"))
    async with runtime.events() as stream:  # of those that are there already, too
        late = await runtime.create("late", **jobs.options("sh", "-c", "exit 4"))
        await job.start()
        await late.start()
        told = await read(stream, 5)
        assert [event for event in told if event.id == "early"] == [
            aiorun.Started("early"),
            aiorun.Exited("early", aiorun.Exit(3, None)),
        ]
        assert told.index(aiorun.Started("late")) < told.index(aiorun.Exited("late", aiorun.Exit(4, None)))
        assert (await job.wait()).code == 3
    for container in (job, late):
        await container.aclose()
    runtime.close()
    await trio.testing.wait_all_tasks_blocked()
    assert before.left() == []


async def test_a_program_that_ends_before_its_poststart_hook_has_started_first(
    runtime: aiorun.Runtime, jobs: Jobs, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"read word < {go}"]}
    async with (
        runtime.container("a", **jobs.options("true", change={"hooks": {"poststart": [hook]}})) as job,
        runtime.events() as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(job.start)
        with trio.fail_after(30):
            while job.status != "stopped":
                await trio.sleep(0.01)
        await job.wait()
        await trio.to_thread.run_sync(go.write_text, "now\n")
        assert await read(stream, 2) == [aiorun.Started("a"), aiorun.Exited("a", aiorun.Exit(0, None))]


async def test_each_kill_for_want_of_memory_is_told_and_before_the_end(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    stream = runtime.events()
    async with runtime.container("a", **jobs.options("sh", "-c", f"{HOG}; {HOG}; exit 5", change=SMALL)) as job:
        await job.start()
        exit = await job.wait()
        assert (exit.code, exit.oom_killed) == (5, True)
    async with runtime.container("b", **jobs.options("sh", "-c", f"exec {HOG}", change=SMALL)) as job:
        await job.start()
        assert (await job.wait()) == aiorun.Exit(None, signal.SIGKILL, oom_killed=True)
    runtime.close()
    told = [type(event).__name__ for event in await rest(stream)]
    first, second = told[: told.index("Deleted") + 1], told[told.index("Deleted") + 1 :]
    for names, kills in ((first, 2), (second, 1)):
        ooms = names.count("Oom")
        assert names == ["Created", "Started", *["Oom"] * ooms, "Exited", "Deleted"]
        assert ooms == kills or (layout().version == V1 and ooms > kills)  # v1 may tell of one again while it is dying


async def test_what_a_container_uses_is_told_at_intervals(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with (
        runtime.container("busy", **jobs.options("sh", "-c", "while :; do :; done")) as job,
        runtime.container("created", **jobs.options(*SLEEPS)),
        runtime.events(stats_every=0.01) as stream,
    ):
        await job.start()
        told: list[aiorun.Stats] = []
        seconds: list[float] = []
        while len(told) < 20 or seconds[-1] == seconds[0]:
            told += [event for event in await read(stream, 1) if isinstance(event, aiorun.Stats)]
            seconds = [event.cpu_seconds for event in told if event.id == "busy"]
        assert {event.id for event in told} == {"busy", "created"}
        assert seconds == sorted(seconds)
        now = await job.stats()
        assert (now.id, now.processes) == ("busy", 1)
        assert now.cpu_seconds >= seconds[-1] and now.memory_bytes > 0
        await job.stop(grace=0)
        with pytest.raises(aiorun.InvalidState, match=r"^container with id busy is not running$"):
            await job.stats()


async def test_a_containers_own_stream_has_its_events_and_ends_with_it(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("other", **jobs.options(*SLEEPS)) as other:
        async with runtime.container("a", **jobs.options(*SLEEPS)) as job:
            stream = job.events()
            await other.start()
            await job.start()
        assert [type(event).__name__ for event in await rest(stream)] == ["Started", "Exited", "Deleted"]


async def test_a_failed_hook_is_told(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    def failing(kind: str) -> Any:
        return jobs.options("true", change={"hooks": {kind: [{"path": "/bin/false"}]}})

    stream = runtime.events()
    with pytest.raises(aiorun.HookFailed):
        await runtime.create("create", **failing("createRuntime"))
    with pytest.raises(aiorun.HookFailed):
        async with runtime.container("start", **failing("poststart")) as job:
            await job.start()
    async with runtime.container("delete", **failing("poststop")):
        pass
    runtime.close()
    failed = [event for event in await rest(stream) if isinstance(event, aiorun.FailedHook)]
    assert [event.id for event in failed] == ["create", "start", "delete"]
    for event, kind in zip(failed, ("createRuntime", "poststart", "poststop"), strict=True):
        assert event.error.startswith(f"error running {kind} hook #0: ")


async def test_a_slow_reader_learns_how_many_it_missed(
    runtime: aiorun.Runtime, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    slow, other = runtime.events(), runtime.events()
    async with runtime.container("a", **jobs.options(*SLEEPS)) as job:
        await job.pause()
        await job.resume()
        await job.pause()
        await job.resume()
        names = [aiorun.Created, aiorun.Paused, aiorun.Resumed]
        assert await read(slow, 4) == [*(kind("a") for kind in names), aiorun.Missed(2)]
        await job.pause()
        assert await read(slow, 1) == [aiorun.Paused("a")]
        assert await read(other, 2) == [aiorun.Created("a"), aiorun.Paused("a")]
        await job.resume()
        assert await read(other, 3) == [aiorun.Resumed("a"), aiorun.Missed(3), aiorun.Resumed("a")]


async def test_a_cancelled_reader_loses_no_event(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.events() as stream:
        with trio.move_on_after(0.01) as scope:
            await stream.__anext__()
        assert scope.cancelled_caught
        async with runtime.container("a", **jobs.options(*SLEEPS)):
            assert await read(stream, 1) == [aiorun.Created("a")]


@pytest.mark.parametrize("way", ["closed", "forgotten", "let go of", "runtime closed"])
async def test_a_stream_that_has_ended_leaves_nothing(
    way: str, runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow, aiorun: CommandLine
) -> None:
    before = leftovers()
    stream = runtime.events()
    job = await runtime.create("a", **jobs.options(*SLEEPS))
    await job.start()
    await trio.testing.wait_all_tasks_blocked()
    if way == "closed":
        stream.close()
    elif way == "let go of":
        job.close()
    elif way == "runtime closed":
        runtime.close()
    else:
        del stream
        await job.pause()
        await job.resume()
    await trio.testing.wait_all_tasks_blocked()
    kinds = {kind for kind, _ in before.left()}
    watched = [what for kind, what in before.left() if (kind == "fd" and "memory" in what) or "eventfd" in what]
    assert kinds >= {"container", "process", "cgroup"} and watched == []
    job.close()
    runtime.close()
    aiorun("delete", "--force", "a", check=True)
    os.waitpid(job.pid, 0)


async def test_events_are_matched_by_their_names(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    stream = runtime.events()
    await runtime.run(jobs("sh", "-c", "exit 7"), id="a", bundle=jobs.bundle)
    found = []
    runtime.close()
    async for event in stream:
        match event:
            case aiorun.Exited(id=id, exit=exit):
                found.append((id, exit.code))
            case Event(id=id):
                assert id == "a"
    assert found == [("a", 7)]
    assert await rest(runtime.events()) == []


async def test_two_readers_of_one_stream_share_its_events(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    found: list[Any] = []

    async def collect() -> None:
        async for event in stream:
            found.append(event)

    async with trio.open_nursery() as nursery:
        stream = runtime.events()
        nursery.start_soon(collect)
        nursery.start_soon(collect)
        await runtime.run(jobs("true"), id="a", bundle=jobs.bundle)
        runtime.close()
    assert [type(event).__name__ for event in found] == ["Created", "Started", "Exited", "Deleted"]


async def test_an_end_that_is_seen_before_the_want_of_memory_is_told_after_it(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    stream = runtime.events()
    async with runtime.container("a", **jobs.options("sh", "-c", f"exec {HOG}", change=SMALL)) as job:
        await job.start()
        poll = select.poll()
        poll.register(job.pidfd, select.POLLIN)
        assert poll.poll(30_000)  # no task runs meanwhile
        await job.wait()
    runtime.close()
    told = [type(event).__name__ for event in await rest(stream)]
    assert (told[:3], told[-2:], set(told[3:-2]) - {"Oom"}) == (["Created", "Started", "Oom"], ["Exited", "Deleted"], set())


async def test_what_containers_use_is_told_between_events_that_never_cease(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("a", **jobs.options(*SLEEPS)) as job, runtime.events(stats_every=0.01) as stream:
        told: list[Any] = []
        with trio.fail_after(30):
            while not any(isinstance(event, aiorun.Stats) for event in told):
                await job.pause()
                await job.resume()
                told += await read(stream, 1)
