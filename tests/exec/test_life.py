"""An exec's life: detached, prepared and started, paused, interrupted, beside a delete. On an error nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest

from aiorun.errors import ContainerNotFound, InitFailed
from aiorun.launch.spawn import HereSpawner
from aiorun.runtime.exec import ExecOptions, Prepared, Target, exec_detached, prepare
from aiorun.runtime.process import reap_child
from aiorun.spec.process import Changes
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from tests.conftest import CommandLine
from tests.console.test_console_socket import listening, read_to_the_end
from tests.exec.conftest import Box, Boxes
from tests.leaks import Belongings
from tests.runtime.life import await_death, complaint, dead, has_execd, reap
from tests.runtime.test_cancelled import Cancelled, CancellingWaiter
from tests.waiting import until


def detached(box: Box, *command: str, flags: tuple[str | Path, ...] = ()) -> int:
    """The pid of what was executed detached, which is our child then: we are its subreaper, as an engine is."""
    pid_file = box.bundle / "exec.pid"
    box(*command, flags=["--detach", "--pid-file", pid_file, *flags])
    return int(pid_file.read_text())


# --- detached


def test_a_detached_process_is_its_callers_to_reap_and_its_pid_is_in_the_file(box: Box) -> None:
    (box.rootfs / "go").write_text("")
    pid = detached(box, "sh", "-c", "while [ -e /go ]; do sleep 0.01; done; exit 7")
    assert (box.bundle / "exec.pid").read_bytes() == str(pid).encode()
    assert has_execd(pid) or box.command_line.command.endswith("runc")  # whose exec may return before that
    (box.rootfs / "go").unlink()
    assert reap(pid) == 7


@pytest.mark.parametrize("program", ["nosuch", "odd"])
def test_the_pid_file_is_a_sign_that_it_runs(ours: Box, program: str) -> None:
    (ours.rootfs / "bin" / "odd").write_text("no program")
    (ours.rootfs / "bin" / "odd").chmod(0o755)
    ours.refuses(program, flags=["--detach", "--pid-file", ours.bundle / "exec.pid"])
    assert not (ours.bundle / "exec.pid").exists()


def test_a_pid_file_that_cannot_be_written_ends_the_process(ours: Box) -> None:
    before = Belongings.now()
    said = ours.refuses("sleep", "1000", flags=["--detach", "--pid-file", "/no/such/pid"])
    assert said == 'write the pid file "/no/such/pid": no such file or directory'
    assert before.left_since() == []


def test_a_console_socket_gets_the_terminal(box: Box, tmp_path: Path) -> None:
    with listening(tmp_path / "s") as engine:
        pid = detached(box, "sh", "-c", "tty", flags=("--tty", "--console-socket", tmp_path / "s"))
        assert read_to_the_end(engine.master()) == b"/dev/pts/0\r\n"
        assert reap(pid) == 0


def test_a_relative_console_socket_counts_from_the_bundle(box: Box, tmp_path: Path) -> None:
    with listening(box.bundle / "s") as engine:
        pid = detached(box, "true", flags=("--tty", "--console-socket", "s"))
        engine.master()
        assert reap(pid) == 0


def test_a_console_socket_that_nobody_listens_at_is_named(ours: Box, tmp_path: Path) -> None:
    said = ours.refuses("true", flags=["-d", "-t", "--console-socket", tmp_path / "s"])
    assert said == f'connect to the console socket "{tmp_path}/s": no such file or directory'


def test_the_pidfd_socket_receives_the_pidfd_of_the_process(ours: Box, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        pid = detached(ours, "sleep", "1000", flags=("--pidfd-socket", tmp_path / "s"))
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 4096, 8)
    (pidfd,) = fds
    assert f"\nPid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    os.close(pidfd)
    assert reap(pid) == -signal.SIGTERM


# --- a paused container


def test_a_paused_container_refuses_and_with_a_flag_goes_on_when_it_does(box: Box) -> None:
    box.command_line("pause", box.id, check=True)
    assert box.refuses("true") == "cannot exec in a paused container (use --ignore-paused to override)"
    argv = box.command_line.argv("exec", "--ignore-paused", box.id, "echo", "went on")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.poll() is None
        box.command_line("resume", box.id, check=True)
        assert process.communicate()[0] == "went on\n"
    assert process.returncode == 0


def test_interrupted_while_it_waits_for_the_container_it_leaves_nothing(ours: Box) -> None:
    ours.command_line("pause", ours.id, check=True)
    argv = ours.command_line.argv("exec", "--ignore-paused", ours.id, "echo", "went on")
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: len(in_container(ours)) > 1, "the process to be in the container")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
        ours.command_line("resume", ours.id, check=True)  # what is frozen dies, and closes its files, only then
        assert "exec failed: interrupted" in process.communicate()[1]
    until(lambda: len(in_container(ours)) == 1, "it to be gone")


def in_container(box: Box) -> list[str]:
    return box.command_line("ps", "--format", "json", box.id, check=True).stdout.strip("[]\n").split(",")


# --- in two steps


def target(box: Box, *args: str, options: ExecOptions | None = None) -> Target:
    return Target(Store(str(box.command_line.root)), box.id, None, Changes(args=args), options or ExecOptions())


def prepared(box: Box, *args: str, waiter: PollWaiter | None = None) -> Prepared:
    with target(box, *args) as where:
        return drive(prepare(where, ExecOptions(), waiter=waiter or PollWaiter(), spawner=HereSpawner()))


def test_what_is_prepared_has_not_begun(ours: Box) -> None:
    waiting = prepared(ours, "sh", "-c", "touch /begun; exit 3")
    assert not has_execd(waiting.pid)
    assert not (ours.rootfs / "begun").exists()
    drive(waiting.start())
    assert has_execd(waiting.pid) or dead(waiting.pid)
    await_death(waiting.pid)
    assert reap_child(waiting.pidfd) == 3
    assert (ours.rootfs / "begun").exists()
    os.close(waiting.pidfd)


def test_what_is_abandoned_is_gone(ours: Box) -> None:
    before = Belongings.now()
    waiting = prepared(ours, "sleep", "1000")
    drive(waiting.abandon())
    assert before.left_since() == []
    assert dead(waiting.pid)


def test_one_that_dies_before_its_start_is_told(ours: Box) -> None:
    before = Belongings.now()
    waiting = prepared(ours, "sleep", "1000")
    os.kill(waiting.pid, signal.SIGKILL)
    with pytest.raises(InitFailed, match=r"^unable to start container process: init died with status 137$"):
        drive(waiting.start())
    drive(waiting.abandon())
    assert before.left_since() == []


def test_an_exec_cancelled_at_any_wait_leaves_nothing(ours: Box) -> None:
    before = Belongings.now()
    for at in range(20):
        try:
            with target(ours, "sleep", "1000") as where:
                drive(exec_detached(where, ExecOptions(), waiter=CancellingWaiter(at), spawner=HereSpawner()))
        except Cancelled:
            assert before.left_since() == []
            assert len(in_container(ours)) == 1
        else:
            assert at > 1
            break
    assert len(in_container(ours)) == 2


# --- beside others


def test_many_at_once_are_all_executed(ours: Box) -> None:
    argv = ours.command_line.argv("exec", ours.id, "sh", "-c", "exit 3")
    running = [subprocess.Popen(argv) for _ in range(20)]
    assert [process.wait() for process in running] == [3] * 20


def test_beside_a_delete_it_runs_or_says_why_and_nothing_is_left(aiorun: CommandLine, boxes: Boxes) -> None:
    box = boxes(aiorun)
    argv = aiorun.argv("exec", box.id, "sleep", "1000")
    with_stderr = partial(subprocess.Popen, argv, stderr=subprocess.PIPE, text=True)
    running = [with_stderr() for _ in range(8)]
    aiorun("delete", "--force", box.id, check=True)
    for process in running:
        said = process.communicate()[1]
        assert process.returncode in (137, 255)
        assert bool(said) is (process.returncode == 255), said
        if said:
            reason = complaint(subprocess.CompletedProcess([], 255, "", said)).removeprefix("exec failed: ")
            assert reason.startswith(("container does not exist", "cannot exec in a stopped", "the container is being deleted",
                                      "unable to start container process: ")), reason  # fmt: skip
    assert aiorun("list", "-q", check=True).stdout == ""


def test_a_container_that_is_removed_between_its_two_files_does_not_exist(ours: Box) -> None:
    with Store(str(ours.command_line.root)).open(ours.id) as directory:
        directory.read()
        ours.command_line("delete", "--force", ours.id, check=True)
        with pytest.raises(ContainerNotFound):
            directory.read_config()


def test_a_pid_that_somebody_else_has_by_now_is_not_joined(ours: Box) -> None:
    """Signals to a reused pid: so it is with its namespaces."""
    with Store(str(ours.command_line.root)).open(ours.id) as directory, directory.locked():
        state = directory.read()
        directory.write(state.replace(pid=os.getpid()))
    assert ours.refuses("true") == "cannot exec in a stopped container"
    with Store(str(ours.command_line.root)).open(ours.id) as directory, directory.locked():
        directory.write(state)
    assert ours("echo", "again") == "again"
