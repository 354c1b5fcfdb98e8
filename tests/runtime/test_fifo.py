"""created: an init that waits at exec.fifo, and what becomes of it. CONTRACT, "Life of a container"."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.runtime.life import await_death, dead, freeze, has_execd, letter, reap, refused
from tests.waiting import until

Containers = Callable[..., str]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def sleeper(bundle: Bundles) -> Path:
    return bundle(args=["sleep", "1000"])


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_create_leaves_an_init_at_the_fifo_before_the_program(
    aiorun: CommandLine, bundle: Bundles, container: Containers, umask: int
) -> None:
    made = bundle({"root": {"readonly": False}}, args=["sh", "-c", "touch /ran; exec sleep 1000"])
    id = container(made, umask=umask)
    directory = aiorun.root / id
    assert (mode(directory), mode(directory / "state.json"), mode(directory / "exec.fifo")) == (0o711, 0o600, 0o622)
    assert stat.S_ISFIFO((directory / "exec.fifo").lstat().st_mode)
    state = aiorun.state(id)
    assert state["status"] == "created"
    assert not has_execd(state["pid"])
    assert not (made / "rootfs" / "ran").exists()

    assert aiorun("start", id, check=True).stdout == ""
    assert not (directory / "exec.fifo").exists()
    assert aiorun.state(id) == {**state, "status": "running"}
    assert has_execd(state["pid"])
    until((made / "rootfs" / "ran").exists, "the program")


def test_start_returns_once_the_program_is_execd(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    id = container(sleeper(bundle))
    pid = aiorun.state(id)["pid"]
    aiorun("start", id, check=True)
    assert has_execd(pid)


@pytest.mark.parametrize("runtime", ["aiorun", "runc"])
def test_a_container_is_started_once(runtime: str, request: pytest.FixtureRequest, bundle: Bundles) -> None:
    program: CommandLine = request.getfixturevalue(runtime)
    made = sleeper(bundle)
    program("create", "--bundle", made, "x", check=True)
    cgroup = bundle.read(made)["linux"]["cgroupsPath"]
    try:
        if runtime == "aiorun":  # runc 1.1.5 calls a frozen created container created
            freeze(cgroup)
            assert refused(program("start", "x")) == "cannot start a container in the paused state"
            freeze(cgroup, False)
        pid = program.state("x")["pid"]
        program("start", "x", check=True)
        assert refused(program("start", "x")) == "cannot start an already running container"
        freeze(cgroup)
        assert refused(program("start", "x")) == "cannot start a container in the paused state"
        freeze(cgroup, False)
        program("kill", "x", "KILL", check=True)
        await_death(pid)
        assert refused(program("start", "x")) == "cannot start a container that has stopped"
        reap(pid)
        assert refused(program("start", "x")) == "cannot start a container that has stopped"
    finally:
        program("delete", "--force", "x", check=True)


def test_start_of_a_dead_init_fails_at_once(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    id = container(sleeper(bundle))
    pid = aiorun.state(id)["pid"]
    os.kill(pid, signal.SIGKILL)
    ended = aiorun("start", id)
    assert refused(ended) in ("container process is already dead", "cannot start a container that has stopped")
    await_death(pid)
    assert aiorun.state(id)["status"] == "stopped"
    assert aiorun.state(id)["pid"] == 0


@pytest.mark.parametrize("reaped", [False, True])
def test_start_ends_when_the_init_dies_while_it_waits(
    aiorun: CommandLine, bundle: Bundles, container: Containers, reaped: bool
) -> None:
    id = container(sleeper(bundle))
    pid = aiorun.state(id)["pid"]
    os.kill(pid, signal.SIGSTOP)  # so that it never answers
    until(lambda: letter(pid) == "T", "the init to stop")
    started = aiorun.popen("start", id, stderr=subprocess.PIPE)
    until(lambda: opened(started.pid, aiorun.root / id / "exec.fifo"), "start at the fifo")
    os.kill(pid, signal.SIGKILL)
    if reaped:
        assert reap(pid) == -signal.SIGKILL
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 1
    assert b"container process is already dead" in said
    assert aiorun.state(id)["status"] == "stopped"


def opened(pid: int, path: Path) -> bool:
    """Whether a process has `path` open."""
    try:
        return any(os.readlink(entry.path) == str(path) for entry in os.scandir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return False


def test_start_tells_why_the_program_could_not_be_execd(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    made = bundle(args=["/script"])
    script = made / "rootfs" / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    id = container(made)
    assert refused(aiorun("start", id)) == 'exec "/script": no such file or directory'
    assert aiorun.state(id)["status"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_a_created_container_though_it_is_pid_1(
    aiorun: CommandLine, bundle: Bundles, container: Containers, number: signal.Signals
) -> None:
    id = container(sleeper(bundle))
    pid = aiorun.state(id)["pid"]
    aiorun("kill", id, number.name, check=True)
    await_death(pid)
    assert aiorun.state(id)["status"] == "stopped"
    aiorun("delete", id, check=True)


def test_a_term_right_after_create_is_never_lost(aiorun: CommandLine, bundle: Bundles) -> None:
    def term_fifty(made: Path) -> None:
        for _ in range(50):
            aiorun("create", "--bundle", made, "--pid-file", made / "pid", made.name, check=True)
            pid = int((made / "pid").read_text())
            os.kill(pid, signal.SIGTERM)
            until(lambda: dead(pid), "a created container to die of TERM")  # noqa: B023
            aiorun("delete", made.name, check=True)
            reap(pid)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(term_fifty, [bundle(cheap) for _ in range(4)]))


def cheap(config: dict[str, object]) -> None:
    """A container of one namespace that matters here: its init is PID 1."""
    config.pop("hostname")
    linux = config["linux"]
    assert isinstance(linux, dict)
    config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    linux["namespaces"] = [{"type": "pid"}, {"type": "mount"}]
    linux["maskedPaths"] = linux["readonlyPaths"] = []
