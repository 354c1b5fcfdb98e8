"""NOTIFY_SOCKET, LISTEN_FDS and --no-subreaper: what a service manager that calls us itself relies on."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.waiting import until

SECONDS = 30


class Host:
    """A service manager's end: what it is told, and each barrier let through."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self.socket.settimeout(SECONDS)

    def hear(self) -> str:
        """The next datagram. A barrier's fd is closed, which is the answer to it."""
        text, fds, _, _ = socket.recv_fds(self.socket, 4096, 1)
        for fd in fds:
            os.close(fd)
        return text.decode()

    def env(self) -> dict[str, str]:
        return {**os.environ, "NOTIFY_SOCKET": self.path}


@pytest.fixture(params=["path", "abstract"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    made = Host(f"{tmp_path}/host.sock" if request.param == "path" else f"@aiorun-test-{os.getpid()}")
    yield made
    made.socket.close()


@pytest.fixture
def program(bundle: Bundles) -> Path:
    """A bundle whose program lives until it's killed."""
    return bundle(args=["sleep", "1000"])


def say(aiorun: CommandLine, text: str) -> None:
    """Say it as the container's program would: through its /run/notify."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def is_said() -> bool:
        try:
            pid = aiorun.state("x")["pid"] if (aiorun.root / "x" / "notify" / "notify.sock").exists() else 0
            sock.sendto(text.encode(), f"/proc/{pid}/root/run/notify/notify.sock")
        except OSError:
            return False
        return True

    with contextlib.closing(sock):
        until(is_said, "a socket in the container")


def test_start_waits_until_the_program_is_ready_and_tells_the_host(host: Host, program: Path, aiorun: CommandLine) -> None:
    aiorun("create", "--bundle", program, "x", check=True, env=host.env())
    starting = aiorun.popen("start", "x", env=host.env())
    try:
        say(aiorun, "STATUS=up\nREADY=1")
        assert host.hear() == f"READY=1\nMAINPID={aiorun.state('x')['pid']}\n"
        assert host.hear() == "BARRIER=1"
        assert starting.wait(SECONDS) == 0
    finally:
        aiorun("delete", "--force", "x", check=True)
    assert not (aiorun.root / "x").exists()


def test_run_detached_waits_for_the_barrier_too(host: Host, program: Path, aiorun: CommandLine) -> None:
    """Who ends before the host has read its message isn't known to it any more."""
    running = aiorun.popen("run", "--detach", "--bundle", program, "x", env=host.env(), stdin=subprocess.DEVNULL)
    try:
        say(aiorun, "READY=1\n")
        assert host.hear().startswith("READY=1\nMAINPID=")
        text, (barrier,), _, _ = socket.recv_fds(host.socket, 4096, 1)
        assert text == b"BARRIER=1"
        assert running.poll() is None
        os.close(barrier)
        assert running.wait(SECONDS) == 0
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_in_front_we_stay_the_main_process(host: Host, program: Path, aiorun: CommandLine) -> None:
    running = aiorun.popen("run", "--bundle", program, "x", env=host.env(), stdin=subprocess.DEVNULL)
    say(aiorun, "READY=1")
    assert host.hear() == f"READY=1\nMAINPID={running.pid}\n"
    assert host.hear() == "BARRIER=1"
    aiorun("kill", "x", "KILL", check=True)
    assert running.wait(SECONDS) == 137
    assert not (aiorun.root / "x").exists()


@pytest.mark.parametrize("said", ["STATUS=READY=1", "READY=0", "XREADY=1", "MAINPID=1\nFDSTORE=1"])
def test_nothing_but_ready_is_passed_on(said: str, host: Host, program: Path, aiorun: CommandLine) -> None:
    """A container has no business with the other settings of the unit that it runs in."""
    aiorun("create", "--bundle", program, "x", check=True, env=host.env())
    starting = aiorun.popen("start", "x", env=host.env())
    try:
        say(aiorun, said)
        aiorun("kill", "x", "KILL", check=True)
        assert starting.wait(SECONDS) == 0, "a program that ends is waited for no longer"
        host.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            host.hear()
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_the_container_cannot_change_its_directory_of_the_socket(host: Host, bundle: Bundles, aiorun: CommandLine) -> None:
    made = bundle(
        args=["sh", "-c", "rm /run/notify/notify.sock; touch /run/notify/x; echo $NOTIFY_SOCKET; grep /run/notify /proc/mounts"]
    )
    ended = aiorun("run", "--bundle", made, "x", env=host.env())
    assert ended.stderr.count("Read-only file system") == 2
    lines = ended.stdout.splitlines()
    assert lines[0] == "/run/notify/notify.sock"
    assert lines[1].split()[3].split(",")[:4] == ["ro", "nosuid", "nodev", "noexec"]


def test_its_environment_has_one_socket_only(host: Host, bundle: Bundles, aiorun: CommandLine) -> None:
    made = bundle(args=["env"])
    config = bundle.read(made)
    config["process"]["env"] += ["NOTIFY_SOCKET=/elsewhere"]
    bundle.write(made, config)
    lines = aiorun("run", "--bundle", made, "x", env=host.env(), check=True).stdout.splitlines()
    assert [line for line in lines if line.startswith("NOTIFY_SOCKET=")] == ["NOTIFY_SOCKET=/run/notify/notify.sock"]


def test_a_start_without_a_created_socket_says_so(host: Host, bundle: Bundles, aiorun: CommandLine) -> None:
    aiorun("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
    try:
        ended = aiorun("start", "x", env=host.env())
        assert ended.returncode == 1
        assert "for NOTIFY_SOCKET: no such file or directory" in ended.stderr
        assert aiorun.state("x")["status"] == "created"
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_a_host_that_is_gone_is_an_error_of_start(tmp_path: Path, program: Path, aiorun: CommandLine) -> None:
    env = {**os.environ, "NOTIFY_SOCKET": f"{tmp_path}/gone.sock"}
    aiorun("create", "--bundle", program, "x", check=True, env=env)
    try:
        starting = aiorun.popen("start", "x", env=env, stderr=subprocess.PIPE)
        say(aiorun, "READY=1")
        _, said = starting.communicate(timeout=SECONDS)
        assert starting.returncode == 1
        assert f'connect to NOTIFY_SOCKET \\"{tmp_path}/gone.sock\\": no such file or directory' in said.decode()
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_a_root_directory_of_any_length_will_do(tmp_path: Path, program: Path) -> None:
    """sun_path has room for 107 bytes."""
    deep = tmp_path / ("d" * 100) / "root"
    host = Host(f"{tmp_path}/h")
    aiorun = CommandLine(str(Path(__file__).parents[2] / ".venv" / "bin" / "aiorun"), deep)
    running = aiorun.popen("run", "--detach", "--bundle", program, "x", env=host.env(), stdin=subprocess.DEVNULL)
    with contextlib.closing(host.socket):
        say(aiorun, "READY=1")
        assert host.hear().startswith("READY=1")
        assert host.hear() == "BARRIER=1"
        assert running.wait(SECONDS) == 0
    aiorun("delete", "--force", "x", check=True)
    shutil.rmtree(deep)


# --- LISTEN_FDS, sd_listen_fds(3)


def test_sockets_of_the_service_manager_are_handed_on(bundle: Bundles, aiorun: CommandLine) -> None:
    made = bundle(args=["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; ls -l /proc/self/fd/3 /proc/self/fd/4 | sed 's/.*-> //'"])
    # LISTEN_PID has to be the runtime's own, as it is after systemd's exec.
    script = 'LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@" 3<"$A" 4<"$B"'
    (made / "a").write_text("")
    (made / "b").write_text("")
    call = ["bash", "-c", script, *aiorun.argv("run", "--bundle", made, "x")]
    ended = subprocess.run(
        call,
        env={**os.environ, "A": f"{made}/a", "B": f"{made}/b"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == ["2 1", f"{made}/a", f"{made}/b"]


def test_sockets_that_are_somebody_elses_are_not(bundle: Bundles, aiorun: CommandLine) -> None:
    made = bundle(args=["env"])
    ended = aiorun("run", "--bundle", made, "x", check=True, env={**os.environ, "LISTEN_FDS": "2", "LISTEN_PID": "1"})
    assert "LISTEN" not in ended.stdout


# --- --no-subreaper


@pytest.mark.parametrize(("flags", "parent_is_runtime"), [((), True), (("--no-subreaper",), False)])
def test_whether_orphans_of_the_container_become_ours(
    flags: tuple[str, ...], parent_is_runtime: bool, bundle: Bundles, aiorun: CommandLine, tmp_path: Path
) -> None:
    """Without a pid namespace of its own: there the container's init has them."""
    program = "sh -c 'sleep 1000 & echo $! > /tmp/pid'; while [ ! -e /tmp/end ]; do sleep 0.1; done"
    made = bundle(args=["sh", "-c", program])
    config = bundle.read(made)
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]
    config["root"]["readonly"] = False
    bundle.write(made, config)
    running = aiorun.popen("run", *flags, "--bundle", made, "x", stdin=subprocess.DEVNULL)
    try:
        pid_file = made / "rootfs" / "tmp" / "pid"
        until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), "the orphan's pid")
        orphan = pid_file.read_text().strip()

        def parent() -> int:
            return int(Path(f"/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[1])

        until(lambda: parent() in (running.pid, os.getpid()), "its new parent")
        assert (parent() == running.pid) == parent_is_runtime
    finally:
        (made / "rootfs" / "tmp" / "end").touch()
        running.wait(SECONDS)
    assert not Path(f"/proc/{orphan}").exists() or dead(int(orphan))


def dead(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    return not Path(f"/proc/{pid}").exists()
