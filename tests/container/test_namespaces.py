"""linux.namespaces: new, joined by path, and the host's; the names and sysctls in them. config-linux.md, "Namespaces"."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine, Config, need, need_root
from tests.container.configs import both, namespaces, writable
from tests.container.conftest import Sandbox
from tests.waiting import until

# type in config.json → name in /proc/PID/ns
NAMES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup"}


def show(*kinds: str) -> str:
    """A script that prints the namespaces that it is in."""
    return "; ".join(f"readlink /proc/self/ns/{NAMES[kind]}" for kind in kinds)


def own(name: str) -> str:
    return os.readlink(f"/proc/self/ns/{name}")


@pytest.mark.parametrize("kind", NAMES)
def test_a_namespace_without_a_path_is_new(sandbox: Sandbox, kind: str) -> None:
    assert sandbox(namespaces(**{kind: ""}), show(kind)) != own(NAMES[kind])


@pytest.mark.parametrize("kind", [kind for kind in NAMES if kind != "mount"])  # which test_rootfs has
def test_a_namespace_that_is_not_listed_is_the_callers(sandbox: Sandbox, kind: str) -> None:
    assert sandbox(both(namespaces(**{kind: None}), {"hostname": None}), show(kind)) == own(NAMES[kind])


class Holder:
    """A process with namespaces of its own, to be joined."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def path(self, kind: str) -> str:
        if kind == "pid":  # unshare's own is the host's: its children's is the new one
            return f"/proc/{self.process.pid}/ns/pid_for_children"
        return f"/proc/{self.process.pid}/ns/{NAMES[kind]}"


@pytest.fixture
def holder(leaves_nothing: None) -> Iterator[Holder]:
    need_root()
    argv = [need("unshare"), "--net", "--ipc", "--uts", "--mount", "--cgroup", "--pid", "--fork", "sleep", "1000"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: children.read_text().strip(), "unshare's child")
    child = children.read_text().split()[0]
    until(lambda: b"sleep" in Path(f"/proc/{child}/cmdline").read_bytes(), "sleep")
    yield Holder(process)
    os.kill(int(child), 9)
    process.wait()


@pytest.mark.parametrize("kind", [kind for kind in NAMES if kind != "cgroup"])
def test_a_namespace_with_a_path_is_joined(sandbox: Sandbox, holder: Holder, kind: str) -> None:
    change = namespaces(**{kind: holder.path(kind)})
    assert sandbox(change, show(kind)) == os.readlink(holder.path(kind))


def test_a_cgroup_namespace_may_be_joined(ours: Sandbox, holder: Holder) -> None:
    """runc 1.1.5 can't."""
    change = namespaces(cgroup=holder.path("cgroup"))
    assert ours(change, "readlink /proc/self/ns/cgroup") == os.readlink(holder.path("cgroup"))


def test_all_of_them_may_be_joined_at_once(ours: Sandbox, holder: Holder) -> None:
    paths = {kind: holder.path(kind) for kind in NAMES}
    assert ours(namespaces(**paths), show(*NAMES)).split() == [os.readlink(path) for path in paths.values()]


@pytest.mark.parametrize("order", [("network", "ipc", "uts", "mount"), ("mount", "uts", "ipc", "network")])
def test_the_order_in_which_they_are_listed_does_not_matter(sandbox: Sandbox, holder: Holder, order: tuple[str, ...]) -> None:
    def change(config: Config) -> None:
        config["linux"]["namespaces"] = [{"type": kind, "path": holder.path(kind)} for kind in order] + [{"type": "pid"}]

    assert sandbox(change, show(*order)).split() == [os.readlink(holder.path(kind)) for kind in order]


def test_the_namespaces_of_another_container_may_be_joined(runtime: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    """As the containers of a pod are, by /proc/PID/ns of its first one."""
    pause = bundle(writable({"hostname": "pod"}), args=["sleep", "1000"])
    runtime("create", "--bundle", pause, "pause", check=True)
    try:
        runtime("start", "pause", check=True)
        pid = runtime.state("pause")["pid"]
        paths = {kind: f"/proc/{pid}/ns/{NAMES[kind]}" for kind in ("pid", "network", "ipc", "uts")}
        second = bundle(
            both(namespaces(**paths), {"hostname": None}), args=["sh", "-c", "hostname; ls -d /proc/1 && cat /proc/1/comm"]
        )
        ended = runtime("run", "--bundle", second, "second")
        assert ended.stdout.split() == ["pod", "/proc/1", "sleep"], ended.stderr
        for kind, path in paths.items():
            assert os.readlink(path) != own(NAMES[kind])
    finally:
        runtime("delete", "--force", "pause")


WRONG = {
    "another type": ("network", "/proc/self/ns/uts"),
    "another type of pid": ("pid", "/proc/self/ns/uts"),
    "a file": ("ipc", "/etc/passwd"),
    "a directory": ("mount", "/etc"),
    "a device": ("uts", "/dev/null"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_path_that_is_no_namespace_of_the_type_is_an_error_with_its_place(ours: Sandbox, case: str) -> None:
    kind, path = WRONG[case]
    error = ours.refuses(namespaces(**{kind: path}))
    assert f'linux.namespaces[4].path: "{path}" is not a namespace of the type "{kind}"' in error


def test_a_namespace_that_is_not_there_is_an_error_with_its_place(ours: Sandbox) -> None:
    error = ours.refuses(namespaces(network="/no/such"))
    assert 'open "/no/such" (linux.namespaces[4].path): no such file or directory' in error


def test_a_fifo_in_a_namespaces_place_hangs_nobody(ours: Sandbox, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "linux.namespaces[4].path" in ours.refuses(namespaces(network=str(fifo)))


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ([{"type": "pid"}, {"type": "pid"}], "linux.namespaces[1].type: duplicated"),
        ([{"type": "nosuch"}], "linux.namespaces[0].type: must be one of"),
        ([{"type": "network", "path": "relative"}], "linux.namespaces[0].path: must be an absolute path"),
    ],
)
def test_a_list_of_namespaces_that_makes_no_sense_is_refused(ours: Sandbox, listed: list[Config], reason: str) -> None:
    assert reason in ours.refuses({"linux": {"namespaces": listed}})


# --- what belongs to a namespace


def test_the_loopback_interface_of_a_new_network_namespace_is_up(sandbox: Sandbox) -> None:
    assert sandbox(None, "ip -o addr show lo | awk '{print $4}'; ip -o link show lo | grep -c ',UP'").split() == [
        "127.0.0.1/8",
        "::1/128",
        "1",
    ]


def test_the_program_is_pid_1_of_a_new_pid_namespace_and_sees_no_other_process(sandbox: Sandbox) -> None:
    assert sandbox(None, "echo $$; ls /proc | grep -c '^[0-9]'").split()[0] == "1"
    bundle = sandbox.bundle(args=["ls", "/proc"])
    assert [name for name in sandbox.run_bundle(bundle).stdout.split() if name.isdigit()] == ["1"]


@pytest.mark.parametrize("name", ["hostname", "domainname"])
def test_a_name_needs_a_uts_namespace_of_the_containers_own(ours: Sandbox, name: str) -> None:
    def change(config: Config) -> None:
        namespaces(uts=None)(config)
        config.pop("hostname")
        config[name] = "x"

    assert f"{name}: unable to set {name} without a private UTS namespace" in ours.refuses(change)


def test_a_joined_uts_namespace_takes_a_hostname(sandbox: Sandbox, holder: Holder) -> None:
    assert sandbox(both(namespaces(uts=holder.path("uts")), {"hostname": "joined"}), "hostname") == "joined"


SYSCTLS = {
    "net.ipv4.ip_forward": ("1", "net/ipv4/ip_forward"),
    "net/ipv4/conf/lo/rp_filter": ("2", "net/ipv4/conf/lo/rp_filter"),
    "net.ipv4.ping_group_range": ("0 5", "net/ipv4/ping_group_range"),
    "kernel.shmmax": ("12345", "kernel/shmmax"),
    "kernel/msgmax": ("8000", "kernel/msgmax"),
    "kernel.sem": ("1 2 3 4", "kernel/sem"),
    "kernel.shm_rmid_forced": ("1", "kernel/shm_rmid_forced"),
    "fs.mqueue.msg_max": ("11", "fs/mqueue/msg_max"),
    "kernel.domainname": ("example.net", "kernel/domainname"),
}


def test_sysctls_of_the_containers_namespaces_are_set_in_both_spellings(sandbox: Sandbox) -> None:
    change = {"linux": {"sysctl": {name: value for name, (value, _) in SYSCTLS.items()}}}
    script = "cd /proc/sys; for name in " + " ".join(path for _, path in SYSCTLS.values()) + "; do cat $name | tr '\\t' ' '; done"
    before = {path: Path("/proc/sys", path).read_text() for _, path in SYSCTLS.values()}
    assert sandbox(change, script).split("\n") == [value for value, _ in SYSCTLS.values()]
    assert {path: Path("/proc/sys", path).read_text() for _, path in SYSCTLS.values()} == before


def test_a_name_with_dots_in_it_is_spelt_with_slashes(ours: Sandbox, holder: Holder) -> None:
    """sysctl.d(5): net/ipv4/conf/eth0.1/rp_filter, or net.ipv4.conf.eth0/1.rp_filter. runc takes the first alone, from 1.2 on."""
    inside = ["nsenter", "--net", "--target", str(holder.process.pid), "ip", "link", "add", "eth0.1", "type", "bridge"]
    if subprocess.run(inside, capture_output=True, check=False).returncode:
        pytest.skip("the kernel has no bridges, or iproute2 isn't installed")
    for spelling in ("net/ipv4/conf/eth0.1/rp_filter", "net.ipv4.conf.eth0/1.rp_filter"):
        change = both(namespaces(network=holder.path("network")), {"linux": {"sysctl": {spelling: "2"}}})
        assert ours(change, "cat /proc/sys/net/ipv4/conf/eth0.1/rp_filter") == "2"


REFUSED_SYSCTLS: dict[str, tuple[str, str, str]] = {
    "the host's": ("kernel.pid_max", "", 'sysctl "kernel.pid_max" is not in a separate kernel namespace'),
    "the host's, with slashes": ("kernel/core_pattern", "", 'sysctl "kernel/core_pattern" is not in a separate kernel namespace'),
    "the host name": (
        "kernel.hostname",
        "",
        'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field',
    ),
    "of the host's network": ("net.ipv4.ip_forward", "network", "is not allowed in the hosts network namespace"),
    "of the host's ipc": ("kernel.msgmax", "ipc", "is not allowed in the hosts ipc namespace"),
    "of the host's queues": ("fs.mqueue.msg_max", "ipc", "is not allowed in the hosts ipc namespace"),
}


@pytest.mark.parametrize("case", REFUSED_SYSCTLS)
def test_a_sysctl_that_is_not_the_containers_own_is_refused(ours: Sandbox, case: str) -> None:
    name, without, reason = REFUSED_SYSCTLS[case]
    change = both(namespaces(**({without: None} if without else {})), {"linux": {"sysctl": {name: "1"}}})
    error = ours.refuses(change)
    assert f"linux.sysctl.{name}: " in error
    assert reason in error


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("net.nosuch", "1", "no such file or directory"), ("net.ipv4.ip_forward", "x", "invalid argument")],
)
def test_a_sysctl_that_the_kernel_does_not_take_is_an_error(ours: Sandbox, name: str, value: str, reason: str) -> None:
    error = ours.refuses({"linux": {"sysctl": {name: value}}})
    assert f"(linux.sysctl.{name}): {reason}" in error


def test_sysctls_are_set_before_proc_sys_is_made_read_only(sandbox: Sandbox) -> None:
    change = {"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}, "readonlyPaths": ["/proc/sys"]}}
    ended = sandbox.run(change, "cat /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert ended.stdout == "1\n"
    assert "Read-only file system" in ended.stderr
