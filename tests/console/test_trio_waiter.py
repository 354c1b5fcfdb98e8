"""TrioWaiter: any number of tasks wait on one descriptor, with real revents, and a cancelled wait leaves nothing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from aiorun import trio_waiter
from aiorun.trio_waiter import TrioWaiter

IN, OUT, HUP = select.POLLIN, select.POLLOUT, select.POLLHUP


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = list(os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
    yield ends[0], ends[1]
    for fd in ends:
        os.close(fd)


def watched() -> set[int]:
    watch = trio_waiter._current.get()
    assert watch is not None
    assert watch._waits.keys() == watch._masks.keys()
    return set(watch._waits)


async def test_two_thousand_tasks_learn_of_one_exit() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    pidfd = os.pidfd_open(process.pid)
    told = []

    async def wait() -> None:
        told.append(await TrioWaiter().wait_any({pidfd: IN}))

    async with trio.open_nursery() as nursery:
        for _ in range(2000):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert watched() == {pidfd}
        process.send_signal(signal.SIGKILL)
    assert told == [{pidfd: IN}] * 2000
    assert watched() == set()
    os.close(pidfd)
    process.wait()


async def test_each_is_woken_by_its_own_events_alone(pipe: tuple[int, int]) -> None:
    master, peer = os.openpty()
    woken: list[str] = []
    read = trio.Event()

    async def wait(name: str, fds: dict[int, int]) -> None:
        await TrioWaiter().wait_any(fds)
        woken.append(name)
        read.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "reader", {master: IN, pipe[0]: IN})
        nursery.start_soon(wait, "hang-up", {master: 0})
        await trio.testing.wait_all_tasks_blocked()
        os.write(peer, b"x")
        await read.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert woken == ["reader"]  # and the byte, which is still there, keeps nobody busy: the tasks came to rest
        assert watched() == {master}
        os.close(peer)
    assert woken == ["reader", "hang-up"]
    os.close(master)


async def test_the_revents_are_the_kernels(pipe: tuple[int, int], tmp_path: Path) -> None:
    reader, writer = pipe
    assert await TrioWaiter().wait_any({reader: IN, writer: OUT}) == {writer: OUT}
    os.write(writer, b"x")
    assert await TrioWaiter().wait_any({reader: IN, writer: 0}) == {reader: IN}
    left = os.dup(writer)
    os.close(left)
    assert await TrioWaiter().wait_any({left: IN}) == {left: select.POLLNVAL}
    with open(tmp_path / "file", "w") as file:  # epoll(7) doesn't take regular files, poll(2) does
        assert await TrioWaiter().wait_any({file.fileno(): OUT}) == {file.fileno(): OUT}
        assert await TrioWaiter().wait_any({file.fileno(): 0}, timeout=0) == {}


async def test_a_hang_up_wakes_who_asked_for_nothing() -> None:
    reader, writer = os.pipe()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert await TrioWaiter().wait_any({reader: 0}) == {reader: HUP}

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        os.close(writer)
    os.close(reader)


async def test_a_timeout_gives_an_empty_answer_and_leaves_nothing(autojump_clock: object, pipe: tuple[int, int]) -> None:
    start = trio.current_time()
    assert await TrioWaiter().wait_any({pipe[0]: IN}, timeout=60) == {}
    assert trio.current_time() == start + 60
    assert watched() == set()
    await TrioWaiter().sleep(5)
    assert trio.current_time() == start + 65


async def test_a_cancelled_wait_has_left_when_it_raises(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    async with trio.open_nursery() as nursery:

        async def stays() -> None:
            assert await TrioWaiter().wait_any({reader: IN}) == {reader: IN}

        nursery.start_soon(stays)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:

            async def canceller() -> None:
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()

            nursery.start_soon(canceller)
            extra = os.dup(reader)
            try:
                await TrioWaiter().wait_any({extra: IN, reader: IN})
            finally:
                assert watched() == {reader}
                os.close(extra)  # at once, and its number is free for another
        assert scope.cancelled_caught
        os.write(writer, b"x")
    assert watched() == set()


async def test_a_ready_wait_is_a_checkpoint_too(pipe: tuple[int, int]) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await TrioWaiter().wait_any({pipe[1]: OUT})
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        await TrioWaiter().wait_any({pipe[0]: IN})
    assert scope.cancelled_caught
    assert watched() == set()


async def test_a_shielded_work_comes_to_its_end(pipe: tuple[int, int]) -> None:
    async def work() -> str:
        os.write(pipe[1], b"x")
        await TrioWaiter().wait_any({pipe[0]: IN})
        return "done"

    with trio.CancelScope() as scope:
        scope.cancel()
        assert await TrioWaiter().shield(work()) == "done"


def test_one_run_after_another_leaves_no_descriptor() -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        assert await TrioWaiter().wait_any({reader: IN}, timeout=0) == {}
        os.close(reader)
        os.close(writer)

    trio.run(main)
    before = os.listdir("/proc/self/fd")
    trio.run(main)
    assert os.listdir("/proc/self/fd") == before
