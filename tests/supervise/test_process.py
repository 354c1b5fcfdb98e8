"""One more process in a container, through the library: prepared, started, talked to, ended."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

import aiorun
from tests.runtime.life import dead, has_execd
from tests.supervise.conftest import Jobs, Leftovers


@pytest.fixture
async def box(runtime: aiorun.Runtime, jobs: Jobs) -> AsyncIterator[aiorun.Container]:
    """A container that sleeps, with a root file system that may be written to."""
    options = jobs.options("sleep", "1000", change={"root": {"readonly": False}})
    async with runtime.container("box", **options) as box:
        await box.start()
        yield box


def root(jobs: Jobs) -> Path:
    return jobs.bundle / "rootfs"


async def test_what_is_prepared_has_not_begun(box: aiorun.Container, jobs: Jobs) -> None:
    async with box.process(["sh", "-c", "touch /begun; exit 3"]) as process:
        assert not has_execd(process.pid)
        assert not (root(jobs) / "begun").exists()
        await process.start()
        assert await process.wait() == aiorun.Exit(3, None)
        assert (root(jobs) / "begun").exists()
    assert await process.wait() == aiorun.Exit(3, None)
    assert process.pidfd == -1


async def test_streams_are_the_containers_kind(box: aiorun.Container) -> None:
    script = "read word; echo you said $word; echo bad >&2"
    async with box.process(["sh", "-c", script], stdin=aiorun.PIPE, stdout=aiorun.PIPE, stderr=aiorun.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        await process.start()
        await process.stdin.send_all(b"hello\n")
        assert await process.stdout.receive_some() == b"you said hello\n"
        assert await process.stderr.receive_some() == b"bad\n"
        assert (await process.wait()).code == 0


async def test_a_terminal_has_its_size_and_can_be_resized(box: aiorun.Container) -> None:
    script = "trap 'stty -a | head -n 1; exit 5' WINCH; tty; stty -a | head -n 1; while :; do read x; done"
    async with box.process(["sh", "-c", script], terminal=aiorun.Size(33, 99)) as shell:
        assert shell.terminal is not None
        await shell.start()
        said = b""
        while b"columns 99" not in said:
            said += await shell.terminal.receive_some()
        assert said.startswith(b"/dev/pts/0\r\n")
        shell.terminal.resize(aiorun.Size(50, 132))
        async for chunk in shell.terminal:
            said += chunk
        assert b"rows 50; columns 132" in said
        assert (await shell.wait()).code == 5


async def test_exec_is_a_process_from_start_to_end(box: aiorun.Container) -> None:
    result = await box.exec(["sh", "-c", "cat; echo bad >&2; exit 7"], input=b"word", capture_output=True)
    assert (result.exit, result.stdout, result.stderr, result.timed_out) == (aiorun.Exit(7, None), b"word", b"bad\n", False)


async def test_a_timeout_kills_it_and_keeps_what_it_said(box: aiorun.Container) -> None:
    result = await box.exec(["sh", "-c", "echo busy; while :; do :; done"], capture_output=True, timeout=0.5)
    assert (result.exit, result.stdout, result.timed_out) == (aiorun.Exit(None, 9), b"busy\n", True)
    assert box.status == "running"


async def test_who_it_is_can_be_said(box: aiorun.Container) -> None:
    script = (
        "id -u; id -g; id -G; pwd; echo $A; grep NoNewPrivs /proc/self/status | cut -f2; grep CapBnd /proc/self/status | cut -f2"
    )
    result = await box.exec(
        ["sh", "-c", script], capture_output=True, user=(1000, 5), groups=[6], cwd="/tmp", env={"A": "b"},
        no_new_privileges=False, capabilities=["CAP_SYS_TIME"],
    )  # fmt: skip
    assert result.stdout.decode().splitlines()[:6] == ["1000", "5", "5 6", "/tmp", "b", "0"]
    assert int(result.stdout.split()[-1], 16) & 1 << 25


async def test_a_document_of_its_own_counts(box: aiorun.Container) -> None:
    document = {"args": ["sh", "-c", "echo $0 $A"], "cwd": "/tmp", "env": ["A=b", "PATH=/bin"]}
    result = await box.exec(document=document, capture_output=True)
    assert result.stdout == b"sh b\n"
    with pytest.raises(aiorun.InvalidSpec, match=r"^process\.cwd: must be a string, not an integer$"):
        await box.exec(document={**document, "cwd": 5})


async def test_what_cannot_be_executed_is_told(box: aiorun.Container, jobs: Jobs, leftovers: Callable[[], Leftovers]) -> None:
    before = leftovers()
    with pytest.raises(aiorun.InitFailed, match='exec: "nosuch": executable file not found in'):
        await box.exec(["nosuch"])
    program = root(jobs) / "bin" / "odd"
    program.write_text("no program")
    program.chmod(0o755)
    async with box.process(["odd"]) as process:
        with pytest.raises(aiorun.InitFailed, match=r'exec "odd": exec format error$'):
            await process.start()
        assert (await process.wait()).code == 1
        with pytest.raises(aiorun.InvalidState, match=r"^cannot start a process twice$"):
            await process.start()
    assert before.left() == []


async def test_signals_reach_it_and_not_the_dead(box: aiorun.Container) -> None:
    async with box.process(["sleep", "1000"]) as process:
        await process.start()
        await process.kill("USR1")
        assert await process.wait() == aiorun.Exit(None, signal.SIGUSR1)
        with pytest.raises(aiorun.InvalidState, match=r"^process not running$"):
            await process.kill()


async def test_leaving_the_block_ends_it_and_only_it(box: aiorun.Container, leftovers: Callable[[], Leftovers]) -> None:
    before = leftovers()
    async with box.process(["sleep", "1000"]) as started, box.process(["sleep", "1000"]) as waiting:
        await started.start()
    assert dead(started.pid)
    assert dead(waiting.pid)
    assert before.left() == []
    assert box.status == "running"


async def test_a_cancel_at_any_time_leaves_nothing(box: aiorun.Container, leftovers: Callable[[], Leftovers]) -> None:
    before = leftovers()
    ended = 0
    for delay in range(0, 40, 2):
        with trio.move_on_after(delay / 1000):
            await box.exec(["sleep", "0"])
            ended += 1
        assert before.left() == []
    assert box.status == "running"
    assert ended < 20


async def test_many_at_once_have_each_their_own_exit(box: aiorun.Container) -> None:
    codes: dict[int, int | None] = {}

    async def one(number: int) -> None:
        codes[number] = (await box.exec(["sh", "-c", f"exit {number}"])).exit.code

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, number)
    assert codes == {number: number for number in range(50)}


async def test_the_end_of_the_container_is_its_end(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("box", **jobs.options("sleep", "1000")) as box:
        await box.start()
        async with box.process(["sleep", "1000"]) as process:
            await process.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.kill, "KILL")
                assert await process.wait() == aiorun.Exit(None, 9)
            await box.wait()
        with pytest.raises(aiorun.InvalidState, match=r"^cannot exec in a stopped container$"):
            await box.exec(["true"])


async def test_a_process_that_the_kernel_killed_for_memory_says_so(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    change = {"linux": {"resources": {"memory": {"limit": 16 << 20, "swap": 16 << 20}}}}
    async with runtime.container("box", **jobs.options("sleep", "1000", change=change)) as box:
        await box.start()
        result = await box.exec(["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1"], capture_output=True)
        assert result.exit.status in (137, 0)
        direct = await box.exec(["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"], capture_output=True)
        assert direct.exit == aiorun.Exit(None, 9, oom_killed=True)
        assert (await box.exec(["true"])).exit == aiorun.Exit(0, None)


async def test_containers_that_were_loaded_and_created_ones_take_processes(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("box", **jobs.options("sleep", "1000")) as box:
        again = await runtime.load("box")
        assert (await again.exec(["echo", "hello"], capture_output=True)).stdout == b"hello\n"
        assert box.status == "created"
        again.close()


async def test_a_closed_runtime_executes_nothing(root_dir: Path, jobs: Jobs) -> None:
    runtime = aiorun.Runtime(root=root_dir)
    box = await runtime.create("box", **jobs.options("sleep", "1000"))
    runtime.close()
    with pytest.raises(aiorun.InvalidState, match=r'^execute in "box": the Runtime is closed$'):
        await box.exec(["true"])
    await box.aclose()


async def test_a_terminal_that_nobody_would_serve_is_refused(box: aiorun.Container) -> None:
    document = {"args": ["/bin/true"], "cwd": "/", "terminal": True}
    with pytest.raises(aiorun.UsageError, match=r"^execute a process with a terminal: nobody would serve it$"):
        await box.exec(document=document)


async def test_a_supervisors_own_output_is_the_processs(box: aiorun.Container, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        async with box.process(["echo", "hello"], stdout=out) as process:
            await process.start()
            await process.wait()
    assert (tmp_path / "out").read_bytes() == b"hello\n"
