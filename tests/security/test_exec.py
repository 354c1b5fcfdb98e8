"""What a container that is running can do to a process that comes to join it. docs/security.md.

It has more than one that is only being created: its programs run while the process arrives, in its namespaces, as the same user.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from aiorun.launch.spawn import HereSpawner
from aiorun.runtime.exec import ExecOptions, Target, prepare
from aiorun.spec.process import Changes
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from tests.conftest import CommandLine, Config
from tests.exec.conftest import Box, Boxes
from tests.exec.conftest import boxes as boxes  # the fixture
from tests.security.attacks import Trace, bind, one_line
from tests.security.test_interpreter import poison
from tests.security.test_paths import put_passwd
from tests.security.test_processes import _SPY, MARKER
from tests.waiting import until

# Runs in a container, for ever. Of each new process that runs our interpreter it tries whatever needs the right to trace.
_WATCH = """\
while :; do
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ $pid = 1 ] || [ $pid = $$ ] && continue
        grep -q python $process/maps 2>/dev/null && echo "maps $pid" >> /volume/leaks
        for fd in 3 4 5 6 7 8 9 10 11 12; do
            readlink $process/fd/$fd >/dev/null 2>&1 && echo "fd $pid $fd" >> /volume/leaks
        done
        grep -q SECRET= $process/environ 2>/dev/null && echo "environ $pid" >> /volume/leaks
        case $(readlink $process/exe) in *python*) echo "exe $pid" >> /volume/leaks ;; esac
        [ "$(head -c 7 $process/comm 2>/dev/null)" = python3 ] && echo "seen $pid" >> /volume/seen
    done
    [ -e /volume/stop ] && exit
done
"""


@pytest.fixture
def box(aiorun: CommandLine, boxes: Boxes) -> Box:
    return boxes(aiorun)


def watched(aiorun: CommandLine, boxes: Boxes, volume: Path, script: str) -> Box:
    """A container with a volume, the secret's pattern, and root's capabilities but for those that tracing takes."""
    volume.mkdir()

    def change(config: Config) -> None:
        config["mounts"].append(bind(volume, "/volume"))
        config["process"]["env"].append(f"MARKER={MARKER}")

    return boxes(aiorun, change, args=["sh", "-c", script])


# --- CVE-2016-9962


def test_a_process_that_waits_in_the_container_is_closed_to_it(aiorun: CommandLine, boxes: Boxes, tmp_path: Path) -> None:
    """It has joined all, is the same user with the same capabilities, and would be the spy's own but for being non-dumpable."""
    box = watched(aiorun, boxes, tmp_path / "volume", _SPY)
    with Target(Store(str(aiorun.root)), box.id, None, Changes(args=("true",)), ExecOptions()) as target:
        waiting = drive(prepare(target, ExecOptions(), waiter=PollWaiter(), spawner=HereSpawner()))
    (tmp_path / "volume" / "go").touch()
    until((tmp_path / "volume" / "done").exists, "the spy's report")
    drive(waiting.abandon())
    seen = (tmp_path / "volume" / "done").read_text().splitlines()
    assert [line for line in seen if line.startswith("seen")], "the spy didn't find the process"
    assert [line for line in seen if not line.startswith("seen")] == []


def test_a_container_that_watches_for_new_processes_never_gets_hold_of_one(
    aiorun: CommandLine, boxes: Boxes, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    box = watched(aiorun, boxes, volume, _WATCH)
    for _ in range(200):  # until the watcher was quick enough to see a few
        assert box.exec("true", env={**os.environ, "SECRET": MARKER}).returncode == 0
        if (volume / "seen").exists() and len((volume / "seen").read_text().splitlines()) > 10:
            break
    (volume / "stop").touch()
    assert (volume / "seen").exists(), "the watcher never saw one"
    assert not (volume / "leaks").exists(), (volume / "leaks").read_text()


# --- CVE-2019-5736


def test_a_process_on_its_way_runs_from_the_sealed_interpreter(box: Box) -> None:
    """A frozen cgroup holds it where its /proc/self/exe is the container's to run already."""
    box.command_line("pause", box.id, check=True)
    argv = box.command_line.argv("exec", "--ignore-paused", box.id, "true")
    with subprocess.Popen(argv) as process:
        until(lambda: len(pids(box)) > 1, "the process to be in the container")
        (pid,) = set(pids(box)) - {box.pid}
        exe, host = os.stat(f"/proc/{pid}/exe"), os.stat(os.path.realpath("/proc/self/exe"))
        assert (exe.st_dev, exe.st_ino) != (host.st_dev, host.st_ino)
        opened = subprocess.run(["sh", "-c", f": >> /proc/{pid}/exe"], capture_output=True, text=True, check=False)
        assert opened.returncode != 0
        assert "Text file busy" not in opened.stderr
        box.command_line("resume", box.id, check=True)
    assert process.returncode == 0


def pids(box: Box) -> list[int]:
    return [int(pid) for pid in box.command_line("ps", "--format", "json", box.id, check=True).stdout.strip("[]\n").split(",")]


# --- CVE-2024-21626


@pytest.mark.parametrize("seen", ["/proc/self/fd/{}", "/proc/1/fd/{}", "/dev/fd/{}", "/proc/thread-self/fd/{}/.."])
def test_a_leaked_directory_is_no_working_directory_of_an_exec(box: Box, seen: str) -> None:
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(6)]
    os.dup2(leaked[0], 500)
    leaked.append(500)
    try:
        for number in (3, 4, 5, 6, 7, *range(8, 24, 3), *leaked[-2:], 1023):
            ended = box.exec("ls", "-a", flags=["--cwd", seen.format(number)], pass_fds=leaked)
            assert (ended.returncode, ended.stdout) == (255, ""), f"{number}: {ended}"
            one_line(ended.stderr)
    finally:
        for fd in leaked:
            os.close(fd)


def test_a_working_directory_that_became_a_link_out_of_the_root_stays_inside(box: Box) -> None:
    (box.rootfs / "out").symlink_to("/../../../../../etc")
    assert "hostname" not in box("ls", flags=["--cwd", "/out"]).split()
    (box.rootfs / "leaked").symlink_to("/proc/self/fd/3")
    ended = box.exec("ls", flags=["--cwd", "/leaked"])
    assert (ended.returncode, ended.stdout) == (255, "")


# --- CVE-2022-29162: tests/exec/test_process.py has it beside runc. What the document itself makes inheritable stays so


def test_what_is_inheritable_in_the_document_does_not_grow_by_an_exec(aiorun: CommandLine, boxes: Boxes) -> None:
    sets = {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted", "inheritable")}
    box = boxes(aiorun, {"process": {"capabilities": sets}})
    text = box("grep", "-E", "^Cap(Inh|Amb)", "/proc/self/status", flags=["--cap", "CAP_SYS_ADMIN"])
    assert [int(line.split()[1], 16) for line in text.splitlines()] == [1 << 5, 1 << 5]


# --- the container's /etc/passwd


@pytest.mark.parametrize(
    "what",
    [
        "fifo", "directory", "device", "link to /dev/zero", "link to /proc/self/mem", "link to /proc/kmsg",
        "link to /proc/self/fd/0", "link to passwd", "a gigabyte", "one endless line", "a long line", "garbage",
    ],
)  # fmt: skip
def test_a_password_file_that_is_none_gives_an_exec_no_home(box: Box, what: str) -> None:
    put_passwd(box.rootfs / "etc" / "passwd", what)
    assert box("sh", "-c", 'echo "$HOME"', input="root:x:0:0:root:/stdin:", timeout=20) == "/"


# --- P1, P3


@pytest.mark.parametrize("program", ["true", "nosuch"])
def test_an_exec_loads_nothing_from_the_containers_file_system(
    aiorun: CommandLine, box: Box, tmp_path: Path, program: str
) -> None:
    poison(box.rootfs)
    trace = Trace(aiorun, tmp_path / "trace", "exec", "--user", "1000", box.id, program)
    assert trace.ended.returncode == (0 if program == "true" else 255), trace.ended
    calls = trace.of("setsid")
    joined = next(index for index, line in enumerate(calls) if line.startswith("setns(") and "CLONE_NEWNS" in line)
    opened = [line for line in calls if re.match(r"open(at2?)?\(", line)]
    assert not [line for line in opened if re.search(r"\.py|\.so|\.mo|archive|encodings|gconv|locale|nsswitch|ld\.so", line)]
    for line in (line for line in calls[joined + 1 :] if line in opened):
        named = re.match(r'open(?:at|at2)\((?:AT_FDCWD|\d+), "([^"]*)", ', line)
        assert named, line
        assert named[1] in ("/", "/etc/passwd") or named[1].startswith("self/fd/"), line
    assert not (box.rootfs / "marked").exists()


# --- signals to a reused pid: tests/exec/test_life.py


def test_an_exec_holds_no_file_of_its_callers(box: Box, tmp_path: Path) -> None:
    """P5, P14: with a log, a directory and a socket open beside it."""
    box.command_line("pause", box.id, check=True)
    with open("/etc/passwd") as secret:
        argv = box.command_line.argv("--log", tmp_path / "log", "exec", "--ignore-paused", box.id, "true")
        with subprocess.Popen(argv, pass_fds=(secret.fileno(),)) as process:
            until(lambda: len(pids(box)) > 1, "the process to be in the container")
            (pid,) = set(pids(box)) - {box.pid}
            links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            box.command_line("resume", box.id, check=True)
    assert process.returncode == 0
    assert not [link for link in links if link in ("/etc/passwd", str(tmp_path / "log")) or str(box.command_line.root) in link]
