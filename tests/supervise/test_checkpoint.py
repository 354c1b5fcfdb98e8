"""checkpoint and restore through the library; skipped where criu doesn't work on the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

import aiorun
from tests.conftest import need_criu, need_root
from tests.container.configs import writable
from tests.supervise.conftest import Jobs

COUNT = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done"


@pytest.fixture(autouse=True)
def criu() -> None:
    need_root()
    need_criu()


async def line(container: aiorun.Container) -> str:
    """The next line that it prints, read byte by byte: what comes after it stays in the pipe."""
    said = b""
    assert container.stdout is not None
    while not said.endswith(b"\n"):
        chunk = await container.stdout.receive_some(1)
        assert chunk, f"the end, after {said!r}"
        said += chunk
    return said.decode().strip()


async def test_a_container_goes_on_with_other_streams(runtime: aiorun.Runtime, jobs: Jobs, tmp_path: Path) -> None:
    options = {**jobs.options("sh", "-c", COUNT, change=writable()), "stdout": aiorun.PIPE, "stderr": aiorun.DEVNULL}
    first = await runtime.create("c", **options)
    await first.start()
    assert await line(first) == "0"
    await first.checkpoint(tmp_path / "images", work=tmp_path / "work")
    assert (await first.wait()).signal == 9
    with pytest.raises(aiorun.ContainerNotFound):
        await runtime.load("c")
    first.close()

    second = await runtime.restore("c", tmp_path / "images", **options)
    assert second.status == "running"
    assert int(await line(second)) > 0
    await second.kill("KILL")
    assert (await second.wait()).signal == 9
    await second.aclose()


async def test_a_restore_that_is_cancelled_leaves_nothing(runtime: aiorun.Runtime, jobs: Jobs, tmp_path: Path) -> None:
    options = {**jobs.options("sh", "-c", COUNT, change=writable()), "stdout": aiorun.PIPE, "stderr": aiorun.DEVNULL}
    container = await runtime.create("c", **options)
    await container.start()
    await container.checkpoint(tmp_path / "images")
    container.close()
    log = tmp_path / "images" / "restore.log"
    made: list[aiorun.Container] = []

    async def restore() -> None:
        made.append(await runtime.restore("c", tmp_path / "images", **options))

    for turns in (0, 2, 5, 10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restore)
            while not log.exists():
                await trio.sleep(0.001)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        for container in made:  # it was faster
            await container.aclose()
        made.clear()
        log.unlink()
        with pytest.raises(aiorun.ContainerNotFound):
            await runtime.load("c")


async def test_a_checkpoint_that_is_cancelled_lets_the_container_go_on(
    runtime: aiorun.Runtime, jobs: Jobs, tmp_path: Path
) -> None:
    options = {**jobs.options("sh", "-c", COUNT, change=writable()), "stdout": aiorun.PIPE, "stderr": aiorun.DEVNULL}
    async with runtime.container("c", **options) as container:
        await container.start()
        with trio.CancelScope() as scope:
            scope.cancel()
            await container.checkpoint(tmp_path / "images")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(container.checkpoint, tmp_path / "images")
            while not (tmp_path / "images" / "dump.log").exists():
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert container.status == "running"
        before = int(await line(container))
        assert int(await line(container)) == before + 1
