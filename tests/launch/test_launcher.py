"""The launcher: what it is, and that its death, or what it says, harms nobody but the spawn at hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import aiorun
from aiorun.launch import client
from aiorun.launch.client import Launcher
from aiorun.launch.failure import SpawnFailed
from aiorun.linux import socket
from aiorun.trio_waiter import TrioWaiter
from aiorun.wire.plan import Plan
from tests import leaks
from tests.conftest import CHECKOUT, need_root
from tests.runtime.life import letter
from tests.waiting import until

NOTHING = Plan(0, "", (), 0, ())


@pytest.fixture
async def launcher(leaves_nothing: None) -> AsyncIterator[Launcher]:
    need_root()
    launcher = Launcher(TrioWaiter())
    yield launcher
    launcher.close()


def pid_of(launcher: Launcher) -> int:
    assert launcher._running is not None
    [line] = [
        line for line in Path(f"/proc/self/fdinfo/{launcher._running.pidfd}").read_text().splitlines() if line.startswith("Pid:")
    ]
    return int(line.split()[1])


async def test_a_launcher_has_nothing_of_the_supervisors(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    inheritable = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    try:
        (await launcher.spawn(NOTHING, {})).abandon()
    finally:
        os.close(inheritable)
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    proc = Path(f"/proc/{pid_of(launcher)}")
    assert (proc / "environ").read_bytes() == b""
    until(lambda: len(os.listdir(proc / "fd")) <= 4, "the launcher to close the files of the request")
    files = {int(fd): os.readlink(proc / "fd" / fd) for fd in os.listdir(proc / "fd")}
    assert files.pop(3).startswith("socket:")
    assert files == {0: "/dev/null", 1: "/dev/null", 2: "/dev/null"}
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    assert status["Threads"].strip() == "1"
    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigIgn"], 16) & 0x7FFFFFFF == 1 << 12 | 1 << 24  # PIPE and XFSZ, as any Python; none of ours
    assert os.getsid(pid_of(launcher)) == pid_of(launcher)  # no terminal of ours: ^C isn't for it


async def test_a_launcher_is_sealed(launcher: Launcher) -> None:
    (await launcher.spawn(NOTHING, {})).abandon()
    exe = f"/proc/{pid_of(launcher)}/exe"
    assert os.path.realpath(exe) != os.path.realpath(sys.executable)
    with pytest.raises(OSError) as refused:
        os.close(os.open(exe, os.O_WRONLY))
    assert refused.value.errno in (26, 30)  # ETXTBSY, EROFS
    with pytest.raises(OSError):
        os.chmod(exe, 0o777)


async def test_an_init_is_our_own_child_and_ends_with_its_asker(launcher: Launcher) -> None:
    spawned = await launcher.spawn(NOTHING, {})
    assert spawned.pid in leaks.children()
    spawned.channel.close()
    await TrioWaiter().wait_any({spawned.pidfd: 1})
    spawned.abandon()
    assert spawned.pid not in leaks.children()


async def test_a_dead_launcher_is_noticed_and_replaced(launcher: Launcher) -> None:
    (await launcher.spawn(NOTHING, {})).abandon()
    first = pid_of(launcher)
    os.kill(first, signal.SIGKILL)
    until(lambda: letter(first) == "Z", "the launcher to die")
    with pytest.raises(aiorun.LauncherDied, match=r"^ask the launcher for an init: broken pipe$"):
        await launcher.spawn(NOTHING, {})
    assert first not in leaks.children()  # reaped
    (await launcher.spawn(NOTHING, {})).abandon()
    assert pid_of(launcher) != first


async def test_a_launcher_that_dies_while_asked_fails_each_asker_and_none_hangs(launcher: Launcher) -> None:
    (await launcher.spawn(NOTHING, {})).abandon()
    first = pid_of(launcher)
    os.kill(first, signal.SIGSTOP)
    failures: list[str] = []

    async def ask() -> None:
        with pytest.raises(aiorun.LauncherDied) as died:
            await launcher.spawn(NOTHING, {})
        failures.append(str(died.value))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(first, signal.SIGKILL)
    assert set(failures) <= {"the launcher ended before it made an init", "the launcher ended while it made an init"}
    assert len(failures) == 5
    (await launcher.spawn(NOTHING, {})).abandon()


async def test_a_kill_at_any_moment_of_a_spawn_leaves_no_init(launcher: Launcher) -> None:
    for after in range(40):
        (await launcher.spawn(NOTHING, {})).abandon()
        pid = pid_of(launcher)
        children = set(leaks.children()) - {pid}

        async def kill(pid: int = pid, after: int = after) -> None:
            for _ in range(after * 20):
                pass  # a little later each time; what the spawn has got to by then is up to chance
            os.kill(pid, signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            try:
                (await launcher.spawn(NOTHING, {})).abandon()
            except aiorun.LauncherDied:
                pass
        launcher.close()
        assert set(leaks.children()) == children


async def test_an_init_whose_launcher_never_told_of_it_is_found_and_ended(leaves_nothing: None) -> None:
    """The kernel has cloned it, and then the launcher is killed: a child of ours of which we know its channel alone."""
    ours, theirs = socket.pair()
    orphan = subprocess.Popen(["sleep", "1000"], pass_fds=[theirs.fileno()])
    bystander = subprocess.Popen(["sleep", "1000"])
    channel = os.fstat(theirs.fileno()).st_ino
    theirs.close()
    with pytest.raises(aiorun.LauncherDied, match=r"^the launcher ended while it made an init$"):
        client._answer(ours, channel)
    assert letter(orphan.pid) == ""  # reaped, too
    assert letter(bystander.pid) == "S" or bystander.poll() is None
    bystander.kill()
    bystander.wait()
    orphan.wait()


# It clones what might be an init, and is killed before it tells of it: the clone has the channel still.
DIES_UNTOLD = """
import os, signal, socket, sys
supervisor = socket.socket(fileno=int(sys.argv[1]))
socket.recv_fds(supervisor, 65536, 8)
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
signal.pause()
"""


async def test_nobody_waits_for_a_launcher_that_died_after_the_clone(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(theirs: int) -> int:
        launcher = subprocess.Popen([sys.executable, "-c", DIES_UNTOLD, str(theirs)], pass_fds=[theirs])
        launcher.returncode = 0  # it isn't Popen's to reap
        return launcher.pid

    children = set(leaks.children())
    with monkeypatch.context() as patch:
        patch.setattr(client, "_start", start)
        with pytest.raises(aiorun.LauncherDied, match=r"^the launcher ended while it made an init$"):
            await launcher.spawn(NOTHING, {})
    assert set(leaks.children()) == children  # the clone fell to us, as with CLONE_PARENT it had been ours from birth
    (await launcher.spawn(NOTHING, {})).abandon()


def test_a_launcher_starts_where_the_standard_streams_are_closed(tmp_path: Path) -> None:
    """Its socket gets the number of one of them, which must not be /dev/null's before it is where it belongs."""
    script = tmp_path / "spawn.py"
    script.write_text(f"""
import os, sys; sys.path.insert(0, {str(CHECKOUT)!r})
os.closerange(0, 3)
from aiorun.launch.client import Launcher
from aiorun.waiter import PollWaiter, drive
from aiorun.wire.plan import Plan
launcher = Launcher(PollWaiter())
drive(launcher.spawn(Plan(0, "", (), 0, ()), {{}})).abandon()
os._exit(17)
""")
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 17


async def test_a_cancelled_asker_leaves_no_init(launcher: Launcher) -> None:
    (await launcher.spawn(NOTHING, {})).abandon()
    children = set(leaks.children())
    os.kill(pid_of(launcher), signal.SIGSTOP)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def go_on() -> None:
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                os.kill(pid_of(launcher), signal.SIGCONT)

            nursery.start_soon(go_on)
            await launcher.spawn(NOTHING, {})
    assert scope.cancelled_caught
    assert set(leaks.children()) == children


async def test_a_launcher_closed_while_asked_answers_first(launcher: Launcher) -> None:
    (await launcher.spawn(NOTHING, {})).abandon()
    pid = pid_of(launcher)
    os.kill(pid, signal.SIGSTOP)

    async def ask() -> None:
        (await launcher.spawn(NOTHING, {})).abandon()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        launcher.close()
        assert letter(pid) != ""
        os.kill(pid, signal.SIGCONT)
    assert letter(pid) == ""


async def test_a_launcher_that_stands_still_does_not_keep_us_from_closing_it(launcher: Launcher) -> None:
    (await launcher.spawn(NOTHING, {})).abandon()
    pid = pid_of(launcher)
    os.kill(pid, signal.SIGSTOP)
    launcher.close()
    assert letter(pid) == ""


async def test_a_plan_larger_than_a_packet_arrives(launcher: Launcher, root_dir: Path, bundle: Callable[..., Path]) -> None:
    environment = [f"VARIABLE_{number}={'x' * 100}" for number in range(1500)]  # 165 kB
    place = bundle({"process": {"env": ["PATH=/bin", *environment]}}, args=["env"])
    async with aiorun.Runtime(root=root_dir) as runtime:
        result = await runtime.run(bundle=place, capture_output=True)
    assert len(result.stdout.splitlines()) >= 1500
    assert set(environment) <= set(result.stdout.decode().splitlines())


GARBAGE: list[tuple[bytes, bool]] = [
    (b"{", False),
    (b"[]", False),
    (b"17", False),
    (b'["Spawned"]', True),
    (b'["Spawned",1]', False),
    (b'["Spawned","1"]', True),
    (b'["Spawned",1,2]', True),
    (b'["Failed","x"]', False),
    (b'["Failed",1,1]', False),
    (b'["Else",1]', True),
    (b"\xff\xfe", True),
]


@pytest.mark.parametrize("answer", GARBAGE, ids=lambda answer: answer[0].decode(errors="replace"))
def test_a_garbled_answer_is_an_error_and_its_files_are_closed(answer: tuple[bytes, bool]) -> None:
    ours, theirs = socket.pair()
    packet, with_file = answer
    socket.send(theirs, packet, [0] if with_file else [])
    with pytest.raises(aiorun.LauncherDied, match=r"^the launcher answered what it may not"):
        client._answer(ours, 0)
    theirs.close()
    assert ours.fileno() == -1


def test_what_a_launcher_could_not_do_comes_with_its_errno() -> None:
    ours, theirs = socket.pair()
    socket.send(theirs, b'["Failed","clone",11]')
    with pytest.raises(SpawnFailed, match="clone") as failed:
        client._answer(ours, 0)
    assert failed.value.errno == 11
    theirs.close()


REQUESTS: list[Any] = [
    b"[",
    b"{}",
    b"17",
    b'["Spawn",{},["a"]]',
    b'["Spawn",{},[]]',
    b'["Spawn",1,["channel"]]',
    b"\xff",
]


async def test_a_garbled_request_is_forgotten_and_the_next_one_served(launcher: Launcher) -> None:
    (await launcher.spawn(NOTHING, {})).abandon()
    pid = pid_of(launcher)
    running = launcher._running
    assert running is not None
    for request in REQUESTS:
        ours, theirs = socket.pair()
        socket.send(running._socket, request, [theirs.fileno()])
        theirs.close()
        await TrioWaiter().wait_any({ours.fileno(): 1})
        ours.close()
        (await launcher.spawn(NOTHING, {})).abandon()
    assert pid_of(launcher) == pid
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 4, "the launcher to close the files of the last request")


async def test_the_launcher_ends_with_its_supervisor(tmp_path: Path) -> None:
    """However that ends: by SIGKILL here. An init that isn't created yet ends too."""
    need_root()
    script = tmp_path / "supervisor.py"
    script.write_text(f"""
import sys; sys.path.insert(0, {str(CHECKOUT)!r})
import trio
from aiorun.launch.client import Launcher
from aiorun.trio_waiter import TrioWaiter
from aiorun.wire.plan import Plan
async def main():
    spawned = await Launcher(TrioWaiter()).spawn(Plan(0, "", (), 0, ()), {{}})
    print(spawned.pid, flush=True)
    await trio.sleep_forever()
trio.run(main)
""")
    supervisor = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    assert supervisor.stdout is not None
    init = int(supervisor.stdout.readline())
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    assert len(children) == 2 and str(init) in children
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    for pid in map(int, children):
        until(lambda pid=pid: letter(pid) in ("", "Z"), f"{pid} to end")  # type: ignore[misc]
