"""Standard streams and terminals: where they go, that nothing of them is lost, and how each end is seen at the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import aiorun
from aiorun import DEVNULL, PIPE, STDOUT, Exit, Size
from tests.supervise.conftest import Jobs, Leftovers

MEBIBYTES_10 = 10 << 20


async def read_to_end(stream: trio.abc.ReceiveStream | None) -> bytes:
    assert stream is not None
    said = b""
    async for chunk in stream:
        said += chunk
    return said


async def read_until(stream: trio.abc.ReceiveStream | None, end: bytes) -> bytes:
    assert stream is not None
    said = b""
    while not said.endswith(end):
        chunk = await stream.receive_some()
        assert chunk, f"ended with {said!r}"
        said += bytes(chunk)
    return said


async def test_ten_mebibytes_through_each_stream_arrive_whole(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    sent = os.urandom(MEBIBYTES_10)
    arrived: dict[str, bytes] = {}

    async def collect(name: str, stream: trio.abc.ReceiveStream | None) -> None:
        arrived[name] = await read_to_end(stream)

    options = jobs.options("sh", "-c", "tee /proc/self/fd/2")
    async with (
        runtime.container("job", **options, stdin=PIPE, stdout=PIPE, stderr=PIPE) as job,
        trio.open_nursery() as nursery,
    ):
        assert job.stdin is not None
        nursery.start_soon(collect, "stdout", job.stdout)
        nursery.start_soon(collect, "stderr", job.stderr)
        await job.start()
        await job.stdin.send_all(sent)
        await job.stdin.aclose()  # tee ends at the end of file
        assert await job.wait() == Exit(code=0, signal=None)
    assert arrived == {"stdout": sent, "stderr": sent}


async def test_without_a_word_stdin_is_empty_and_the_rest_is_ours(
    runtime: aiorun.Runtime, jobs: Jobs, capfd: pytest.CaptureFixture[str]
) -> None:
    async with runtime.container("job", **jobs.options("sh", "-c", "cat; echo out; echo err >&2")) as job:
        assert (job.stdin, job.stdout, job.stderr, job.terminal) == (None, None, None, None)
        await job.start()
        await job.wait()
    assert capfd.readouterr() == ("out\n", "err\n")


async def test_a_stream_goes_to_a_path_an_fd_a_file_or_nowhere(
    runtime: aiorun.Runtime, jobs: Jobs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("in\n")
    both = jobs.options("sh", "-c", "cat; echo err >&2")

    async def run(**streams: Any) -> None:
        async with runtime.container("job", **both, **streams) as job:
            await job.start()
            await job.wait()

    log = tmp_path / "log"
    await run(stdin=str(tmp_path / "in"), stdout=str(log), stderr=STDOUT)
    await run(stdin=tmp_path / "in", stdout=log, stderr=DEVNULL)
    assert log.read_text() == "in\nerr\nin\n"  # appended
    with open(tmp_path / "in") as stdin, open(tmp_path / "out", "w+") as out:
        await run(stdin=stdin, stdout=out.fileno(), stderr=out)
        out.seek(0)
        assert out.read() == "in\nerr\n"
        assert out.fileno() > 2  # still ours
    await run(stdout=DEVNULL, stderr=DEVNULL)
    assert capfd.readouterr() == ("", "")


async def test_a_stream_that_cannot_be_had_says_so_and_leaves_nothing(
    runtime: aiorun.Runtime, jobs: Jobs, leftovers: Callable[[], Leftovers], tmp_path: Path
) -> None:
    await runtime.run(jobs(), bundle=jobs.bundle)
    os.mkfifo(tmp_path / "fifo")
    before = leftovers()
    closed = os.dup(0)
    os.close(closed)
    for stdout, kind, words in (
        (closed, aiorun.UsageError, f"take file descriptor {closed} as stdout: it is not open"),
        (-77, aiorun.UsageError, "take file descriptor -77 as stdout: it is not open"),
        ("/nosuch/log", aiorun.AiorunError, 'open "/nosuch/log" as stdout: no such file or directory'),
        (tmp_path / "fifo", aiorun.AiorunError, f'open "{tmp_path}/fifo" as stdout: no such device or address'),  # no reader
    ):
        with pytest.raises(kind) as caught:
            await runtime.create("job", **jobs.options(), stdin=PIPE, stdout=stdout)
        assert str(caught.value) == words
        assert before.left() == []


async def test_the_program_has_its_three_streams_and_no_other_file(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    result = await runtime.run(jobs("ls", "-l", "/proc/self/fd"), bundle=jobs.bundle, input=b"x", capture_output=True)
    links = [line.split(b" -> ")[1] for line in result.stdout.splitlines() if b" -> " in line]
    assert [link.partition(b":")[0] for link in links] == [b"pipe"] * 3


async def test_what_the_program_does_not_read_any_more_is_a_broken_stream(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("job", **jobs.options(), stdin=PIPE) as job:
        assert job.stdin is not None
        await job.start()
        with pytest.raises(trio.BrokenResourceError):
            await job.stdin.send_all(bytes(1 << 20))


async def test_a_terminal_has_its_size_and_the_program_sees_each_resize(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    script = "trap 'stty size; exit 4' WINCH; stty size; while :; do sleep 0.02; done"
    async with runtime.container("job", **jobs.options("sh", "-c", script), terminal=Size(24, 80)) as job:
        assert job.terminal is not None and job.stdin is None
        assert job.terminal.size == Size(24, 80)
        await job.start()
        assert await read_until(job.terminal, b"\n") == b"24 80\r\n"
        job.terminal.resize(Size(50, 132))
        assert job.terminal.size == Size(50, 132)
        assert await read_until(job.terminal, b"\n") == b"50 132\r\n"
        assert await job.wait() == Exit(code=4, signal=None)
        assert await job.terminal.receive_some() == b""


async def test_a_terminal_takes_what_is_typed_and_gives_all_that_was_said(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    script = "stty -echo; echo on; read line; echo $line; seq 1 20000"
    async with runtime.container("job", **jobs.options("sh", "-c", script, change={"process": {"terminal": True}})) as job:
        assert job.terminal is not None
        await job.start()
        assert await read_until(job.terminal, b"\n") == b"on\r\n"
        await job.terminal.send_all(b"typed\n")
        said = await read_to_end(job.terminal)
        assert said == b"typed\r\n" + b"".join(b"%d\r\n" % number for number in range(1, 20001))
        assert await job.terminal.receive_some() == b""  # and stays at its end
        assert (await job.wait()).code == 0


async def test_interrupt_and_hang_up_reach_the_program_on_a_terminal(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    for closes, code in ((False, 2), (True, 9)):
        script = "trap 'exit 2' INT; trap 'exit 9' HUP; echo on; while :; do sleep 0.02; done"
        async with runtime.container("job", **jobs.options("sh", "-c", script), terminal=Size(24, 80)) as job:
            assert job.terminal is not None
            await job.start()
            await read_until(job.terminal, b"on\r\n")
            if closes:
                await job.terminal.aclose()
            else:
                await job.terminal.send_all(b"\x03")
            assert await job.wait() == Exit(code=code, signal=None)
