"""Containers of a user who isn't root: the whole main job, with and without granted ids, with and without cgroups."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ptyprocess import PtyProcess

from tests import leaks
from tests.conftest import CHECKOUT, Change, Config, need, need_root
from tests.container.conftest import Mounts
from tests.container.test_seccomp import MKDIR, NNP, rule, seccomp
from tests.rootless import COUNT, FIRST, GID, NAME, UID, User, UsersCommandLine, ranges
from tests.seccomp_agent import Agent
from tests.waiting import until


@pytest.fixture
def user(mounted: Mounts) -> Iterator[User]:
    """The test's own user, whom newuidmap knows."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="aiorun-test-") as directory:
        os.chmod(directory, 0o755)
        for name, line in (
            ("passwd", f"{NAME}:x:{UID}:{GID}::/:/bin/sh"),
            ("group", f"{NAME}:x:{GID}:"),
            ("subuid", f"{NAME}:{FIRST}:{COUNT}"),
            ("subgid", f"{NAME}:{FIRST}:{COUNT}"),
        ):
            etc = Path("/etc", name)
            copy = Path(directory, name)
            copy.write_text((etc.read_text() if etc.exists() else "") + f"{line}\n")
            if not etc.exists():
                pytest.skip(f"no {etc} to be covered")
            mounted.bind(copy, etc)
        yield User(Path(directory))
        mounted.unmount()


@pytest.fixture(params=["aiorun", "runc"])
def runtime(request: pytest.FixtureRequest, user: User) -> Iterator[UsersCommandLine]:
    """aiorun as the user calls it, and then runc."""
    command = str(CHECKOUT / ".venv/bin/aiorun") if request.param == "aiorun" else need("runc")
    yield from with_nothing_left(UsersCommandLine(command, user))


@pytest.fixture
def aiorun(user: User) -> Iterator[UsersCommandLine]:
    """aiorun as the user calls it."""
    yield from with_nothing_left(UsersCommandLine(str(CHECKOUT / ".venv/bin/aiorun"), user))


def with_nothing_left(command_line: UsersCommandLine) -> Iterator[UsersCommandLine]:
    yield command_line
    leaks.fail_for(leaks.remove_containers(command_line.root))


def said(command_line: UsersCommandLine, change: Change, script: str) -> str:
    ended = command_line("run", "--bundle", command_line.user.bundle(change, args=["sh", "-c", script]), "x")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def refused(command_line: UsersCommandLine, change: Change) -> str:
    ended = command_line("run", "--bundle", command_line.user.bundle(change, args=["echo", "ran"]), "x")
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    return ended.stderr.replace('\\"', '"')


def test_the_rootless_document_works_as_it_stands(runtime: UsersCommandLine) -> None:
    """The user is root inside, of himself alone."""
    script = "id -u; id -g; cd /proc/self; cat uid_map gid_map setgroups; echo x > /dev/null; stat -c %u /; hostname"
    lines = said(runtime, None, script).splitlines()
    assert lines[:2] == ["0", "0"]
    assert [line.split() for line in lines[2:4]] == [["0", str(UID), "1"], ["0", str(GID), "1"]]
    assert lines[4:] == ["deny", "0", "runc"]


@pytest.mark.parametrize("nnp", NNP)
def test_a_seccomp_filter_is_loaded(runtime: UsersCommandLine, nnp: bool) -> None:
    change = seccomp(rule(MKDIR, "ERRNO", errnoRet=errno.ENOTTY), nnp=nnp)
    lines = said(runtime, change, "mkdir /tmp/made 2>&1; grep Seccomp: /proc/self/status").splitlines()
    assert (os.strerror(errno.ENOTTY) in lines[0], lines[1].split()) == (True, ["Seccomp:", "2"])


@pytest.mark.parametrize("nnp", NNP)
def test_a_seccomp_listener_is_handed_on(runtime: UsersCommandLine, user: User, nnp: bool) -> None:
    supervisor = Agent(user.home / "agent", lambda _number: errno.ENOTTY)
    os.chown(user.home / "agent", UID, GID)
    try:
        change = seccomp(rule(MKDIR, "NOTIFY"), nnp=nnp, listenerPath=str(user.home / "agent"))
        assert os.strerror(errno.ENOTTY) in said(runtime, change, "mkdir /tmp/made 2>&1; true")
        assert supervisor.calls == 1
    finally:
        supervisor.close()


def test_an_init_is_closed_again_once_its_listener_is_handed_on(aiorun: UsersCommandLine, user: User) -> None:
    """proc(5): what isn't dumpable is root's in /proc."""
    supervisor = Agent(user.home / "agent", lambda _number: 0)
    os.chown(user.home / "agent", UID, GID)
    try:
        change = seccomp(rule(["prctl", "mkdir"], "NOTIFY"), listenerPath=str(user.home / "agent"))
        aiorun("create", "--bundle", user.bundle(change), "x", check=True)
        assert os.stat(f"/proc/{aiorun.state('x')['pid']}/environ").st_uid == 0
    finally:
        aiorun("delete", "--force", "x")
        supervisor.close()


def test_a_whole_life(runtime: UsersCommandLine, user: User) -> None:
    made = user.bundle(args=["sh", "-c", "sleep 1000 & exec sleep 1000"])
    runtime("create", "--bundle", made, "--pid-file", user.home / "pid", "life", check=True)
    try:
        state = runtime.state("life")
        assert (state["status"], state["pid"]) == ("created", int((user.home / "pid").read_text()))
        owner = NAME if Path(runtime.command).name == "aiorun" else state["owner"]  # 1.1.5 has none here
        assert state["owner"] == owner
        listed = json.loads(runtime("list", "--format", "json", check=True).stdout)
        assert [(entry["id"], entry["status"], entry["owner"]) for entry in listed] == [("life", "created", NAME)]
        runtime("start", "life", check=True)
        assert runtime.state("life")["status"] == "running"
        status = Path(f"/proc/{state['pid']}/status").read_text()
        assert f"\nUid:\t{UID}\t{UID}\t{UID}\t{UID}\n" in status
        refused_ = runtime("delete", "life")
        assert (refused_.returncode, "that is not stopped: running" in refused_.stderr) == (1, True)
        runtime("kill", "life", "KILL", check=True)
        until(lambda: runtime.state("life")["status"] == "stopped", "the end")
        runtime("delete", "life", check=True)
        assert runtime("list", "--quiet").stdout == ""
        assert runtime("delete", "--force", "life").returncode == 0
    finally:
        runtime("delete", "--force", "life")


def test_ps_lists_the_processes_of_a_container_without_a_cgroup(aiorun: UsersCommandLine, user: User) -> None:
    """runc can't."""
    aiorun("run", "--detach", "--bundle", user.bundle(args=["sh", "-c", "(sleep 1000 &); exec sleep 1000"]), "x", check=True)
    try:
        until(lambda: len(json.loads(aiorun("ps", "--format", "json", "x").stdout)) == 2, "the second sleep")
        pids = json.loads(aiorun("ps", "--format", "json", "x").stdout)
        assert aiorun.state("x")["pid"] in pids
        table = aiorun("ps", "x", check=True).stdout.splitlines()
        assert len(table) == 3 and all("sleep 1000" in line for line in table[1:])
    finally:
        aiorun("delete", "--force", "x", check=True)
    assert aiorun("ps", "x").returncode == 1


def test_the_root_directory_is_the_users_own_and_kept_from_being_tidied(runtime: UsersCommandLine, user: User) -> None:
    said(runtime, None, "true")
    status = os.stat(runtime.root)
    assert (status.st_mode & 0o7777, status.st_uid) == (0o1700, UID)
    assert os.listdir(runtime.root) == []


@pytest.mark.parametrize("variable", [{}, {"XDG_RUNTIME_DIR": ""}])
def test_without_a_runtime_directory_it_is_that_of_root(runtime: UsersCommandLine, user: User, variable: dict[str, str]) -> None:
    environment = {name: value for name, value in user.environment.items() if name != "XDG_RUNTIME_DIR"} | variable
    ended = runtime("run", "--bundle", user.bundle(), "x", env=environment)
    assert ended.returncode == 1
    assert f"/run/{Path(runtime.command).name}" in ended.stderr
    assert "permission denied" in ended.stderr


def test_it_needs_a_user_namespace(runtime: UsersCommandLine) -> None:
    def without(config: Config) -> None:
        config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "user"]
        config["linux"] |= {"uidMappings": [], "gidMappings": []}

    assert "rootless container requires user namespaces" in refused(runtime, without)


# --- terminals


def test_a_terminal_is_received_at_a_console_socket(aiorun: UsersCommandLine, user: User) -> None:
    socket, output = user.home / "tty.sock", user.home / "output"
    output.touch()
    user.own(output)
    recvtty = user.argv([str(CHECKOUT / ".venv/bin/recvtty"), "--no-stdin", str(socket)])
    with output.open("wb") as file, subprocess.Popen(recvtty, stdout=file, env=user.environment) as receiver:
        until(socket.exists, "recvtty")
        made = user.bundle(args=["sh", "-c", "tty; stat -c %u $(tty) /dev/console"], terminal=True)
        aiorun("create", "--bundle", made, "--console-socket", socket, "t", check=True)
        aiorun("start", "t", check=True)
        assert receiver.wait() == 0
    aiorun("delete", "--force", "t", check=True)
    assert output.read_text().split() == ["/dev/pts/0", "0", "0"]


def test_run_has_the_callers_terminal(runtime: UsersCommandLine, user: User, terminal: Callable[..., PtyProcess]) -> None:
    made = user.bundle(args=["sh", "-c", "stat -c %u $(tty); stty size; exit 7"], terminal=True)
    child = terminal(runtime.argv("run", "--bundle", made, "t"), size=(31, 77), env=user.environment, cwd=str(user.home))
    shown = b""
    with contextlib.suppress(EOFError):
        while True:
            shown += child.read()
    told = shown.split()
    if Path(runtime.command).name == "runc":
        told[1:] = [b"31", b"77"]  # runc sets the size while the program begins
    assert (child.wait(), told) == (7, [b"0", b"31", b"77"])


def test_exec(runtime: UsersCommandLine, user: User, terminal: Callable[..., PtyProcess]) -> None:
    runtime("run", "--detach", "--bundle", user.bundle(args=["sleep", "1000"]), "x", check=True)
    try:
        uid, maps, own = runtime(
            "exec", "x", "sh", "-c", "id -u; cat /proc/self/uid_map; echo $$", check=True
        ).stdout.splitlines()
        assert (uid, maps.split(), int(own) > 1) == ("0", ["0", str(UID), "1"], True)
        assert runtime("exec", "x", "sh", "-c", "exit 7").returncode == 7
        child = terminal(
            runtime.argv("exec", "--tty", "x", "stty", "size"), env=user.environment, cwd=str(user.home), size=(31, 77)
        )
        shown = b""
        with contextlib.suppress(EOFError):
            while True:
                shown += child.read()
        assert (child.wait(), shown.split()) == (0, [b"31", b"77"])
        assert runtime("exec", "--user", "5", "x", "id").returncode == 255
    finally:
        runtime("delete", "--force", "x")


def test_root_of_a_user_namespace_alone_needs_no_other(aiorun: UsersCommandLine, user: User) -> None:
    """As rootless podman calls us, and its pods: pid namespaces are joined from which there's no way back to the host's."""

    def plain(config: Config) -> None:
        config["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]
        del config["linux"]["uidMappings"], config["linux"]["gidMappings"]

    made = user.bundle(plain, args=["sleep", "1000"])
    command = " ".join(aiorun.argv()[-1:])
    joining = user.bundle(plain, args=["sh", "-c", "echo $$ $(cat /proc/1/comm)"])
    script = f"""
        {command} run --detach --bundle {made} x </dev/null >/dev/null 2>&1 || exit 1
        {command} exec x sh -c 'id -u; cat /proc/1/comm; ls /dev/null'
        pid=$({command} ps --format json x | tr -d '[] ')
        sed -i 's,"type": "pid","type": "pid"\\, "path": "/proc/'$pid'/ns/pid",' {joining}/config.json
        {command} run --bundle {joining} y
        {command} delete --force x
    """
    ended = user.run([need("unshare"), "--user", "--map-root-user", "--mount", "sh", "-c", script], check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    first, second, third, (number, name) = [line.split() for line in ended.stdout.splitlines()]
    assert (first, second, third, name) == (["0"], ["sleep"], ["/dev/null"], "sleep")
    assert int(number) > 1


# --- ids


def test_granted_ids_are_mapped_by_newuidmap_and_newgidmap(runtime: UsersCommandLine, user: User) -> None:
    need("newuidmap")

    is_ours = Path(runtime.command).name == "aiorun"  # runc lets nobody but root have additional groups

    def change(config: Config) -> None:
        ranges(config)
        config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7, 8] if is_ours else []}

    lines = said(runtime, change, "id -u; id -g; id -G; cd /proc/self; cat uid_map gid_map setgroups").splitlines()
    assert lines[:3] == ["5", "6", "6 7 8" if is_ours else "6"]
    granted = ["1", str(FIRST), str(COUNT)]
    assert [line.split() for line in lines[3:7]] == [["0", str(UID), "1"], granted, ["0", str(GID), "1"], granted]
    assert lines[7] == "allow"


def test_ids_that_nobody_granted_are_an_error_with_what_the_tool_says(aiorun: UsersCommandLine, user: User) -> None:
    need("newuidmap")

    def change(config: Config) -> None:
        ranges(config)
        config["linux"]["uidMappings"][1]["hostID"] = 5

    assert 'newuidmap" (linux.uidMappings): newuidmap: uid range [1-' in refused(aiorun, change)
    assert "not allowed" in refused(aiorun, change)


def test_without_the_tools_only_ones_own_id_is_mapped(aiorun: UsersCommandLine, user: User, mounted: Mounts) -> None:
    for directory in ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"):
        for name in ("newuidmap", "newgidmap"):
            if os.path.isfile(f"{directory}/{name}"):
                mounted.bind(Path("/dev/null"), Path(directory, name))
    assert said(aiorun, None, "id -u") == "0"
    assert "(linux.gidMappings): newgidmap is not installed" in refused(aiorun, ranges)


def test_additional_groups_take_the_right_to_set_them(runtime: UsersCommandLine) -> None:
    """user_namespaces(7): who maps his group without a privilege gives up setgroups(2)."""
    groups = {"process": {"user": {"uid": 0, "gid": 0, "additionalGids": [0]}}}
    assert "cannot set any additional groups in a rootless container" in refused(runtime, groups)


# --- cgroups


@pytest.mark.parametrize(
    ("resources", "member"),
    [({"memory": {"limit": 1 << 26}}, "memory"), ({"pids": {"limit": 10}}, "pids"), ({"cpu": {"shares": 512}}, "cpu")],
)
def test_a_limit_is_refused_where_no_cgroup_may_be_made(aiorun: UsersCommandLine, resources: Config, member: str) -> None:
    error = refused(aiorun, {"linux": {"resources": resources}})
    assert f"set linux.resources.{member}: make cgroup /sys/fs/cgroup" in error
    assert "permission denied" in error


def test_a_place_for_the_cgroup_is_refused_where_it_may_not_be_made(runtime: UsersCommandLine) -> None:
    assert "permission denied" in refused(runtime, {"linux": {"cgroupsPath": "/aiorun-test"}})


def test_what_asks_for_no_limit_is_done_without(runtime: UsersCommandLine, user: User) -> None:
    """Device rules among it: nobody but root sets them, or makes devices. The container stays in the caller's cgroup."""
    empty = {"devices": [{"allow": False, "access": "rwm"}], "memory": {}, "cpu": {"shares": 0}}
    runtime("create", "--bundle", user.bundle({"linux": {"resources": empty}}), "x", check=True)
    try:
        assert Path(f"/proc/{runtime.state('x')['pid']}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    finally:
        runtime("delete", "--force", "x", check=True)


def test_the_cgroups_that_it_sees_cannot_be_written_to(runtime: UsersCommandLine) -> None:
    """CVE-2023-25809: there they could, where /sys is bound and no cgroup namespace made."""

    def change(config: Config) -> None:
        for mount in config["mounts"]:
            if mount["destination"] == "/sys":
                mount["options"] = ["rbind"]
        config["root"]["readonly"] = False

    script = """
        find /sys/fs/cgroup -name cgroup.procs | while read file; do (echo $$ > $file) 2>/dev/null && echo $file; done; echo end
    """
    assert said(runtime, change, script) == "end"


class Delegated:
    """A cgroup of the user's own in every hierarchy, in which he calls us."""

    def __init__(self, parent: str) -> None:
        self.directories = [mount / parent.lstrip("/") for mount in leaks.cgroup_mounts()]
        for directory in self.directories:
            directory.mkdir()
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (directory / name).exists() and (directory / "tasks").exists():
                    (directory / name).write_text((directory.parent / name).read_text())
            User.own(directory)

    def enter(self) -> None:
        """For Popen's preexec_fn."""
        for directory in self.directories:
            (directory / "cgroup.procs").write_text("0")


def test_in_a_cgroup_of_ones_own_the_container_gets_one_with_its_limits(
    aiorun: UsersCommandLine, user: User, cgroup_parent: str
) -> None:
    if not any((mount / "memory.limit_in_bytes").exists() for mount in leaks.cgroup_mounts()):
        pytest.skip("this host has cgroup v2 alone: tests/vm has it with systemd")
    delegated = Delegated(cgroup_parent)
    limits = {"linux": {"resources": {"memory": {"limit": 1 << 26}, "pids": {"limit": 20}}}}
    made = user.bundle(limits, args=["sleep", "1000"])
    aiorun("run", "--detach", "--bundle", made, "x", check=True, preexec_fn=delegated.enter)
    try:
        pid = str(aiorun.state("x")["pid"])
        assert all((directory / "x/cgroup.procs").read_text().split() == [pid] for directory in delegated.directories)
        (memory,) = (d for d in delegated.directories if (d / "x/memory.limit_in_bytes").exists())
        assert (memory / "x/memory.limit_in_bytes").read_text() == f"{1 << 26}\n"
        assert json.loads(aiorun("ps", "--format", "json", "x").stdout) == [aiorun.state("x")["pid"]]
    finally:
        aiorun("delete", "--force", "x", check=True)
    assert leaks.cgroups_below(cgroup_parent) == []


# --- what others see of it


def test_a_waiting_init_is_closed_to_its_own_user(aiorun: UsersCommandLine, user: User) -> None:
    """P14. While its maps are written it has to be open; proc(5): whose process is closed, his /proc/PID is root's."""
    aiorun("create", "--bundle", user.bundle(args=["sleep", "1000"]), "x", check=True)
    pid = aiorun.state("x")["pid"]
    try:
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0
        assert user.run(["cat", f"/proc/{pid}/environ"], check=False).returncode == 1
        aiorun("start", "x", check=True)
        assert os.stat(f"/proc/{pid}/environ").st_uid == UID
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_the_interpreter_of_a_user_is_a_sealed_copy(aiorun: UsersCommandLine, user: User, mounted: Mounts) -> None:
    """CVE-2019-5736. Without root's overlay: in memory, where no write comes through."""
    mounted.over(Path("/run"), "-t", "tmpfs", "tmpfs")
    aiorun("create", "--bundle", user.bundle(args=["sleep", "1000"]), "x", check=True)
    pid = aiorun.state("x")["pid"]
    try:
        assert os.readlink(f"/proc/{pid}/exe") == "/memfd:aiorun-python (deleted)"
        with open(f"/proc/{pid}/exe", "rb") as exe:
            assert fcntl.fcntl(exe, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    finally:
        aiorun("delete", "--force", "x", check=True)


# --- the library


LIBRARY = """
import sys, trio, aiorun

async def main():
    async with aiorun.Runtime(root=sys.argv[1]) as runtime:
        async with runtime.container("job", bundle=sys.argv[2], stdout=aiorun.PIPE) as job:
            await job.start()
            print((await job.stdout.receive_some()).decode(), await job.wait())

trio.run(main)
"""


def test_a_supervisor_need_not_be_root(user: User) -> None:
    made = user.bundle(args=["sh", "-c", "cat /proc/self/uid_map; exit 7"])
    script = user.home / "supervisor.py"
    script.write_text(LIBRARY)
    ended = user.run([str(CHECKOUT / ".venv/bin/python"), str(script), str(user.home / "root"), str(made)], check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split()[:3] == ["0", str(UID), "1"]
    assert "code=7" in ended.stdout


def test_no_capability_is_said_to_be_missing_that_a_user_namespace_has(aiorun: UsersCommandLine, user: User) -> None:
    ended = aiorun("--debug", "run", "--bundle", user.bundle(args=["grep", "CapEff", "/proc/self/status"]), "x", check=True)
    assert ended.stdout.split() == ["CapEff:", "0000000020000420"]
    assert "process.capabilities.effective" not in ended.stderr


def test_the_demo_runs_for_a_user(user: User) -> None:
    ended = user.run([str(CHECKOUT / "scripts/demo")], check=False, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "exit code: 7" in ended.stdout
    assert not list(user.home.glob("aiorun-demo*"))
