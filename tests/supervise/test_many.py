"""Many containers from one process: at once, and one after another."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

import aiorun
from aiorun import PIPE
from tests import leaks
from tests.supervise.conftest import Jobs, Leftovers
from tests.waiting import NEVER


async def test_a_hundred_at_once(runtime: aiorun.Runtime, jobs: Jobs, root_dir: Path, leftovers: Callable[[], Leftovers]) -> None:
    await runtime.run(jobs(), bundle=jobs.bundle)
    before = leftovers()
    created, all_created = 0, trio.Event()
    said: dict[int, tuple[bytes, int | None]] = {}

    async def one(number: int) -> None:
        nonlocal created
        options = jobs.options("sh", "-c", f"read line; echo $line; exit {number}")
        async with runtime.container(f"job-{number}", **options, stdin=PIPE, stdout=PIPE) as job:
            assert job.stdin is not None and job.stdout is not None
            created += 1
            if created == 100:
                all_created.set()
            await all_created.wait()  # all hundred are there at one moment
            await job.start()
            await job.stdin.send_all(b"%d\n" % number)
            line = await job.stdout.receive_some()
            said[number] = bytes(line), (await job.wait()).code

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
        await all_created.wait()
        assert len(os.listdir(root_dir)) == 100
    assert said == {number: (b"%d\n" % number, number) for number in range(100)}
    assert before.left() == []


async def test_a_hundred_at_once_have_files_enough_within_the_usual_limit(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    said: set[bytes] = set()

    async def one(number: int) -> None:
        result = await runtime.run(jobs("echo", str(number)), bundle=jobs.bundle, capture_output=True)
        said.add(result.stdout)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(one, number)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert said == {b"%d\n" % number for number in range(100)}


async def test_containers_whose_hooks_wait_for_another_one_do_not_keep_it_from_being_made(
    runtime: aiorun.Runtime, jobs: Jobs, tmp_path: Path
) -> None:
    """However many they are: creations take turns, and a hook may take for ever."""
    begun, made = tmp_path / "begun", tmp_path / "made"
    begun.mkdir()
    script = f"touch {begun}/$$; until [ -e {made} ]; do sleep 0.02; done"
    hooks = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(partial(runtime.run, jobs(change={"hooks": hooks}), bundle=jobs.bundle))
        with trio.fail_after(NEVER):
            while len(os.listdir(begun)) < 40:
                await trio.sleep(0.01)
            await runtime.run(jobs(), bundle=jobs.bundle)
        made.touch()


async def test_three_hundred_in_a_row_take_no_more_files_than_the_first(
    runtime: aiorun.Runtime, jobs: Jobs, leftovers: Callable[[], Leftovers]
) -> None:
    await runtime.run(jobs(), bundle=jobs.bundle)
    before = leftovers()
    launcher = runtime._launcher._running
    assert launcher is not None
    [pid] = [pid for pid in leaks.children() if b"aiorun/launch" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    files = os.listdir(f"/proc/{pid}/fd")
    for number in range(300):
        result = await runtime.run(jobs("sh", "-c", f"exit {number % 256}"), bundle=jobs.bundle, capture_output=True)
        assert result.exit.code == number % 256
    assert before.left() == []
    assert runtime._launcher._running is launcher  # one launcher made them all
    assert os.listdir(f"/proc/{pid}/fd") == files
