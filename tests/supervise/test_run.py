"""`run`: a container from its creation to its end, like trio.run_process."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import aiorun
from aiorun import Exit, Result
from tests.conftest import Config
from tests.runtime.life import dead
from tests.supervise.conftest import Jobs, Leftovers

LeftoversNow = Callable[[], Leftovers]


async def test_run_feeds_and_collects_and_says_how_it_ended(runtime: aiorun.Runtime, jobs: Jobs, root_dir: Path) -> None:
    sent = os.urandom(3 << 20)
    spec = jobs("sh", "-c", "tee /proc/self/fd/2; exit 6")
    assert await runtime.run(spec, bundle=jobs.bundle, input=sent, capture_output=True) == Result(
        Exit(code=6, signal=None), sent, sent, timed_out=False
    )
    assert os.listdir(root_dir) == []
    # who doesn't read what it is fed doesn't fail for it
    assert (await runtime.run(jobs(), bundle=jobs.bundle, input=sent)).exit.code == 0


async def test_run_takes_the_bundles_own_spec_and_an_id(
    runtime: aiorun.Runtime, jobs: Jobs, root_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = jobs("sh", "-c", "hostname", change={"hostname": "of-the-bundle"})
    import json

    (jobs.bundle / "config.json").write_text(json.dumps(config))
    async with trio.open_nursery() as nursery:
        async with runtime.container("taken", **jobs.options()):
            with pytest.raises(aiorun.ContainerExists):
                await runtime.run(bundle=jobs.bundle, id="taken")
        nursery.start_soon(lambda: runtime.run(bundle=jobs.bundle, id="taken"))
    assert capfd.readouterr() == ("of-the-bundle\n", "")  # not captured: it went where ours goes


async def test_the_module_has_a_run_of_its_own(jobs: Jobs, leftovers: LeftoversNow) -> None:
    before = leftovers()
    result = await aiorun.run(jobs("echo", "hello"), bundle=jobs.bundle, capture_output=True)
    assert (result.stdout, result.stderr, result.exit.code) == (b"hello\n", b"", 0)
    assert [kind for kind, _which in before.left() if kind != "fd"] == []  # the trio run keeps an epoll


@pytest.mark.parametrize("pid_namespace", ["its own", "the host's"])
async def test_a_timeout_ends_the_whole_tree_and_keeps_what_was_said(
    runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow, pid_namespace: str
) -> None:
    await runtime.run(jobs(), bundle=jobs.bundle)
    before = leftovers()
    spec = jobs("sh", "-c", "for i in 1 2 3; do setsid sleep 1000 & done; echo $!; exec sleep 1000")
    if pid_namespace == "the host's":
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "pid"]
    result = await runtime.run(spec, bundle=jobs.bundle, capture_output=True, timeout=0.5)
    assert (result.exit, result.timed_out) == (Exit(code=None, signal=9), True)
    if pid_namespace == "the host's":
        assert dead(int(result.stdout))
        await_no_child_alive(before)
    else:
        assert int(result.stdout) < 10
        assert before.left() == []


def await_no_child_alive(before: Leftovers) -> None:
    """Orphans become the test run's own children, which it reaps when the test is over: nothing but dead ones is left."""
    for kind, pid in before.left():
        assert kind == "process" and dead(int(pid))


async def test_a_timeout_ends_what_holds_the_output_after_the_programs_end(
    runtime: aiorun.Runtime, jobs: Jobs, leftovers: LeftoversNow
) -> None:
    spec = jobs("sh", "-c", "sleep 1000 & echo $!")
    spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "pid"]
    result = await runtime.run(spec, bundle=jobs.bundle, capture_output=True, timeout=0.5)
    assert (result.exit, result.timed_out) == (Exit(code=0, signal=None), True)
    assert dead(int(result.stdout))


async def test_a_timeout_loses_nothing_that_was_said_until_the_end(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    """It goes on saying things while it is being killed. What it has noted down was said before that."""
    script = "while :; do i=$((i+1)); echo $i; echo $i >>/noted; done"
    spec = jobs("sh", "-c", script, change={"root": {"readonly": False}})
    result = await runtime.run(spec, bundle=jobs.bundle, capture_output=True, timeout=0.2)
    noted = (jobs.bundle / "rootfs" / "noted").read_text().split()
    assert result.timed_out and len(noted) > 10
    assert result.stdout.split()[len(noted) - 1] == noted[-1].encode()


async def test_a_timeout_that_does_not_come_changes_nothing(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    result = await runtime.run(jobs("echo", "x"), bundle=jobs.bundle, capture_output=True, timeout=600)
    assert result == Result(Exit(code=0, signal=None), b"x\n", b"")


async def test_run_refuses_what_nobody_would_serve(runtime: aiorun.Runtime, jobs: Jobs, root_dir: Path) -> None:
    with pytest.raises(aiorun.UsageError, match=r"process.terminal"):
        await runtime.run(jobs(change={"process": {"terminal": True}}), bundle=jobs.bundle)
    with pytest.raises(aiorun.InitFailed, match=r"nosuch"):
        await runtime.run(jobs("nosuch"), bundle=jobs.bundle)
    assert not root_dir.exists() or os.listdir(root_dir) == []


async def test_a_spec_with_a_seccomp_profile_has_its_filter(runtime: aiorun.Runtime, jobs: Jobs) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOTTY}
    change: Config = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}}}
    for nnp in (False, True):
        change["process"] = {"noNewPrivileges": nnp}
        spec = jobs("sh", "-c", "mkdir /tmp/made; grep Seccomp: /proc/self/status", change=change)
        result = await runtime.run(spec, bundle=jobs.bundle, capture_output=True)
        assert result.stdout == b"Seccomp:\t2\n"
        assert os.strerror(errno.ENOTTY).encode() in (result.stderr or b"")
