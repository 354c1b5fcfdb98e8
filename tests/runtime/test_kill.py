"""kill: which signal, to whom, and what is said when there's nobody."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.runtime.life import await_death, dead, freeze, reap, refused
from tests.waiting import until

Containers = Callable[..., str]
PROGRAM = """
trap 'echo hup >> /said' HUP; trap 'echo usr1 >> /said' USR1; trap 'echo rtmin+3 >> /said' 37
trap 'echo term >> /said' TERM; echo ready >> /said
while true; do sleep 0.02; done
"""
NAMES = [
    ("HUP", "hup"), ("SIGHUP", "hup"), ("sighup", "hup"), ("Hup", "hup"), ("1", "hup"),
    ("USR1", "usr1"), ("10", "usr1"), ("TERM", "term"), ("15", "term"), ("", "term"),
]  # fmt: skip


def writable(bundle: Bundles, script: str, **namespaces: object) -> Path:
    return bundle({"root": {"readonly": False}, **namespaces}, args=["sh", "-c", script])


@pytest.mark.parametrize("runtime", ["aiorun", "runc"])
def test_a_signal_is_meant_by_name_in_any_case_and_by_number(
    runtime: str, request: pytest.FixtureRequest, bundle: Bundles
) -> None:
    program: CommandLine = request.getfixturevalue(runtime)
    made = writable(bundle, PROGRAM)
    said = made / "rootfs" / "said"
    program("create", "--bundle", made, "x", check=True)
    program("start", "x", check=True)
    until(lambda: said.exists() and said.read_text() == "ready\n", "the program")
    heard = ["ready"]
    names = NAMES + ([("RTMIN+3", "rtmin+3"), ("sigrtmin+3", "rtmin+3"), ("37", "rtmin+3")] if runtime == "aiorun" else [])
    for name, meaning in names:
        assert program("kill", "x", *[name] * bool(name), check=True).stdout == ""
        heard.append(meaning)
        until(lambda: said.read_text().split() == heard, f"{name or 'TERM'} in the program")
    program("delete", "--force", "x", check=True)


@pytest.mark.parametrize("text", ["nosuch", "SIG", "SIGSIGHUP", "65", "-1", "RTMIN+31", "RTMAX+1", "1x", "KILL ", "-KILL"])
def test_an_unknown_signal_is_named(aiorun: CommandLine, bundle: Bundles, container: Containers, text: str) -> None:
    id = container(bundle(args=["sleep", "1000"]))
    assert refused(aiorun("kill", "--", id, text)) == f'unknown signal "{text}"'
    assert aiorun.state(id)["status"] == "created"


@pytest.mark.parametrize("runtime", ["aiorun", "runc"])
def test_the_dead_get_no_signal(runtime: str, request: pytest.FixtureRequest, bundle: Bundles) -> None:
    program: CommandLine = request.getfixturevalue(runtime)
    program("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
    pid = program.state("x")["pid"]
    program("kill", "x", "KILL", check=True)
    await_death(pid)
    for reaped in (False, True):  # a zombie is dead too
        if reaped:
            reap(pid)
        assert refused(program("kill", "x", "KILL")) == "container not running"
        assert refused(program("kill", "x")) == "container not running"
        program("kill", "--all", "x", "9", check=True)  # containerd's shim does it after each exit
    assert program.state("x")["status"] == "stopped"
    program("delete", "x", check=True)


def test_kill_ends_a_frozen_container(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    made = bundle(args=["sleep", "1000"])
    id = container(made)
    aiorun("start", id, check=True)
    pid = aiorun.state(id)["pid"]
    freeze(bundle.read(made)["linux"]["cgroupsPath"])
    aiorun("kill", id, "9", check=True)
    await_death(pid)
    assert reap(pid) == -signal.SIGKILL


@pytest.mark.parametrize("flags", [(), ("--all",)])
def test_kill_without_a_pid_namespace_reaches_all_of_the_cgroup(
    aiorun: CommandLine, bundle: Bundles, container: Containers, flags: tuple[str, ...]
) -> None:
    id = container(family(bundle))
    aiorun("start", id, check=True)
    init, child = two_processes(aiorun, id)
    aiorun("kill", *flags, id, "KILL", check=True)
    await_death(init)
    await_death(child)


def test_kill_after_the_init_reaches_what_is_left_of_the_cgroup(
    aiorun: CommandLine, bundle: Bundles, container: Containers
) -> None:
    id = container(family(bundle))
    aiorun("start", id, check=True)
    init, child = two_processes(aiorun, id)
    os.kill(init, signal.SIGKILL)
    await_death(init)
    assert not dead(child)
    aiorun("kill", id, "KILL", check=True)
    await_death(child)
    assert refused(aiorun("kill", id, "KILL")) == "container not running"


def test_another_signal_reaches_the_init_alone(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    id = container(family(bundle))
    aiorun("start", id, check=True)
    init, child = two_processes(aiorun, id)
    aiorun("kill", id, "TERM", check=True)
    await_death(init)
    assert not dead(child)
    aiorun("kill", "--all", id, "TERM", check=True)
    await_death(child)


def family(bundle: Bundles) -> Path:
    """A container in the host's pid namespace, whose init has a child."""
    return bundle(
        {"linux": {"namespaces": [{"type": "mount"}]}, "hostname": None}, args=["sh", "-c", "sleep 999 & exec sleep 1000"]
    )


def two_processes(aiorun: CommandLine, id: str) -> tuple[int, int]:
    init = aiorun.state(id)["pid"]
    children = Path(f"/proc/{init}/task/{init}/children")
    until(lambda: children.read_text().split(), "the init's child")
    until(lambda: Path(f"/proc/{init}/cmdline").read_bytes() == b"sleep\x001000\0", "the init's second program")
    return init, int(children.read_text())
