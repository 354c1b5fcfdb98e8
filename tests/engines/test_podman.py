"""podman with aiorun as its runtime: a container's life, its exit codes and its terminal, through conmon."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from ptyprocess import PtyProcess

from tests.conftest import CHECKOUT, make_root_file_system, need, need_root
from tests.leaks import cgroups_below, mounts
from tests.waiting import until

LIMITS = ("pids.max", "memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max")


class Podman:
    """podman with a storage and a state of the test's own; its containers' root file system is `rootfs`."""

    def __init__(self, where: Path, cgroup_parent: str, *, manager: str = "cgroupfs") -> None:
        self.where = where
        self.rootfs = where / "rootfs"
        make_root_file_system(self.rootfs)
        self._cgroup_parent = cgroup_parent
        self.runtime = str(CHECKOUT / ".venv" / "bin" / "aiorun")
        self.names_runtime = True  # on the command line, not by a file
        self._manager = manager

    def argv(self, *words: str) -> list[str]:
        places = ["--root", self.where / "root", "--runroot", self.where / "run", "--tmpdir", self.where / "tmp"]
        return [
            need("podman"), *map(str, places), "--storage-driver", "vfs", "--events-backend", "none",
            "--cgroup-manager", self._manager, *(["--runtime", self.runtime] if self.names_runtime else []), *words,
        ]  # fmt: skip

    def run_argv(self, *words: str) -> list[str]:
        """`podman run` of what is there now: no network plugin, and no limit above our own hard ones."""
        *flags, command = words[: words.index("--")], words[words.index("--") + 1 :]
        return self.argv(
            "run", "--network", "none", "--cgroup-parent", self._cgroup_parent,
            "--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000",
            *[word for group in flags for word in group], "--rootfs", str(self.rootfs), *command,
        )  # fmt: skip

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = self.run_argv(*words[1:]) if words[0] == "run" else self.argv(*words)
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)

    def close(self) -> None:
        self("rm", "--all", "--force", "--time", "0")
        for where, _ in sorted(mounts(), reverse=True):
            if where.startswith(f"{self.where}/"):
                subprocess.run([need("umount"), where], check=True)
        for cgroup in cgroups_below(self._cgroup_parent):
            if cgroup.name == "conmon":  # podman's own, which it leaves
                until(partial(is_removed, cgroup), "conmon's end")


def is_removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:
        return False  # a conmon is in it still
    return True


@pytest.fixture
def podman(cgroup_parent: str, leaves_nothing: None) -> Iterator[Podman]:
    need_root()
    need("conmon")
    with tempfile.TemporaryDirectory(prefix="aiorun-") as where:  # podman wants a run root of 50 characters at most
        podman = Podman(Path(where), cgroup_parent)
        yield podman
        podman.close()


def test_the_default_profile_holds_and_is_in_nobodys_way(podman: Podman) -> None:
    ran = podman("run", "--rm", "--", "sh", "-c", "grep Seccomp: /proc/self/status; mkdir /tmp/made && echo made")
    assert (ran.returncode, ran.stdout) == (0, "Seccomp:\t2\nmade\n")
    assert podman("run", "--detach", "--name", "box", "--", "sleep", "1000").returncode == 0
    assert podman("exec", "box", "grep", "Seccomp:", "/proc/self/status").stdout == "Seccomp:\t2\n"


def test_a_container_runs_with_its_output_and_its_exit_code(podman: Podman) -> None:
    ended = podman("run", "--rm", "--hostname", "box", "--env", "WORD=ä", "--", "sh", "-c", "hostname; echo $WORD >&2; exit 7")
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "box\n", "ä\n")


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_what_cannot_be_run_has_the_exit_code_that_scripts_look_for(podman: Podman, program: str, status: int, said: str) -> None:
    ended = podman("run", "--rm", "--", program)
    assert ended.returncode == status
    assert said in ended.stderr.replace("\\", "")


def test_a_container_is_started_looked_at_stopped_started_again_and_removed(podman: Podman) -> None:
    script = "trap 'exit 5' TERM; echo up; while :; do sleep 1000 & wait; done"
    assert podman("run", "--detach", "--name", "box", "--", "sh", "-c", script).returncode == 0
    assert podman("inspect", "--format", "{{.State.Status}}", "box").stdout == "running\n"
    assert podman("kill", "--signal", "TERM", "box").returncode == 0
    assert podman("wait", "box").stdout == "5\n"
    assert podman("start", "box").returncode == 0
    assert podman("stop", "box").returncode == 0
    assert podman("wait", "box").stdout == "5\n"
    assert podman("logs", "box").stdout == "up\nup\n"
    removed = podman("rm", "box")
    assert (removed.returncode, removed.stderr) == (0, "")


def test_a_container_is_paused_and_its_limits_are_changed(podman: Podman, cgroup_parent: str) -> None:
    assert podman("run", "--detach", "--name", "box", "--pids-limit", "50", "--", "sleep", "1000").returncode == 0
    assert podman("pause", "box").returncode == 0
    assert podman("inspect", "--format", "{{.State.Status}}", "box").stdout == "paused\n"
    assert podman("unpause", "box").returncode == 0
    updated = podman("update", "--memory", "64m", "--cpus", "0.5", "box")
    assert (updated.returncode, updated.stderr) == (0, "")
    limits = [path / name for path in cgroups_below(cgroup_parent) for name in LIMITS if path.name != "conmon"]
    found = {path.name: path.read_text() for path in limits if path.exists()}
    assert len(found) == 3 and set(found.values()) <= {"50\n", f"{64 << 20}\n", "50000\n", "50000 100000\n"}
    assert podman("pause", "box").returncode == 0
    assert podman("rm", "--force", "--time", "0", "box").returncode == 0


def test_a_terminal_has_its_size_its_keys_and_its_exit_code(podman: Podman, terminal: Callable[..., PtyProcess]) -> None:
    script = "tty; stty size; read line; echo got $line; exit 9"
    child = terminal(podman.run_argv("--rm", "-i", "-t", "--", "sh", "-c", script), size=(33, 99))
    screen = b""
    while b"/dev/pts/0" not in screen:
        screen += child.read()
    child.write(b"a word\r")
    while b"got a word" not in screen:
        screen += child.read()
    assert child.wait() == 9


def test_exec_has_its_output_its_exit_code_and_its_user(podman: Podman) -> None:
    assert podman("run", "--detach", "--name", "box", "--env", "WORD=a", "--", "sleep", "1000").returncode == 0
    script = "echo $WORD $MORE $HOME $PWD; id -u; cat; echo err >&2; exit 7"
    flags = ("--interactive", "--env", "MORE=b", "--user", "1000", "--workdir", "/tmp")
    ended = podman("exec", *flags, "box", "sh", "-c", script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "a b /tmp /tmp\n1000\n", "err\n")
    assert podman("exec", "box", "sh", "-c", "kill -9 $$").returncode == 137
    assert podman("exec", "--detach", "box", "sh", "-c", "echo made > /tmp/by-exec").returncode == 0
    until(lambda: (podman.rootfs / "tmp" / "by-exec").exists(), "the detached process")
    assert podman("rm", "--force", "--time", "0", "box").returncode == 0


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_what_cannot_be_executed_has_the_exit_code_that_scripts_look_for(
    podman: Podman, program: str, status: int, said: str
) -> None:
    assert podman("run", "--detach", "--name", "box", "--", "sleep", "1000").returncode == 0
    ended = podman("exec", "box", program)
    assert ended.returncode == status
    assert said in ended.stderr.replace("\\", "")
    assert podman("rm", "--force", "--time", "0", "box").returncode == 0


def test_a_terminal_of_an_exec_has_its_size_its_keys_and_its_exit_code(
    podman: Podman, terminal: Callable[..., PtyProcess]
) -> None:
    assert podman("run", "--detach", "--name", "box", "--", "sleep", "1000").returncode == 0
    script = "tty; stty size; read line; echo got $line; exit 9"
    child = terminal(podman.argv("exec", "-i", "-t", "box", "sh", "-c", script), size=(33, 99))
    screen = b""
    while b"/dev/pts/0" not in screen:
        screen += child.read()
    child.write(b"a word\r")
    while b"got a word" not in screen:
        screen += child.read()
    assert child.wait() == 9
    assert podman("rm", "--force", "--time", "0", "box").returncode == 0


def test_the_default_root_is_left_empty(podman: Podman) -> None:
    # podman passes no --root
    before = set(os.listdir("/run/aiorun")) if os.path.isdir("/run/aiorun") else set()
    assert podman("run", "--rm", "--", "true").returncode == 0
    assert set(os.listdir("/run/aiorun")) <= before


def test_the_drop_in_that_comes_with_aiorun_makes_it_podmans_runtime(podman: Podman, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --runtime; and errors come from the log then, as JSON, and not from standard error."""
    shipped = (CHECKOUT / "scripts" / "containers.conf.d" / "aiorun.conf").read_text()
    settings = [line for line in shipped.splitlines() if not line.startswith("#")]
    assert all(line in (CHECKOUT / "docs" / "engines.md").read_text() for line in settings)
    (podman.where / "containers.conf").write_text(shipped.replace("/usr/local/bin/aiorun", podman.runtime))
    monkeypatch.setenv("CONTAINERS_CONF", str(podman.where / "containers.conf"))
    podman.names_runtime = False
    assert (
        podman("info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}").stdout == f"aiorun {podman.runtime}\n"
    )
    assert podman("run", "--rm", "--", "sh", "-c", "exit 7").returncode == 7
    ended = podman("run", "--rm", "--", "nosuch")
    assert ended.returncode == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in ended.stderr.replace("\\", "")
    assert "time=" not in ended.stderr and "level=" not in ended.stderr
