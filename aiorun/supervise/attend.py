"""A program from its start to its end: fed, listened to, and killed when its time is up. For run and exec."""

from __future__ import annotations

import os
from math import inf
from typing import TYPE_CHECKING, Protocol

import trio

from aiorun.supervise.exit import Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.lowlevel import FdStream

    from aiorun.supervise.exit import Exit

    class Job(Protocol):
        """A Container or a Process that has not been started."""

        stdin: FdStream | None
        stdout: FdStream | None
        stderr: FdStream | None

        async def start(self) -> None: ...
        async def wait(self) -> Exit: ...


async def attend(job: Job, kill: Callable[[], Awaitable[None]], *, input: bytes, timeout: float | None) -> Result:
    """Start `job`, give it `input`, collect what it says, and wait for its end; after `timeout` seconds `kill` it."""
    said: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    streams = {"stdout": job.stdout, "stderr": job.stderr}
    with trio.move_on_after(inf if timeout is None else timeout) as scope:
        await job.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, job.stdin, input)
            for which, stream in streams.items():
                nursery.start_soon(_collect, stream, said[which])
            await job.wait()
    if scope.cancelled_caught:
        await kill()
    exit = await job.wait()
    if scope.cancelled_caught:
        for which, stream in streams.items():
            _drain(stream, said[which])
    return Result(exit, bytes(said["stdout"]), bytes(said["stderr"]), scope.cancelled_caught)


async def _feed(stream: FdStream | None, input: bytes) -> None:
    if stream is not None:
        async with stream:
            try:
                await stream.send_all(input)
            except trio.BrokenResourceError:
                pass  # it doesn't read any more, which is its affair


async def _collect(stream: FdStream | None, said: bytearray) -> None:
    """Read to the end. What came before a cancel is kept."""
    if stream is not None:
        async for chunk in stream:
            said += chunk


def _drain(stream: FdStream | None, said: bytearray) -> None:
    """What the dead have left in the pipe."""
    if stream is not None:
        try:
            while chunk := os.read(stream.fileno(), 65536):
                said += chunk
        except BlockingIOError:
            pass  # somebody else holds its other end
