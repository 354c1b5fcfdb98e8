"""checkpoint and restore with the real criu, side by side with runc; skipped where criu doesn't work on the kernel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bundles, CommandLine, Config, need, need_criu, need_root
from tests.console.test_console_socket import listening
from tests.container.configs import both, mounting, namespaces, writable
from tests.runtime.life import await_death, cgroups_of, dead, refused
from tests.waiting import until

COUNT = ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done"]


@pytest.fixture(scope="module")
def criu() -> None:
    need_root()
    need_criu()


@pytest.fixture(params=["aiorun", "runc"])
def runtime(request: pytest.FixtureRequest, criu: None) -> CommandLine:
    command_line: CommandLine = request.getfixturevalue(request.param)
    return command_line


class Stream:
    """A pipe, whose one end containers write to, and whose lines are read at the other."""

    def __init__(self) -> None:
        read, self.theirs = os.pipe2(os.O_CLOEXEC)
        self._ours = os.fdopen(read)

    def line(self) -> str:
        return self._ours.readline().rstrip("\n")

    def close(self) -> None:
        self._ours.close()
        os.close(self.theirs)


@pytest.fixture
def streams(leaves_nothing: None) -> Iterator[Callable[[], Stream]]:
    made: list[Stream] = []

    def make() -> Stream:
        made.append(Stream())
        return made[-1]

    yield make
    for stream in made:
        stream.close()


class World:
    """One container that is run, saved and restored."""

    def __init__(self, images: Path, streams: Callable[[], Stream]) -> None:
        self.images, self._streams = images, streams

    def run(self, runtime: CommandLine, bundle: Path, id: str = "c") -> Stream:
        """Run it in the background, with a pipe for its output."""
        output = self._streams()
        self._to_the_end(runtime, output, "run", "--detach", "--bundle", bundle, id)
        return output

    def checkpoint(self, runtime: CommandLine, *flags: str | Path, id: str = "c") -> None:
        runtime("checkpoint", "--image-path", self.images, *flags, id, check=True, stdout=None, stderr=None)

    def restore(self, runtime: CommandLine, bundle: Path, *flags: str | Path, id: str = "c") -> Stream:
        output = self._streams()
        command = ("restore", "--detach", "--bundle", bundle, "--image-path", self.images, *flags, id)
        self._to_the_end(runtime, output, *command)
        return output

    def _to_the_end(self, runtime: CommandLine, output: Stream, *command: str | Path) -> None:
        ended = runtime(*command, stdin=subprocess.DEVNULL, stdout=output.theirs, stderr=output.theirs)
        if ended.returncode:
            log = self.images / "restore.log"
            pytest.fail(f"{command[0]}: {output.line()}\n{log.read_text() if log.exists() else ''}")


@pytest.fixture
def world(tmp_path: Path, streams: Callable[[], Stream]) -> World:
    return World(tmp_path / "images", streams)


# --- there and back


def test_a_container_goes_on_where_it_was(
    runtime: CommandLine, bundle: Bundles, world: World, cgroup_parent: str, tmp_path: Path
) -> None:
    made = bundle(writable(), args=COUNT)
    before = world.run(runtime, made)
    assert [before.line() for _ in range(3)] == ["0", "1", "2"]
    pid = runtime.state("c")["pid"]
    world.checkpoint(runtime, "--work-path", tmp_path / "work")
    assert refused(runtime("state", "c")) == "container does not exist"
    assert dead(pid)
    assert cgroups_of(cgroup_parent) == []
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["dump.log", "stats-dump"]

    after = world.restore(runtime, made, "--pid-file", tmp_path / "pid", "--work-path", tmp_path / "work")
    assert int(after.line()) >= 3
    state = runtime.state("c")
    assert state["status"] == "running"
    assert (tmp_path / "pid").read_text() == str(state["pid"])
    assert json.loads(runtime("ps", "--format", "json", "c", check=True).stdout) != []
    assert refused(runtime("start", "c")) == "cannot start an already running container"
    assert refused(runtime("delete", "c")).endswith("that is not stopped: running")
    runtime("kill", "c", "KILL", check=True)
    await_death(state["pid"])
    assert runtime.state("c")["status"] == "stopped"
    runtime("delete", "c", check=True)


@pytest.mark.parametrize(("saves", "restores"), [("runc", "aiorun"), ("aiorun", "runc")])
def test_images_of_one_runtime_are_restored_by_the_other(
    request: pytest.FixtureRequest, criu: None, bundle: Bundles, world: World, saves: str, restores: str
) -> None:
    first, second = request.getfixturevalue(saves), request.getfixturevalue(restores)
    made = bundle(both(namespaces(cgroup=""), writable()), args=COUNT)  # without one runc 1.1.5 has another cgroup mount
    world.run(first, made).line()
    world.checkpoint(first)
    assert int(world.restore(second, made).line()) > 0
    second("delete", "--force", "c", check=True)


def test_a_restored_container_is_saved_and_restored_again(runtime: CommandLine, bundle: Bundles, world: World) -> None:
    made = bundle(writable(), args=COUNT)
    last = int(world.run(runtime, made).line())
    for _ in range(2):
        world.checkpoint(runtime)
        now = int(world.restore(runtime, made).line())
        assert now > last
        last = now
        shutil.rmtree(world.images)
    runtime("delete", "--force", "c", check=True)


def test_one_that_is_left_running_goes_on(runtime: CommandLine, bundle: Bundles, world: World) -> None:
    output = world.run(runtime, bundle(writable(), args=COUNT))
    pid = runtime.state("c")["pid"]
    world.checkpoint(runtime, "--leave-running")
    assert (world.images / "inventory.img").exists()
    assert runtime.state("c")["pid"] == pid
    assert output.line() == "0"
    until(lambda: int(output.line()) > 5, "the container to go on")
    runtime("delete", "--force", "c", check=True)


def test_a_dump_builds_on_a_pre_dump(runtime: CommandLine, bundle: Bundles, world: World, tmp_path: Path) -> None:
    made = bundle(writable(), args=COUNT)
    world.run(runtime, made).line()
    runtime("checkpoint", "--pre-dump", "--image-path", tmp_path / "before", "c", check=True)
    assert runtime.state("c")["status"] == "running"
    world.checkpoint(runtime, "--parent-path", "../before")
    assert os.readlink(world.images / "parent") == "../before"
    assert int(world.restore(runtime, made).line()) > 0
    runtime("delete", "--force", "c", check=True)


# --- what belongs to it


def test_mounts_are_there_again(aiorun: CommandLine, criu: None, bundle: Bundles, world: World, tmp_path: Path) -> None:
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "file").write_text("of the host\n")
    change = both(
        mounting("/data", kind="none", source=str(tmp_path / "data"), options="rbind"),
        mounting("/data/inner/file", kind="none", source=str(tmp_path / "file"), options="bind,ro"),
        mounting("/link/there", kind="none", source=str(tmp_path / "data"), options="rbind"),
        mounting("/scratch", options="size=64k"),
    )
    script = "echo kept > /scratch/x; echo 1; while [ ! -e /data/go ]; do sleep 0.05; done; cat /scratch/x /data/inner/file"
    made = bundle(change, args=["sh", "-c", f"{script}; cut -d' ' -f5 /proc/self/mountinfo | sort; echo end; sleep 100"])
    (made / "rootfs" / "link").symlink_to("tmp")
    output = world.run(aiorun, made)
    assert output.line() == "1"
    before = mount_points(aiorun)
    world.checkpoint(aiorun)
    assert mounts_below(made) == []
    output = world.restore(aiorun, made)
    (tmp_path / "data" / "go").touch()
    assert [output.line(), output.line()] == ["kept", "of the host"]
    assert sorted(iter(output.line, "end")) == before
    assert mounts_below(made) == []  # nothing of ours is seen outside
    aiorun("delete", "--force", "c", check=True)


def mount_points(runtime: CommandLine) -> list[str]:
    lines = Path(f"/proc/{runtime.state('c')['pid']}/mountinfo").read_text().splitlines()
    return sorted(line.split()[4] for line in lines)


def mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4].startswith(str(directory))]


def test_a_root_without_the_places_of_its_mounts_gets_them(
    aiorun: CommandLine, criu: None, bundle: Bundles, world: World
) -> None:
    made = bundle(mounting("/a/b", options="size=64k"), args=COUNT)
    world.run(aiorun, made).line()
    world.checkpoint(aiorun)
    for name in ("a/b", "a"):
        (made / "rootfs" / name).rmdir()
    world.restore(aiorun, made).line()
    assert (made / "rootfs" / "a" / "b").is_dir()
    aiorun("delete", "--force", "c", check=True)


def test_a_network_namespace_by_path_is_left_alone(runtime: CommandLine, bundle: Bundles, world: World) -> None:
    holder = subprocess.Popen([need("unshare"), "--net", "sleep", "1000"])
    try:
        path = f"/proc/{holder.pid}/ns/net"
        until(lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"), "the namespace")
        made = bundle(both(namespaces(network=path), writable()), args=COUNT)
        world.run(runtime, made).line()
        world.checkpoint(runtime)
        world.restore(runtime, made).line()
        assert os.readlink(f"/proc/{runtime.state('c')['pid']}/ns/net") == os.readlink(path)
        runtime("delete", "--force", "c", check=True)
    finally:
        holder.kill()
        holder.wait()


def test_limits_are_those_of_config_json(aiorun: CommandLine, criu: None, bundle: Bundles, world: World) -> None:
    made = bundle(writable({"linux": {"resources": {"pids": {"limit": 77}}}}), args=COUNT)
    world.run(aiorun, made).line()
    world.checkpoint(aiorun)
    config = bundle.read(made)
    config["linux"]["resources"]["pids"]["limit"] = 78
    config["linux"]["cgroupsPath"] += "-moved"
    bundle.write(made, config)
    world.restore(aiorun, made).line()
    pid = aiorun.state("c")["pid"]
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    moved = [path for _, names, path in lines if names in ("pids", "") and path.endswith("-moved")]
    assert moved
    found = [Path(f"/sys/fs/cgroup{kind}{moved[0]}/pids.max") for kind in ("/pids", "")]
    assert [path.read_text() for path in found if path.exists()] == ["78\n"]
    aiorun("delete", "--force", "c", check=True)


def test_hooks_of_the_restore_and_of_the_end_run(runtime: CommandLine, bundle: Bundles, world: World, tmp_path: Path) -> None:
    log = tmp_path / "hooks"
    script = f'printf "$0 " >> {log}; cat >> {log}; echo >> {log}'
    hooks = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script, kind]}] for kind in ("prestart", "createRuntime", "poststop")
    }
    made = bundle(writable({"hooks": hooks}), args=COUNT)
    world.run(runtime, made).line()
    log.write_text("")
    world.checkpoint(runtime)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["poststop"]
    log.write_text("")
    world.restore(runtime, made).line()
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [kind for kind, _ in lines] == ["prestart", "createRuntime"]
    assert all(json.loads(state)["pid"] == runtime.state("c")["pid"] for _, state in lines)
    runtime("delete", "--force", "c", check=True)


# --- terminals and the foreground

GREET = ["sh", "-c", 'echo ready; read a; echo "got $a"; read b; exit 7']


def test_a_terminal_goes_to_the_console_socket(runtime: CommandLine, bundle: Bundles, world: World, tmp_path: Path) -> None:
    made = bundle(writable(), args=GREET, terminal=True)
    with listening(tmp_path / "first") as engine:
        runtime("run", "--detach", "--bundle", made, "--console-socket", tmp_path / "first", "c", check=True)
        master = engine.master()
        until(lambda: b"ready" in os.read(master, 4096), "the program")
        world.checkpoint(runtime)
    with listening(tmp_path / "second") as engine:
        command = ("restore", "--detach", "--bundle", made, "--image-path", world.images)
        runtime(*command, "--console-socket", tmp_path / "second", "c", check=True)
        master = engine.master()
        os.write(master, b"hello\n")
        until(lambda: b"got hello" in os.read(master, 4096), "the answer")
        assert os.readlink(f"/proc/{runtime.state('c')['pid']}/fd/0").startswith("/dev/")
    runtime("delete", "--force", "c", check=True)


def test_a_foreground_restore_relays_the_terminal_and_exits_with_the_programs_status(
    aiorun: CommandLine, criu: None, bundle: Bundles, world: World, tmp_path: Path, terminal: Any
) -> None:
    made = bundle(writable(), args=GREET, terminal=True)
    with listening(tmp_path / "first") as engine:
        aiorun("run", "--detach", "--bundle", made, "--console-socket", tmp_path / "first", "c", check=True)
        until(lambda: b"ready" in os.read(engine.master(), 4096), "the program")
        world.checkpoint(aiorun)
    front = terminal(aiorun.argv("restore", "--bundle", made, "--image-path", world.images, "c"), size=(31, 91))
    front.write(b"hello\n")
    until(lambda: b"got hello" in front.read(), "the answer")
    front.write(b"\n")
    assert front.wait() == 7
    assert refused(aiorun("state", "c")) == "container does not exist"


def test_a_foreground_restore_exits_with_the_programs_status(
    runtime: CommandLine, bundle: Bundles, world: World, tmp_path: Path
) -> None:
    made = bundle(writable(), args=["sh", "-c", "echo ready; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo more; exit 9"])
    assert world.run(runtime, made).line() == "ready"
    world.checkpoint(runtime)
    (made / "rootfs" / "tmp" / "go").touch()
    command = runtime.argv("restore", "--bundle", made, "--image-path", world.images, "c")
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (ended.returncode, ended.stdout) == (9, "more\n")
    assert refused(runtime("state", "c")) == "container does not exist"


# --- what goes wrong


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--manage-cgroups-mode", "x"], "Invalid manage-cgroups-mode value"),
        (["--empty-ns", "ipc"], 'namespace "ipc" is not supported'),
        (["--page-server", "here"], "Use --page-server ADDRESS:PORT to specify page server"),
        (["--page-server", "here:there"], "Invalid port number"),
        (["--parent-path", "/x"], "--parent-path must be relative"),
        (["--parent-path", "x"], "invalid --parent-path: stat {images}/x: no such file or directory"),
    ],
)
def test_flags_that_make_no_sense_are_told_in_runcs_words(
    runtime: CommandLine, bundle: Bundles, world: World, flags: list[str], text: str
) -> None:
    world.run(runtime, bundle(args=["sleep", "100"]))
    ended = runtime("checkpoint", "--image-path", world.images, *flags, "c")
    status = runtime.state("c")["status"]
    runtime("delete", "--force", "c", check=True)
    if "runc" in runtime.command and "manage-cgroups-mode" in flags[0]:
        pytest.skip("runc 1.1.5 has older words for it")
    said = ended.stderr.replace('\\"', '"').splitlines()[-1]  # 1.1.5 has one more line before it, "container still running"
    assert said.endswith(f'msg="{text.format(images=world.images)}"')
    assert (ended.returncode, status) == (1, "running")


def test_a_container_that_does_not_run_is_refused(runtime: CommandLine, bundle: Bundles, world: World) -> None:
    runtime("create", "--bundle", bundle(), "c", check=True)
    ended = runtime("checkpoint", "--image-path", world.images, "c")
    assert refused(ended) == "Container cannot be checkpointed in created state"
    runtime("delete", "--force", "c", check=True)


def test_a_dump_that_fails_lets_the_container_go_on(aiorun: CommandLine, criu: None, bundle: Bundles, world: World) -> None:
    with open(bundle.where / "output", "wb") as file:  # a file of the host's, which criu can't keep
        aiorun(
            "run", "--detach", "--bundle", bundle(writable(), args=COUNT), "c", check=True, stdout=file, stdin=file, stderr=file
        )
    message = refused(aiorun("checkpoint", "--image-path", world.images, "c"))
    assert message.startswith("criu failed: type DUMP errno ")
    assert "Can't lookup mount=" in message
    assert message.endswith(f"(log file: {world.images}/dump.log)")
    seen = os.path.getsize(bundle.where / "output")
    until(lambda: os.path.getsize(bundle.where / "output") > seen, "the container to go on")
    assert aiorun.state("c")["status"] == "running"
    aiorun("delete", "--force", "c", check=True)


def test_a_restore_that_fails_leaves_nothing(
    aiorun: CommandLine, criu: None, bundle: Bundles, world: World, cgroup_parent: str, tmp_path: Path
) -> None:
    made = bundle(writable(), args=COUNT)
    world.run(aiorun, made).line()
    world.checkpoint(aiorun)
    restore = ("restore", "--detach", "--bundle", made, "--pid-file", tmp_path / "pid")
    complaint = refused(aiorun(*restore, "--image-path", tmp_path / "nothing", "c"))
    assert complaint == f'open "{tmp_path}/nothing/descriptors.json": no such file or directory'
    (world.images / "pages-1.img").unlink()
    complaint = refused(aiorun(*restore, "--image-path", world.images, "c"))
    assert complaint.startswith("criu failed: type RESTORE errno ")
    assert complaint.endswith(f"(log file: {world.images}/restore.log)")
    assert refused(aiorun("state", "c")) == "container does not exist"
    assert cgroups_of(cgroup_parent) == []
    assert not (tmp_path / "pid").exists()


def test_a_hook_that_fails_ends_the_restore(
    aiorun: CommandLine, criu: None, bundle: Bundles, world: World, cgroup_parent: str
) -> None:
    def failing(config: Config) -> None:
        config["root"]["readonly"] = False

    made = bundle(failing, args=COUNT)
    world.run(aiorun, made).line()
    world.checkpoint(aiorun)
    config = bundle.read(made)
    config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    bundle.write(made, config)
    complaint = refused(aiorun("restore", "--detach", "--bundle", made, "--image-path", world.images, "c"))
    assert complaint.startswith("error running createRuntime hook #0: ")
    assert cgroups_of(cgroup_parent) == []
    assert refused(aiorun("state", "c")) == "container does not exist"


def test_an_id_that_is_taken_is_refused(runtime: CommandLine, bundle: Bundles, world: World) -> None:
    made = bundle(writable(), args=COUNT)
    world.run(runtime, made).line()
    world.checkpoint(runtime, "--leave-running")
    ended = runtime("restore", "--detach", "--bundle", made, "--image-path", world.images, "c")
    assert refused(ended) == "container with given ID already exists"
    assert runtime.state("c")["status"] == "running"
    runtime("delete", "--force", "c", check=True)


# --- killed on the way

MOMENTS = [0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 1.8, 2.5]  # seconds: some of them are in the middle, on any machine


def killed_after(runtime: CommandLine, seconds: float, *command: str | Path, output: int) -> None:
    """Run a command that gets SIGKILL after so long, if it needs that long."""
    with runtime.popen(*command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()


def criu_is_gone(images: Path) -> bool:
    """It works in the directory of the images, as long as it works."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == str(images):
                return False
        except OSError:
            pass  # gone meanwhile
    return True


def test_a_restore_that_is_killed_can_be_cleaned_up_and_done_again(
    aiorun: CommandLine, criu: None, bundle: Bundles, world: World, cgroup_parent: str
) -> None:
    made = bundle(writable(), args=COUNT)
    output = world.run(aiorun, made)
    output.line()
    world.checkpoint(aiorun)
    for seconds in MOMENTS:
        command = ("restore", "--detach", "--bundle", made, "--image-path", world.images, "c")
        killed_after(aiorun, seconds, *command, output=output.theirs)
        aiorun("delete", "--force", "c", check=True)
        assert refused(aiorun("state", "c")) == "container does not exist"
        until(lambda: criu_is_gone(world.images), "criu to end")
        assert cgroups_of(cgroup_parent) == []
        assert mounts_below(made) == []
    assert int(world.restore(aiorun, made).line()) > 0
    aiorun("delete", "--force", "c", check=True)


def test_a_checkpoint_that_is_killed_leaves_a_container_that_runs_or_one_that_is_saved(
    aiorun: CommandLine, criu: None, bundle: Bundles, world: World, cgroup_parent: str
) -> None:
    made = bundle(writable(), args=COUNT)
    for seconds in MOMENTS:
        output = world.run(aiorun, made)
        output.line()
        killed_after(aiorun, seconds, "checkpoint", "--image-path", world.images, "c", output=output.theirs)
        until(lambda: criu_is_gone(world.images), "criu to end")
        ended = aiorun("state", "c")
        status = json.loads(ended.stdout)["status"] if ended.returncode == 0 else ""
        assert status in ("running", "stopped", "")
        if status == "running":
            now = int(output.line())
            until(lambda: int(output.line()) > now + 20, "the container to go on")  # noqa: B023
        aiorun("delete", "--force", "c", check=True)
        assert cgroups_of(cgroup_parent) == []
    assert mounts_below(made) == []
