"""The life of a container in a supervisor's hands, and how each step ends where it can't be done."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

import aiorun
from aiorun import Exit
from aiorun.store import State, Store
from tests.conftest import CommandLine
from tests.supervise.conftest import Jobs, Leftovers
from tests.waiting import until

SLEEPS = ("sleep", "1000")
LeftoversNow = Callable[[], Leftovers]


async def test_a_container_is_created_started_and_waited_for_and_gone_after_its_block(
    runtime: aiorun.Runtime, jobs: Jobs, aiorun: CommandLine, root_dir: Path
) -> None:
    async with runtime.container("job", **jobs.options("sh", "-c", "exit 7")) as job:
        assert (job.id, job.status, aiorun.state("job")["status"]) == ("job", "created", "created")
        assert job.pid == aiorun.state("job")["pid"]
        assert os.readlink(f"/proc/self/fd/{job.pidfd}") == "anon_inode:[pidfd]"
        assert job.spec is not None and job.spec["process"]["args"] == ["sh", "-c", "exit 7"]
        await job.start()
        assert await job.wait() == Exit(code=7, signal=None)
        assert (job.status, aiorun.state("job")["status"]) == ("stopped", "stopped")
    assert os.listdir(root_dir) == []
    assert job.pidfd == -1
    assert await job.wait() == Exit(code=7, signal=None)  # kept


async def test_an_exit_says_code_or_signal(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("job", **jobs.options(*SLEEPS)) as job:
        await job.start()
        await job.kill("KILL")
        exit = await job.wait()
    assert (exit.code, exit.signal, exit.known, exit.status) == (None, 9, True, 137)
    assert (await runtime.run(jobs("sh", "-c", "exit 137"), bundle=jobs.bundle)).exit == Exit(code=137, signal=None)


async def test_any_number_of_tasks_learn_of_one_exit(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    told: list[Exit] = []

    async def wait() -> None:
        told.append(await job.wait())

    async with runtime.container("job", **jobs.options(*SLEEPS)) as job, trio.open_nursery() as nursery:
        await job.start()
        for _ in range(100):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await job.delete(force=True)
    assert told == [Exit(code=None, signal=9)] * 100
    assert job.pidfd == -1


async def test_a_cancelled_wait_leaves_the_container_as_it_is(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("job", **jobs.options(*SLEEPS)) as job:
        await job.start()
        with trio.move_on_after(0.01) as scope:
            await job.wait()
        assert scope.cancelled_caught
        assert job.status == "running"


async def test_who_waits_still_learns_of_a_container_that_was_let_go_of(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    job = await runtime.create("job", **jobs.options(*SLEEPS), stdin=aiorun.PIPE, terminal=None)
    await job.start()
    told: list[Exit] = []

    async def wait() -> None:
        told.append(await job.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        job.close()
        assert job.stdin is not None
        with pytest.raises(trio.ClosedResourceError):
            await job.stdin.send_all(b"x")
        assert job.status == "running"
        os.kill(job.pid, signal.SIGKILL)
    assert told == [Exit(code=None, signal=9)] * 2
    assert job.pidfd == -1
    await job.delete()


async def test_a_second_start_is_refused_and_so_is_one_of_the_dead(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("job", **jobs.options(*SLEEPS)) as job:
        await job.start()
        with pytest.raises(aiorun.InvalidState, match=r"^cannot start an already running container$"):
            await job.start()
        await job.stop(grace=0)
        with pytest.raises(aiorun.InvalidState, match=r"^cannot start a container that has stopped$"):
            await job.start()


async def test_kill_takes_names_and_numbers_and_refuses_the_dead(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    traps = "trap 'echo USR1' USR1; trap 'echo HUP' HUP; trap 'exit 3' TERM; echo on; while :; do sleep 0.02; done"
    async with runtime.container("job", **jobs.options("sh", "-c", traps), stdout=aiorun.PIPE) as job:
        assert job.stdout is not None
        await job.start()
        for number, answer in ((0, b"on\n"), ("SIGUSR1", b"USR1\n"), ("hup", b"HUP\n"), (signal.SIGUSR1, b"USR1\n")):
            await job.kill(number)
            assert await job.stdout.receive_some() == answer
        with pytest.raises(aiorun.AiorunError, match=r'^unknown signal "NOSUCH"$'):
            await job.kill("NOSUCH")
        await job.kill()
        assert await job.wait() == Exit(code=3, signal=None)
        with pytest.raises(aiorun.InvalidState, match=r"^container not running$"):
            await job.kill()
        await job.kill("KILL", all=True)  # of the dead that's fine


async def test_stop_asks_first_and_kills_who_does_not_listen(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    listens = "trap 'exit 3' TERM; echo on; while :; do sleep 0.02; done"
    for script, grace, exit in ((listens, 60.0, Exit(3, None)), (listens.replace("exit 3", ""), 0.05, Exit(None, 9))):
        async with runtime.container("job", **jobs.options("sh", "-c", script), stdout=aiorun.PIPE) as job:
            assert job.stdout is not None
            await job.start()
            await job.stdout.receive_some()
            assert await job.stop(grace=grace) == exit
            assert await job.stop() == exit  # of one that has ended already
    async with runtime.container("job", **jobs.options()) as job:
        assert (await job.stop()).signal is None  # a created one dies of TERM, though it's PID 1


async def test_the_grace_of_a_block_is_for_its_good_end_alone(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    script = "trap 'exit 3' TERM; echo on; while :; do sleep 0.02; done"
    options = jobs.options("sh", "-c", script)
    async with runtime.container("job", **options, stdout=aiorun.PIPE, grace=60) as job:
        assert job.stdout is not None
        await job.start()
        await job.stdout.receive_some()
    assert await job.wait() == Exit(code=3, signal=None)
    with pytest.raises(ZeroDivisionError):
        async with runtime.container("job", **options, stdout=aiorun.PIPE, grace=60) as job:
            assert job.stdout is not None
            await job.start()
            await job.stdout.receive_some()
            _ = 1 / 0
    assert await job.wait() == Exit(code=None, signal=9)


async def test_delete_refuses_the_running_and_keeps_the_exit_of_the_dead(
    runtime: aiorun.Runtime, jobs: Jobs, root_dir: Path
) -> None:
    job = await runtime.create("job", **jobs.options(*SLEEPS))
    await job.start()
    with pytest.raises(aiorun.InvalidState, match=r"^cannot delete container job that is not stopped: running$"):
        await job.delete()
    assert job.status == "running"
    await job.kill("INT")  # PID 1 without a handler: it stays
    await job.delete(force=True)
    assert (await job.wait(), os.listdir(root_dir)) == (Exit(None, 9), [])
    await job.delete(force=True)  # deleted already
    with pytest.raises(aiorun.ContainerNotFound):
        await job.delete()

    job = await runtime.create("job", **jobs.options("sh", "-c", "exit 5"))
    await job.start()
    pidfd = os.dup(job.pidfd)
    await trio.lowlevel.wait_readable(pidfd)
    os.close(pidfd)
    await job.delete()  # nobody has waited for it
    assert await job.wait() == Exit(code=5, signal=None)

    job = await runtime.create("job", **jobs.options())
    await job.delete()  # created: no flag needed
    assert (await job.wait(), job.status, os.listdir(root_dir)) == (Exit(None, 9), "stopped", [])


async def test_a_cancel_does_not_keep_aclose_from_its_work(runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow) -> None:
    await runtime.run(jobs(), bundle=jobs.bundle)
    before = leftovers()
    job = await runtime.create("job", **jobs.options(*SLEEPS), stdin=aiorun.PIPE, stdout=aiorun.PIPE, stderr=aiorun.PIPE)
    await job.start()
    with trio.CancelScope() as scope:
        scope.cancel()
        await job.aclose()
    assert before.left() == []


async def test_an_id_belongs_to_one_container(runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow) -> None:
    async with runtime.container("job", **jobs.options(*SLEEPS)) as job:
        before = leftovers()
        with pytest.raises(aiorun.ContainerExists, match=r"^container with given ID already exists$"):
            await runtime.create("job", **jobs.options())
        with pytest.raises(aiorun.InvalidId, match=r"^invalid container ID format$"):
            await runtime.create("no/thing", **jobs.options())
        assert before.left() == []
        assert job.status == "created"


async def test_a_container_never_touches_another_one_that_has_its_id_by_now(
    runtime: aiorun.Runtime, jobs: Jobs, aiorun: CommandLine
) -> None:
    from aiorun import ContainerNotFound

    first = await runtime.create("job", **jobs.options(*SLEEPS))
    aiorun("delete", "--force", "job", check=True)  # somebody else
    async with runtime.container("job", **jobs.options(*SLEEPS)) as second:
        for attempt in (first.start(), first.kill("KILL"), first.delete()):
            with pytest.raises(ContainerNotFound):
                await attempt
        await first.aclose()
        assert (await first.wait()).signal == 9
        assert second.status == "created"


async def test_load_finds_what_others_have_made(
    runtime: aiorun.Runtime, jobs: Jobs, container: Callable[..., str], root_dir: Path
) -> None:
    id = container(jobs.bundle)
    loaded = await runtime.load(id)
    assert (loaded.status, loaded.spec, loaded.stdin) == ("created", None, None)
    await loaded.start()
    await loaded.wait()
    assert loaded.status == "stopped"
    loaded.close()
    assert loaded.pidfd == -1
    with pytest.raises(aiorun.ContainerNotFound, match=r"^container does not exist$"):
        await runtime.load("nosuch")

    store = Store(str(root_dir))
    for name, content in (("half", None), ("broken", b"{"), ("making", True)):
        with store.make(name) as directory:
            if content is True:
                directory.write(State(oci_version="1.0.2", id=name, bundle="/", rootfs="/", created="now", owner=0))
            elif content:
                (root_dir / name / "state.json").write_bytes(content)
    found = await runtime.load_all()
    assert [each.id for each in found] == [id]
    for each in found:
        await each.aclose()
    for name in ("half", "broken"):
        with pytest.raises(aiorun.AiorunError):
            await runtime.load(name)
    await (await runtime.load("making")).delete(force=True)  # what a killed create has left
    assert sorted(os.listdir(root_dir)) == ["broken", "half"]
    for name in ("broken", "half"):
        (root_dir / name / "state.json").unlink(missing_ok=True)
        (root_dir / name).rmdir()


async def test_two_runtimes_in_one_process_do_not_know_each_other(
    runtime: aiorun.Runtime, jobs: Jobs, tmp_path: Path, root_dir: Path
) -> None:
    async with (
        aiorun.Runtime(root=tmp_path / "other") as other,
        aiorun.Runtime(root=root_dir) as same,
        runtime.container("job", **jobs.options(*SLEEPS)) as one,
        other.container("job", **jobs.options(*SLEEPS)) as two,
    ):
        for runtimes in (runtime, same):
            found = await runtimes.load_all()
            assert [each.pid for each in found] == [one.pid]
            found[0].close()
            assert found[0].status == "created"  # let go of, and otherwise left alone
        other.close()  # its launcher has gone
        await two.start()
        await one.start()
        assert (await two.stop(grace=0)).signal == 9
        assert one.status == "running"


async def test_one_runtime_serves_several_nurseries(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    exits: list[int | None] = []

    async def make(code: int) -> None:
        exits.append((await runtime.run(jobs("sh", "-c", f"exit {code}"), bundle=jobs.bundle)).exit.code)

    async with trio.open_nursery() as first, trio.open_nursery() as second:
        for code in range(4):
            first.start_soon(make, code)
            second.start_soon(make, 10 + code)
    assert sorted(code or 0 for code in exits) == [0, 1, 2, 3, 10, 11, 12, 13]


async def test_a_closed_runtime_makes_no_more_containers(runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow) -> None:
    before = leftovers()
    runtime.close()
    with pytest.raises(aiorun.InvalidState, match=r'^create "job": the Runtime is closed$'):
        await runtime.create("job", **jobs.options())
    assert before.left() == []


async def test_what_cannot_be_created_says_why_and_leaves_nothing(
    runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow
) -> None:
    await runtime.run(jobs(), bundle=jobs.bundle)
    before = leftovers()

    async def refused(kind: type[Exception], words: str, *args: str, **change: object) -> None:
        with pytest.raises(kind) as caught:
            await runtime.create("job", **jobs.options(*args, change=change), stdout=aiorun.PIPE)
        assert type(caught.value) is kind
        assert words in str(caught.value)
        assert before.left() == []

    await refused(aiorun.InitFailed, 'exec: "nosuch": executable file not found in $PATH', "nosuch")
    await refused(aiorun.InvalidSpec, "process.cwd", process={"cwd": 5})
    await refused(aiorun.InvalidSpec, "process", process=None)
    await refused(aiorun.HookFailed, "error running createRuntime hook #0", hooks={"createRuntime": [{"path": "/bin/false"}]})
    await refused(aiorun.HookFailed, "createContainer hook #0", hooks={"createContainer": [{"path": "/bin/false"}]})
    with pytest.raises(aiorun.AiorunError, match=r"config.json not found"):
        await runtime.create("job", bundle=jobs.bundle / "rootfs")
    with pytest.raises(aiorun.UsageError, match=r"neither a bundle nor a spec"):
        await runtime.create("job")
    assert before.left() == []


async def test_a_failed_start_says_why(runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow, root_dir: Path) -> None:
    await runtime.run(jobs(), bundle=jobs.bundle)
    before = leftovers()
    fails = [{"path": "/bin/false"}]
    async with runtime.container("job", **jobs.options(change={"hooks": {"startContainer": fails}})) as job:
        with pytest.raises(aiorun.InitFailed, match=r"startContainer hook #0"):
            await job.start()
        assert await job.wait() == Exit(code=1, signal=None)
    async with runtime.container("job", **jobs.options(*SLEEPS, change={"hooks": {"poststart": fails}})) as job:
        with pytest.raises(aiorun.HookFailed, match=r"error running poststart hook #0"):
            await job.start()
        assert os.listdir(root_dir) == []  # a failed poststart hook ends the container
        assert await job.wait() == Exit(code=None, signal=9)
    async with runtime.container("job", **jobs.options(*SLEEPS)) as job:
        os.kill(job.pid, signal.SIGKILL)
        with pytest.raises(aiorun.AiorunError, match=r"already dead|has stopped"):
            await job.start()
    async with runtime.container("job", **jobs.options(change={"hooks": {"poststop": fails}})) as job:
        await job.start()  # and the failure of a poststop hook is nobody's
    assert before.left() == []


async def test_an_exit_tells_of_the_memory_limit(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    limits = {"linux": {"resources": {"memory": {"limit": 16 << 20, "swap": 16 << 20}}}}
    options = jobs.options("sh", "-c", "tail /dev/zero", change=limits)
    async with runtime.container("job", **options) as job:
        await job.start()
        exit = await job.wait()
    assert (exit.status, exit.oom_killed) == (137, True)
    job = await runtime.create("job", **options)
    await job.start()
    pidfd = os.dup(job.pidfd)
    await trio.lowlevel.wait_readable(pidfd)
    os.close(pidfd)
    await job.delete()
    assert (await job.wait()).oom_killed  # seen before its cgroup was gone


async def test_a_container_whose_directory_somebody_took_away_is_ended_all_the_same(
    runtime: aiorun.Runtime, jobs: Jobs, root_dir: Path, aiorun: CommandLine
) -> None:
    job = await runtime.create("job", **jobs.options(*SLEEPS))
    await job.start()
    hidden = root_dir.parent / "hidden"
    (root_dir / "job").rename(hidden)
    await job.aclose()
    assert (await job.wait()).signal == 9
    hidden.rename(root_dir / "job")
    until(lambda: aiorun.state("job")["status"] == "stopped", "the state to say so")
    aiorun("delete", "job", check=True)


async def test_a_paused_container_is_resumed_or_ended(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("job", **jobs.options(*SLEEPS)) as job:
        with pytest.raises(aiorun.InvalidState, match=r"^container not paused$"):
            await job.resume()
        await job.start()
        await job.pause()
        assert job.status == "paused"
        with pytest.raises(aiorun.InvalidState, match=r"^container not running$"):
            await job.pause()
        await job.resume()
        assert job.status == "running"
        await job.pause()
        assert (await job.stop(grace=0)).signal == signal.SIGKILL
        with pytest.raises(aiorun.InvalidState, match=r"^container not running$"):
            await job.pause()
        with pytest.raises(aiorun.InvalidState, match=r"^container not paused$"):
            await job.resume()
    with pytest.raises(aiorun.InvalidState, match=r"^container not running$"):
        await job.pause()


async def test_an_update_changes_what_it_names(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    async with runtime.container("job", **jobs.options(*SLEEPS, change={"linux": {"resources": {"pids": {"limit": 50}}}})) as job:
        directory = job.state.cgroup_paths.get("pids") or job.state.cgroup_paths[""]
        await job.update({"pids": {"limit": 20}, "memory": {"limit": 0}})
        assert Path(directory, "pids.max").read_text() == "20\n"
        with pytest.raises(aiorun.InvalidSpec, match=r"^pids\.limit: must be an integer, not a string$"):
            await job.update({"pids": {"limit": "5"}})
        with pytest.raises(aiorun.CgroupError, match=r"^set linux\.resources\.cpu\.cpus to 4000 "):
            await job.update({"pids": {"limit": 7}, "cpu": {"cpus": "4000"}})
        assert Path(directory, "pids.max").read_text() == "20\n"
        await job.kill("KILL")
        await job.wait()
        with pytest.raises(aiorun.InvalidState, match=r"^container not running$"):
            await job.update({"pids": {"limit": 7}})
