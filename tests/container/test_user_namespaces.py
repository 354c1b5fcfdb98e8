"""User namespaces, new and joined. config-linux.md, "User namespace mappings"; user_namespaces(7)."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ptyprocess import PtyProcess

from tests.conftest import CHECKOUT, Bundles, CommandLine, Config, need, need_root
from tests.container.configs import both, mounting, namespaces
from tests.container.conftest import Sandbox
from tests.container.test_seccomp import MKDIR, NNP, rule, seccomp
from tests.container.users import COUNT, FIRST, MappedBundles, joining
from tests.seccomp_agent import Agents
from tests.seccomp_agent import agent as agent
from tests.waiting import until

MAPS = [["0", str(FIRST), str(COUNT)]]


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that everybody may pass through; pytest's own is root's alone."""
    with tempfile.TemporaryDirectory(prefix="aiorun-test-") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture
def bundle(reachable: Path, cgroup_parent: str) -> MappedBundles:
    """Bundles of containers with a user namespace."""
    need_root()
    return MappedBundles(reachable, cgroup_parent)


# --- a new one


def test_root_of_a_new_user_namespace_is_another_user_outside(sandbox: Sandbox) -> None:
    script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; touch /made"
    made = sandbox.bundle(args=["sh", "-c", script])
    uid, gid, *maps, setgroups = sandbox.run_bundle(made).stdout.splitlines()
    assert (uid, gid, setgroups) == ("0", "0", "allow")
    assert [line.split() for line in maps] == MAPS * 2
    assert os.stat(made / "rootfs/made").st_uid == os.stat(made / "rootfs/made").st_gid == FIRST


def test_its_namespaces_belong_to_it_and_all_that_a_container_has_is_there(sandbox: Sandbox) -> None:
    """Mounting, names, interfaces, sysctls and the message queues are its root's."""
    names = ("bounding", "permitted", "effective", "inheritable", "ambient")
    change: Config = {
        "hostname": "mapped",
        "linux": {"sysctl": {"net.ipv4.ip_forward": "1"}},
        "process": {"capabilities": {name: ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"] for name in names}},
    }
    script = """
        hostname; cat /proc/sys/net/ipv4/ip_forward; mount -t tmpfs x /tmp && echo mounted; hostname other; hostname
        ip link set lo down && echo down; stat -c %u /dev/mqueue /dev/pts /dev/shm; echo x > /dev/shm/x
        stat -c %u /dev/shm/x; wc -c < /proc/keys; echo 1 > /proc/sysrq-trigger || echo kept
    """
    said = sandbox(change, script).split()
    assert said == ["mapped", "1", "mounted", "other", "down", *"0000", "0", "kept"]


def test_its_devices_are_the_hosts_own_nodes(sandbox: Sandbox) -> None:
    """Nobody makes a device there: they are mounted. capabilities(7), CAP_MKNOD."""
    extra = {"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11}
    script = """
        echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 5 /dev/urandom | wc -c
        (echo y > /dev/full) 2>/dev/null || echo full
        for name in null zero full tty random urandom kmsg; do stat -c '%t:%T' /dev/$name; done
    """
    said = sandbox({"linux": {"devices": [extra]}}, script).split()
    assert said == ["3", "5", "full", "1:3", "1:5", "1:7", "5:0", "1:8", "1:9", "1:b"]


def test_a_fifo_is_made_and_not_mounted(ours: Sandbox) -> None:
    """runc mounts the host's, which isn't there."""
    assert ours({"linux": {"devices": [{"type": "p", "path": "/dev/pipe", "fileMode": 0o600}]}}, "stat -c %F /dev/pipe") == "fifo"


@pytest.mark.parametrize("numbers", [(1, 4), (10, 229)])
def test_a_device_that_the_host_has_not_at_its_path_is_an_error(ours: Sandbox, numbers: tuple[int, int]) -> None:
    path = "/dev/null" if numbers == (1, 4) else "/dev/no-such"
    device = {"type": "c", "path": path, "major": numbers[0], "minor": numbers[1]}
    error = ours.refuses({"linux": {"devices": [device]}})
    reason = "the host has another file there" if numbers == (1, 4) else "no such file or directory"
    assert f'make the device "{path}" (linux.devices[0]): {reason}' in error


def test_a_user_and_groups_are_the_namespaces(runtime: CommandLine, bundle: Bundles) -> None:
    user = {"process": {"user": {"uid": 1000, "gid": 1001, "additionalGids": [5, 6]}, "oomScoreAdj": 77}}
    runtime("create", "--bundle", bundle(user, args=["sh", "-c", "sleep 1000"]), "c", check=True)
    try:
        runtime("start", "c", check=True)
        status = Path(f"/proc/{runtime.state('c')['pid']}/status").read_text()
        found = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
        assert (found["Uid"], found["Gid"]) == ([str(FIRST + 1000)] * 4, [str(FIRST + 1001)] * 4)
        assert sorted(found["Groups"]) == [str(FIRST + 5), str(FIRST + 6)]
        assert Path(f"/proc/{runtime.state('c')['pid']}/oom_score_adj").read_text() == "77\n"
    finally:
        runtime("delete", "--force", "c")


def test_masks_and_read_only_paths_hold(sandbox: Sandbox) -> None:
    change = {"linux": {"maskedPaths": ["/etc/passwd", "/root"], "readonlyPaths": ["/etc"]}, "root": {"readonly": False}}
    assert sandbox(change, "wc -c < /etc/passwd; ls /root; touch /etc/x 2>/dev/null || echo kept; touch /x").split() == [
        "0",
        "kept",
    ]


def test_pipes_can_be_opened_again_by_their_path(sandbox: Sandbox) -> None:
    made = sandbox.bundle(args=["sh", "-c", "cat /dev/stdin > /dev/stdout; echo e > /dev/stderr"])
    with subprocess.Popen(
        sandbox.command_line.argv("run", "--bundle", made, "p"), stdin=-1, stdout=-1, stderr=-1, start_new_session=True
    ) as running:
        assert running.communicate(b"words") == (b"words", b"e\n")


def test_a_terminal_is_its_roots(sandbox: Sandbox, terminal: Callable[..., PtyProcess]) -> None:
    made = sandbox.bundle(args=["sh", "-c", "stat -c %u $(tty) /dev/console; echo > /dev/tty; tty"], terminal=True)
    child = terminal(sandbox.command_line.argv("run", "--bundle", made, "t"))
    said = b""
    with contextlib.suppress(EOFError):
        while True:
            said += child.read()
    assert (child.wait(), said.split()) == (0, [b"0", b"0", b"/dev/pts/0"])


def test_hooks_are_root_of_their_own_namespace(sandbox: Sandbox, reachable: Path) -> None:
    """Those of the runtime's namespaces are the caller's root, those of the container's the container's."""
    script = reachable / "hook"
    script.write_text('#!/bin/sh\necho "$1 $(id -u) $(echo $(tail -n 1 /proc/self/uid_map))" >> /tmp/hooks\n')
    script.chmod(0o755)
    kinds = ("prestart", "createRuntime", "createContainer", "poststart")
    log = reachable / "hooks"
    log.touch()
    log.chmod(0o666)
    script.write_text(script.read_text().replace("/tmp/hooks", str(log)))
    hooks = {kind: [{"path": str(script), "args": ["hook", kind], "env": ["PATH=/usr/bin:/bin"]}] for kind in kinds}
    sandbox({"hooks": hooks}, "true")
    outside, inside = " 0 0 4294967295", f" 0 {FIRST} {COUNT}"
    expected = {"createContainer": inside}
    assert log.read_text().splitlines() == [f"{kind} 0{expected.get(kind, outside)}" for kind in kinds]


def test_the_fifo_is_its_roots(aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], root_dir: Path) -> None:
    id = container(bundle())
    status = os.stat(root_dir / id / "exec.fifo")
    assert (status.st_uid, status.st_gid) == (FIRST, FIRST)
    aiorun("start", id, check=True)


@pytest.mark.parametrize("owner", [0, 12345], ids=["of root", "of somebody else"])
def test_a_root_and_sources_below_directories_closed_to_it_are_found(
    aiorun: CommandLine, cgroup_parent: str, tmp_path: Path, owner: int
) -> None:
    """As of kubelet's, Docker's and people's homes. runc finds the sources, too, but not the root."""
    closed = tmp_path / "closed"
    (closed / "source").mkdir(parents=True)
    (closed / "source/word").write_text("word")
    (closed / "link").symlink_to(closed / "source")
    sandbox = Sandbox(aiorun, MappedBundles(closed, cgroup_parent))
    change = both(
        *(
            mounting(f"/{name}", kind="bind", source=str(closed / source), options=options)
            for name, source, options in (("one", "source", "rbind"), ("two", "source", "bind,ro"), ("three", "link", "bind"))
        ),
        mounting("/four", kind="bind", source=str(closed / "source/word"), options="bind"),
    )
    made = sandbox.bundle(change, args=["sh", "-c", "cat /one/word /two/word /three/word /four; ls /proc/self/fd | wc -l"])
    missing = mounting("/x", kind="bind", source="/no/such", options="bind")
    os.chown(closed, owner, owner)
    closed.chmod(0o700)
    assert sandbox.run_bundle(made).stdout == "wordwordwordword4\n"
    assert "(mounts[7]): no such file or directory" in sandbox.refuses(missing)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"linux": {"uidMappings": []}}, "linux.uidMappings: user namespaces enabled, but no uid mappings found"),
        ({"linux": {"gidMappings": None}}, "linux.gidMappings: user namespaces enabled, but no gid mappings found"),
        (namespaces(user=None), "linux.uidMappings: user namespace mappings specified, but user namespace isn't enabled"),
        ({"process": {"user": {"uid": COUNT, "gid": 0}}}, "set the user and groups (process.user): invalid argument"),
        (
            {"linux": {"uidMappings": [{"containerID": 0, "hostID": 5, "size": 1}] * 2}},
            "write the uid map (linux.uidMappings): invalid argument",
        ),
        (
            {"linux": {"gidMappings": [{"containerID": 1, "hostID": 5, "size": 1}]}},
            "become root of the user namespace (linux.namespaces): invalid argument",
        ),
    ],
)
def test_maps_that_make_no_sense_are_an_error_with_their_place(ours: Sandbox, change: Config, reason: str) -> None:
    assert reason in ours.refuses(change)


# --- one that is there


@pytest.fixture
def pod(aiorun: CommandLine, bundle: Bundles, container: Callable[..., str]) -> int:
    """The pid of a container with all namespaces of its own, which others join."""
    need_root()
    id = container(bundle(namespaces(cgroup=""), args=["sleep", "1000"]))
    aiorun("start", id, check=True)
    return int(aiorun.state(id)["pid"])


@pytest.mark.parametrize(
    "names",
    [(), ("pid",), ("net", "ipc"), ("pid", "net", "ipc", "uts"), ("cgroup",), ("pid", "net", "ipc", "uts", "cgroup")],
    ids=lambda names: "+".join(("user", *names)),
)
def test_a_user_namespace_is_joined_alone_or_with_others_of_it(sandbox: Sandbox, pod: int, names: tuple[str, ...]) -> None:
    """As the containers of a pod do. What isn't joined is new, and belongs to it: a procfs and a devpts can be mounted."""
    if "cgroup" in names and Path(sandbox.command_line.command).name == "runc":
        pytest.skip("runc 1.1.5 can't join a cgroup namespace")
    script = "cat /proc/self/uid_map; for n in user pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; echo $$"
    maps, *links, pid = sandbox(joining(pod, *names), script).splitlines()
    assert maps.split() == MAPS[0]
    for name, link in zip(("user", "pid", "net", "ipc", "uts", "cgroup"), links):
        theirs, hosts = os.readlink(f"/proc/{pod}/ns/{name}"), os.readlink(f"/proc/self/ns/{name}")
        assert (link == theirs) == (name in ("user", *names)), name
        assert link != hosts or name == "cgroup"
    assert (pid == "1") == ("pid" not in names)


def test_a_mount_namespace_of_it_is_joined(
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], reachable: Path
) -> None:
    id = container(bundle(mounting(str(reachable), kind="bind", source=str(reachable), options="bind"), args=["sleep", "1000"]))
    aiorun("start", id, check=True)
    pid = int(aiorun.state(id)["pid"])
    without_mounts = {"mounts": [], "linux": {"maskedPaths": [], "readonlyPaths": []}}
    made = bundle(both(joining(pid, "mnt"), without_mounts), args=["stat", "-c", "%u", "/"])
    theirs = os.readlink(f"/proc/{pid}/ns/mnt")
    second = container(made)
    assert os.readlink(f"/proc/{aiorun.state(second)['pid']}/ns/mnt") == theirs


@pytest.fixture
def hosts_namespaces(leaves_nothing: None) -> Iterator[int]:
    """The pid of a process with namespaces that the host's root owns."""
    need_root()
    argv = [need("unshare"), "--net", "--ipc", "--uts", "--cgroup", "sleep", "1000"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        until(lambda: b"sleep" in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[0], "sleep")
        yield process.pid
        process.kill()


def test_a_new_user_namespace_goes_with_namespaces_of_the_host(sandbox: Sandbox, hosts_namespaces: int) -> None:
    """They are joined before it is made: in it there's no right any more to do so."""

    def change(config: Config) -> None:
        paths = {
            kind: f"/proc/{hosts_namespaces}/ns/{name}" for kind, name in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"))
        }
        namespaces(**paths)(config)
        config.pop("hostname")
        config["mounts"] = [mount for mount in config["mounts"] if mount["type"] not in ("sysfs", "mqueue", "cgroup")]

    script = "cat /proc/self/uid_map; for n in net ipc uts; do readlink /proc/self/ns/$n; done"
    maps, *links = sandbox(change, script).splitlines()
    assert maps.split() == MAPS[0]
    assert links == [os.readlink(f"/proc/{hosts_namespaces}/ns/{name}") for name in ("net", "ipc", "uts")]


def test_a_namespace_that_may_not_be_joined_is_named(ours: Sandbox, tmp_path: Path) -> None:
    """setns(2): nobody re-enters the user namespace that he is in."""
    error = ours.refuses(joining(os.getpid()))
    assert 'join the user namespace "/proc/' in error
    assert "(linux.namespaces[5].path): invalid argument" in error


def test_exec_joins_the_user_namespace(runtime: CommandLine, bundle: Bundles) -> None:
    """As its root or another user of it, with the devices, pipes and terminals of its own."""
    runtime("run", "--detach", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
    try:
        pid = runtime.state("x")["pid"]
        script = "id -u; cat /proc/self/uid_map; for n in user pid net mnt; do readlink /proc/self/ns/$n; done; echo $$"
        uid, maps, *links, own = runtime("exec", "x", "sh", "-c", script, check=True).stdout.splitlines()
        assert (uid, maps.split(), links) == (
            "0",
            MAPS[0],
            [os.readlink(f"/proc/{pid}/ns/{n}") for n in ("user", "pid", "net", "mnt")],
        )
        assert int(own) > 1
        assert runtime("exec", "--user", "7:8", "x", "id", check=True).stdout.split() == ["uid=7", "gid=8"]
        argv = runtime.argv("exec", "x", "sh", "-c", "cat /dev/stdin > /dev/stdout; echo e > /dev/stderr")
        with subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-1, start_new_session=True) as running:
            assert running.communicate(b"words") == (b"words", b"e\n")
    finally:
        runtime("delete", "--force", "x")


def test_exec_has_a_terminal_there(runtime: CommandLine, bundle: Bundles, terminal: Callable[..., PtyProcess]) -> None:
    runtime("run", "--detach", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
    try:
        child = terminal(runtime.argv("exec", "--tty", "x", "sh", "-c", "stat -c %u $(tty); exit 7"))
        said = b""
        with contextlib.suppress(EOFError):
            while True:
                said += child.read()
        assert (child.wait(), said.split()) == (7, [b"0"])
    finally:
        runtime("delete", "--force", "x")


SUPERVISOR = """
import os, sys, trio, aiorun

async def main():
    async with aiorun.Runtime(root=sys.argv[1]) as runtime:
        for number in range(3):
            async with runtime.container(f"job{number}", bundle=sys.argv[2], stdout=aiorun.PIPE) as job:
                await job.start()
                print((await job.stdout.receive_some()).decode(), (await job.wait()).code)
        try:
            await runtime.create("wrong", bundle=sys.argv[3])
        except aiorun.AiorunError as error:
            print("refused" if "join the user namespace" in str(error) else error)
    for task in os.listdir("/proc/self/task"):
        print("children", open(f"/proc/self/task/{task}/children").read().split())

trio.run(main)
"""


def test_the_library_joins_too_and_reaps_the_joiners(bundle: Bundles, pod: int, tmp_path: Path) -> None:
    """There the joiner is a child of the supervisor's, cloned by the launcher."""
    made = bundle(joining(pod, "net"), args=["sh", "-c", "readlink /proc/self/ns/net"])
    wrong = bundle(joining(os.getpid()))
    script = tmp_path / "supervisor.py"
    script.write_text(SUPERVISOR)
    argv = [str(CHECKOUT / ".venv/bin/python"), str(script), str(tmp_path / "supervised"), str(made), str(wrong)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    link = os.readlink(f"/proc/{pod}/ns/net")
    lines = ended.stdout.split("\n")
    assert ended.stdout.split()[:6] == [link, "0"] * 3, ended.stderr
    assert "refused" in lines
    assert {line for line in lines if line.startswith("children")} == {"children []"}


# --- time


def offsets(**clocks: tuple[int, int]) -> Config:
    return {"linux": {"timeOffsets": {clock: {"secs": s, "nanosecs": ns} for clock, (s, ns) in clocks.items()}}}


def uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


@pytest.mark.parametrize("users", [False, True], ids=["", "in a user namespace"])
def test_a_time_namespace_has_its_own_clocks(aiorun: CommandLine, reachable: Path, cgroup_parent: str, users: bool) -> None:
    """Not in runc 1.1.5."""
    kind = MappedBundles if users else Bundles
    sandbox = Sandbox(aiorun, kind(reachable, cgroup_parent))
    change = both(namespaces(time=""), offsets(boottime=(100000, 5), monotonic=(-100, 999999999)))
    said = sandbox(
        change,
        "readlink /proc/self/ns/time; readlink /proc/self/ns/time_for_children; cat /proc/self/timens_offsets; cat /proc/uptime",
    )
    own, of_children, monotonic, boottime, up = said.splitlines()
    assert own == of_children != os.readlink("/proc/self/ns/time")
    assert (monotonic.split(), boottime.split()) == (["monotonic", "-100", "999999999"], ["boottime", "100000", "5"])
    assert 100000 < float(up.split()[0]) < 100000 + uptime() + 1


def test_a_time_namespace_is_joined(
    aiorun: CommandLine, bundle: Bundles, container: Callable[..., str], reachable: Path, cgroup_parent: str
) -> None:
    plain = Bundles(reachable, cgroup_parent)
    id = container(plain(both(namespaces(time=""), offsets(boottime=(5000, 0))), args=["sleep", "1000"]))
    aiorun("start", id, check=True)
    path = f"/proc/{aiorun.state(id)['pid']}/ns/time"
    for bundles in (plain, bundle):  # owned by the host in both cases
        said = Sandbox(aiorun, bundles)(namespaces(time=path), "readlink /proc/self/ns/time; cat /proc/self/timens_offsets")
        assert said.splitlines()[0] == os.readlink(path)
        assert said.split()[-2:] == ["5000", "0"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (offsets(boottime=(1, 0)), "time namespace offsets specified, but time namespace isn't enabled in the config"),
        (
            both(namespaces(time="/proc/self/ns/time"), offsets(boottime=(1, 0))),
            "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
        ),
        (both(namespaces(time=""), offsets(monotonic=(0, 10**9))), "make a time namespace (linux.timeOffsets): invalid argument"),
        (
            both(namespaces(time=""), offsets(monotonic=(-(2**62), 0))),
            "make a time namespace (linux.timeOffsets): numerical result out of range",
        ),
    ],
)
def test_offsets_that_make_no_sense_are_an_error(ours: Sandbox, change: Config, reason: str) -> None:
    error = ours.refuses(change)
    assert "linux.timeOffsets" in error
    assert reason in error


# --- seccomp


@pytest.mark.parametrize("nnp", NNP)
@pytest.mark.parametrize("uid", [0, 7])
def test_a_filter_is_loaded_with_the_capabilities_of_the_namespace(sandbox: Sandbox, uid: int, nnp: bool) -> None:
    change = seccomp(rule(MKDIR, "ERRNO", errnoRet=errno.ENOTTY), nnp=nnp)
    change["process"]["user"] = {"uid": uid, "gid": uid}
    lines = sandbox(change, "mkdir /tmp/made 2>&1; grep Seccomp: /proc/self/status").splitlines()
    assert (os.strerror(errno.ENOTTY) in lines[0], lines[1].split()) == (True, ["Seccomp:", "2"])


@pytest.mark.parametrize("nnp", NNP)
def test_a_listener_comes_out_of_the_namespace(ours: Sandbox, tmp_path: Path, agent: Agents, nnp: bool) -> None:
    supervisor = agent(lambda _number: errno.ENOTTY)
    change = seccomp(rule(MKDIR, "NOTIFY"), nnp=nnp, listenerPath=str(tmp_path / "agent"))
    assert os.strerror(errno.ENOTTY) in ours(change, "mkdir /tmp/made 2>&1; true")
    assert supervisor.calls == 1
