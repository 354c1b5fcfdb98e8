"""process.rlimits, and linux.resources on the files of the container's own cgroups. config.md; config-linux.md."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from aiorun.cgroups import layout, locate
from aiorun.cgroups.layout import V1
from tests.conftest import Bundles, CommandLine, Config
from tests.container.configs import both, namespaces, writable
from tests.container.conftest import Sandbox

INFINITY = 2**64 - 1
CAP_SYS_RESOURCE = 1 << 24


def limits(*entries: tuple[str, int, int]) -> Config:
    return {"process": {"rlimits": [{"type": f"RLIMIT_{name}", "soft": soft, "hard": hard} for name, soft, hard in entries]}}


def may_raise_limits() -> bool:
    status = Path("/proc/self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) & CAP_SYS_RESOURCE)


LINES = {
    "CPU": "Max cpu time",
    "FSIZE": "Max file size",
    "DATA": "Max data size",
    "STACK": "Max stack size",
    "CORE": "Max core file size",
    "RSS": "Max resident set",
    "NPROC": "Max processes",
    "NOFILE": "Max open files",
    "MEMLOCK": "Max locked memory",
    "AS": "Max address space",
    "LOCKS": "Max file locks",
    "SIGPENDING": "Max pending signals",
    "MSGQUEUE": "Max msgqueue size",
    "NICE": "Max nice priority",
    "RTPRIO": "Max realtime priority",
    "RTTIME": "Max realtime timeout",
}


@pytest.mark.parametrize("name", LINES)
def test_each_limit_is_the_programs(sandbox: Sandbox, name: str) -> None:
    few = {"NOFILE": (500, 600), "SIGPENDING": (50, 60), "NPROC": (1000, 2000), "MSGQUEUE": (4096, 8192)}
    few |= {"MEMLOCK": (4096, 65536), "NICE": (0, 0), "RTPRIO": (0, 0)}
    soft, hard = few.get(name, (10_000_000, 20_000_000))
    bundle = sandbox.bundle(writable(limits((name, soft, hard))), args=["cat", "/proc/self/limits"])
    ended = sandbox.run_bundle(bundle)
    line = next((line for line in ended.stdout.splitlines() if line.startswith(LINES[name])), ended.stderr)
    assert line[len(LINES[name]) :].split()[:2] == [str(soft), str(hard)]


def test_limits_that_nobody_names_are_the_callers(sandbox: Sandbox) -> None:
    own = Path("/proc/self/limits").read_text().splitlines()
    seen = sandbox({"process": {"rlimits": None}}, "cat /proc/self/limits").splitlines()
    if sandbox.command_line.command.endswith("runc"):  # Go raises the soft limit of open files, and 1.1.5 hands that on
        seen, own = ([line for line in lines if not line.startswith("Max open files")] for lines in (seen, own))
    assert seen == own


def test_no_limit_is_a_limit_too(sandbox: Sandbox) -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))

    bundle = sandbox.bundle(limits(("CORE", INFINITY, INFINITY)), args=["sh", "-c", "ulimit -c"])
    assert sandbox.run_bundle(bundle, preexec_fn=lower).stdout == "unlimited\n"


TINY: dict[str, tuple[str, int]] = {
    "AS": ("AS", 4 << 20),
    "NOFILE": ("NOFILE", 3),
    "NPROC": ("NPROC", 1),
    "FSIZE": ("FSIZE", 0),
    "DATA": ("DATA", 1 << 20),
    "STACK": ("STACK", 256 << 10),
    "CPU": ("CPU", 1),
    "CORE": ("CORE", 0),
    "MEMLOCK": ("MEMLOCK", 0),
    "SIGPENDING": ("SIGPENDING", 0),
}


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("case", TINY)
def test_a_limit_that_would_bite_the_runtime_bites_only_the_program(ours: Sandbox, case: str, uid: int) -> None:
    """Not beside runc: RLIMIT_NOFILE of 3 is too little for it."""
    name, value = TINY[case]
    change = both(limits((name, value, value)), {"process": {"user": {"uid": uid, "gid": uid}}})
    bundle = ours.bundle(change, args=["sh", "-c", "exit 33"])
    ended = ours.run_bundle(bundle)
    assert (ended.returncode, ended.stderr) == (33, "")


def test_a_hard_limit_above_ours_is_raised_or_refused_by_create(
    runtime: CommandLine, bundle: Bundles, cgroup_parent: str
) -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))

    made = bundle(limits(("NOFILE", 600, 700)), args=["sh", "-c", "ulimit -n; ulimit -Hn"])
    if may_raise_limits():
        assert runtime("run", "--bundle", made, "raised", preexec_fn=lower).stdout.split() == ["600", "700"]
    else:
        ended = runtime("create", "--bundle", made, "raised", preexec_fn=lower)
        assert ended.returncode == 1
        assert "operation not permitted" in ended.stderr
        assert "(process.rlimits[0])" in ended.stderr or "runc" in runtime.command


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("NOFILE", 5, 5), ("NOFILE", 6, 6)], "process.rlimits[1].type: duplicated"),
        ([("NOSUCH", 5, 5)], "process.rlimits[0].type: must be one of"),
        ([("NOFILE", 6, 5)], "process.rlimits[0].soft: must not be above hard"),
    ],
)
def test_limits_that_make_no_sense_are_refused(ours: Sandbox, entries: list[tuple[str, int, int]], reason: str) -> None:
    assert reason in ours.refuses(limits(*entries))


# --- linux.resources


def cgroup_of(path: str | None, id: str) -> dict[str, str]:
    return locate(layout(), path, id).paths


def read(paths: dict[str, str], v1: str, v2: str) -> str:
    """A limit's file, whichever of the two this host has."""
    where = paths.get("") if v1.split(".")[0] not in paths else paths[v1.split(".")[0]]
    assert where is not None
    return Path(where, v2 if v1.split(".")[0] not in paths else v1).read_text().strip()


def test_limits_are_in_the_containers_cgroup_before_the_program_runs(
    runtime: CommandLine, bundle: Bundles, cgroup_parent: str
) -> None:
    resources = {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20},
        "pids": {"limit": 77},
        "cpu": {"quota": 30000, "period": 60000, "shares": 512, "cpus": "0"},
    }
    path = f"{cgroup_parent}/limited"
    made = bundle(writable({"linux": {"resources": resources, "cgroupsPath": path}}), args=["true"])
    runtime("create", "--bundle", made, "limited", check=True)
    try:
        paths = cgroup_of(path, "limited")
        assert read(paths, "memory.limit_in_bytes", "memory.max") == str(64 << 20)
        assert read(paths, "memory.soft_limit_in_bytes", "memory.low") == str(32 << 20)
        assert read(paths, "pids.max", "pids.max") == "77"
        assert read(paths, "cpuset.cpus", "cpuset.cpus") == "0"
        if "cpu" in paths:
            assert Path(paths["cpu"], "cpu.cfs_quota_us").read_text() == "30000\n"
            assert Path(paths["cpu"], "cpu.cfs_period_us").read_text() == "60000\n"
            assert Path(paths["cpu"], "cpu.shares").read_text() == "512\n"
        else:
            assert Path(paths[""], "cpu.max").read_text() == "30000 60000\n"
        pid = str(runtime.state("limited")["pid"])
        for name, where in paths.items():
            assert pid in Path(where, "cgroup.procs").read_text().split(), name
    finally:
        runtime("delete", "--force", "limited")
    assert not any(map(os.path.exists, paths.values()))


def test_block_devices_are_throttled(runtime: CommandLine, bundle: Bundles, cgroup_parent: str) -> None:
    disk = next((name for name in sorted(os.listdir("/sys/block")) if Path("/sys/block", name, "device").exists()), None)
    if disk is None:
        pytest.skip("this host has no disk")
    number = Path("/sys/block", disk, "dev").read_text().strip()
    major, minor = map(int, number.split(":"))
    throttles = {
        f"throttle{name}Device": [{"major": major, "minor": minor, "rate": rate}]
        for name, rate in (("ReadBps", 1 << 20), ("WriteBps", 1 << 21), ("ReadIOPS", 100), ("WriteIOPS", 200))
    }
    path = f"{cgroup_parent}/throttled"
    made = bundle({"linux": {"resources": {"blockIO": throttles}, "cgroupsPath": path}})
    runtime("create", "--bundle", made, "throttled", check=True)
    try:
        paths = cgroup_of(path, "throttled")
        if "blkio" in paths:
            files = [f"blkio.throttle.{name}_device" for name in ("read_bps", "write_bps", "read_iops", "write_iops")]
            seen = [Path(paths["blkio"], file).read_text().strip() for file in files]
            assert seen == [f"{number} {rate}" for rate in (1 << 20, 1 << 21, 100, 200)]
        else:
            assert f"{number} rbps=1048576 wbps=2097152 riops=100 wiops=200" in Path(paths[""], "io.max").read_text()
    finally:
        runtime("delete", "--force", "throttled")


LACKING: dict[str, tuple[str, Config, str]] = {
    "net_cls": ("net_cls", {"network": {"classID": 1048577}}, "linux.resources.network.classID"),
    "net_prio": (
        "net_prio",
        {"network": {"priorities": [{"name": "lo", "priority": 3}]}},
        "network.priorities[0]",
    ),
    "rdma": ("rdma", {"rdma": {"mlx5_1": {"hcaHandles": 3}}}, 'linux.resources.rdma["mlx5_1"]'),
    "hugetlb": (
        "hugetlb",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]},
        "linux.resources.hugepageLimits[0].limit",
    ),
}


@pytest.mark.parametrize("case", LACKING)
def test_a_limit_of_a_controller_that_the_host_lacks_is_an_error_with_its_name(sandbox: Sandbox, case: str) -> None:
    controller, resources, property = LACKING[case]
    if layout().version != V1 or controller in layout().hierarchies:
        pytest.skip(f"this host may have the {controller} controller")
    error = sandbox.refuses({"linux": {"resources": resources}})
    assert f"{property} to" in error or "runc" in sandbox.command_line.command


def test_a_program_that_takes_more_memory_than_its_limit_is_killed(sandbox: Sandbox) -> None:
    change = writable({"linux": {"resources": {"memory": {"limit": 16 << 20, "swap": 16 << 20}}}})
    assert sandbox.run(change, "exec tail /dev/zero").returncode == 137


def test_a_program_that_forks_more_than_its_limit_is_stopped(sandbox: Sandbox) -> None:
    change = writable({"linux": {"resources": {"pids": {"limit": 4}}}})
    ended = sandbox.run(change, "for i in 1 2 3 4 5 6; do sleep 1000 & done; echo all")
    assert "all" not in ended.stdout
    assert "can't fork" in ended.stderr


@pytest.mark.parametrize(("path", "place"), [("relative/path", "/relative/path"), ("absolute", "/absolute"), (None, "/ID")])
def test_a_cgroup_is_where_the_path_says(
    runtime: CommandLine, bundle: Bundles, cgroup_parent: str, path: str | None, place: str
) -> None:
    """Both runtimes agree on it, so that a path means one place."""
    id = f"{cgroup_parent.lstrip('/')}-{runtime.root.name}"
    asked = {"relative/path": f"{id}/path", "absolute": f"{cgroup_parent}/absolute", None: None}[path]
    made = bundle(args=["true"])
    config = bundle.read(made)
    config["linux"].pop("cgroupsPath")
    if asked is not None:
        config["linux"]["cgroupsPath"] = asked
    bundle.write(made, config)
    runtime("create", "--bundle", made, id, check=True)
    try:
        paths = cgroup_of(asked, id)
        pid = str(runtime.state(id)["pid"])
        expected = place.replace("/ID", f"/{id}").replace("/relative", f"/{id}").replace("/absolute", f"{cgroup_parent}/absolute")
        for where in paths.values():
            assert pid in Path(where, "cgroup.procs").read_text().split()
            assert where.endswith(expected)
    finally:
        runtime("delete", "--force", id)
        for where in paths.values():
            parent = os.path.dirname(where)
            if os.path.basename(parent) == id:
                os.rmdir(parent)


# --- what the container sees of its cgroups


def show_cgroups(config: Config) -> None:
    config["root"]["readonly"] = False


def skip_where_runc_shows_the_hosts_tree(sandbox: Sandbox, private: bool) -> None:
    """docs/differences.md."""
    if layout().version != V1 and not private and sandbox.command_line.command.endswith("runc"):
        pytest.skip("runc 1.1.5 shows the host's whole v2 tree where there is no cgroup namespace")


@pytest.mark.parametrize("private", [False, True], ids=["the host's namespace", "its own namespace"])
def test_the_cgroup_mount_shows_the_containers_own_part_read_only_as_asked(sandbox: Sandbox, private: bool) -> None:
    skip_where_runc_shows_the_hosts_tree(sandbox, private)
    change = both(show_cgroups, namespaces(cgroup="" if private else None))
    some = "/sys/fs/cgroup/memory" if layout().version == V1 else "/sys/fs/cgroup"
    script = f"grep -c aiorun-test /proc/self/cgroup; head -1 {some}/cgroup.procs; mkdir {some}/x; ls /sys/fs/cgroup"
    ended = sandbox.run(change, script)
    named, first, *names = ended.stdout.split()
    assert (named == "0") == private
    assert first == "1"  # the program itself is what is in the cgroup that it sees as the root
    assert f"{some}/x': Read-only file system" in ended.stderr
    if layout().version == V1:
        assert {os.path.basename(h.mount_point) for name, h in layout().hierarchies.items() if name} <= set(names)


@pytest.mark.parametrize("private", [False, True], ids=["the host's namespace", "its own namespace"])
def test_a_cgroup_mount_may_be_writable(sandbox: Sandbox, private: bool) -> None:
    skip_where_runc_shows_the_hosts_tree(sandbox, private)

    def change(config: Config) -> None:
        namespaces(cgroup="" if private else None)(config)
        config["mounts"][6]["options"] = ["nosuid", "noexec", "nodev", "relatime"]

    where = "/sys/fs/cgroup/memory" if layout().version == V1 else "/sys/fs/cgroup"
    assert sandbox(change, f"mkdir {where}/x && rmdir {where}/x && echo made") == "made"


def test_the_mounts_of_the_cgroups_are_the_same_as_runcs(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    """Points, types, flags and the parts that they show. The tmpfs around them is read-only with us."""
    for private in (False, True) if layout().version == V1 else (True,):
        seen = []
        for runtime in (aiorun, runc):
            made = bundle(both(show_cgroups, namespaces(cgroup="" if private else None)), args=["cat", "/proc/self/mountinfo"])
            name = made.name
            lines = runtime("run", "--bundle", made, "x", check=True).stdout.splitlines()
            fields = [line.split(" ") for line in lines if " /sys/fs/cgroup" in line]
            shown = {f"{words[4]} {words[3].replace(name, 'NAME')} {words[5]} {words[words.index('-') + 1]}" for words in fields}
            seen.append({line for line in shown if not line.endswith(" tmpfs")})
        assert seen[0] == seen[1]
