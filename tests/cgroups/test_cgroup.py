"""A real cgroup of this host, whichever layout it has: made, limited, frozen, killed and removed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiorun.cgroups import Cgroup, layout, load, locate
from aiorun.cgroups.layout import V2, Layout
from aiorun.cgroups.restore import Before
from aiorun.errors import CgroupError
from aiorun.waiter import PollWaiter, drive
from tests.conftest import need_root

Make = Callable[..., Cgroup]
Sleeper = Callable[[Cgroup], subprocess.Popen[bytes]]
WAITER = PollWaiter()


@pytest.fixture(scope="module")
def host() -> Layout:
    need_root()
    return layout()


@pytest.fixture
def make(host: Layout, cgroup_parent: str) -> Iterator[Make]:
    """A factory of cgroups below the test's own parent; removed after it."""
    numbers, made = itertools.count(1), []

    def factory(path: str | None = None) -> Cgroup:
        cgroup = locate(host, path or f"{cgroup_parent}/{next(numbers)}", "id")
        made.append(cgroup)
        cgroup.create()
        return cgroup

    yield factory
    for cgroup in made:
        drive(cgroup.remove(WAITER))


@pytest.fixture
def sleeper(make: Make) -> Iterator[Sleeper]:
    """A factory of processes in a cgroup; killed and reaped after the test, before its cgroup is removed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(cgroup: Cgroup) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "1000"])
        started.append(process)
        cgroup.add(process.pid)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def need_v1(host: Layout) -> None:
    if host.version == V2:
        pytest.skip("this host has cgroup v2")


def need_v2(host: Layout) -> None:
    if host.version != V2:
        pytest.skip("this host has cgroup v1")


def value(cgroup: Cgroup, v1: str, v2: str) -> str:
    """The text of a limit's file: `v1` is "controller/file"."""
    controller, file = v1.split("/")
    path = cgroup.paths[""] + "/" + v2 if set(cgroup.paths) == {""} else cgroup.paths[controller] + "/" + file
    return Path(path).read_text().strip()


# --- create, add, remove


def test_create_makes_a_directory_in_every_hierarchy_and_remove_takes_all_away(make: Make, cgroup_parent: str) -> None:
    cgroup = make(f"{cgroup_parent}/deep/er")
    assert all(map(os.path.isdir, cgroup.paths.values()))
    drive(cgroup.remove(WAITER))
    assert not cgroup.exists()
    assert not any(os.path.exists(os.path.dirname(path)) for path in cgroup.paths.values()), "parents that create made"


def test_a_later_command_finds_the_cgroup_by_its_paths(make: Make, sleeper: Sleeper) -> None:
    cgroup = make()
    process = sleeper(cgroup)
    later = load(cgroup.paths)
    assert type(later) is type(cgroup)
    assert later.exists()
    assert later.pids() == [process.pid]


def test_removing_what_is_gone_is_fine(make: Make) -> None:
    cgroup = make()
    drive(cgroup.remove(WAITER))
    drive(cgroup.remove(WAITER))


def test_remove_takes_child_cgroups_with_it(make: Make) -> None:
    cgroup = make()
    for path in cgroup.paths.values():
        os.makedirs(f"{path}/child/grandchild")
    drive(cgroup.remove(WAITER))
    assert not cgroup.exists()


def test_remove_leaves_a_parent_in_which_someone_else_lives(make: Make, cgroup_parent: str) -> None:
    first = make(f"{cgroup_parent}/pod/1")
    second = make(f"{cgroup_parent}/pod/2")
    drive(first.remove(WAITER))
    assert all(map(os.path.isdir, second.paths.values()))
    drive(second.remove(WAITER))
    for path in first.paths.values():
        if os.path.isdir(os.path.dirname(path)):
            os.rmdir(os.path.dirname(path))


def test_a_cgroup_in_use_is_not_removed_and_the_error_says_so(make: Make, sleeper: Sleeper) -> None:
    cgroup = make()
    sleeper(cgroup)
    with pytest.raises(CgroupError, match=r"^remove cgroup /\S+: device or resource busy$"):
        drive(cgroup.remove(WAITER))


def test_create_refuses_a_cgroup_with_processes_in_it(make: Make, sleeper: Sleeper, host: Layout, cgroup_parent: str) -> None:
    sleeper(make(f"{cgroup_parent}/used"))
    with pytest.raises(CgroupError, match=r"container's cgroup is not empty: 1 process\(es\) found"):
        locate(host, f"{cgroup_parent}/used", "id").create()


def test_create_refuses_a_frozen_cgroup(make: Make, host: Layout, cgroup_parent: str) -> None:
    cgroup = make(f"{cgroup_parent}/cold")
    drive(cgroup.freeze(WAITER))
    with pytest.raises(CgroupError, match="container's cgroup unexpectedly frozen"):
        locate(host, f"{cgroup_parent}/cold", "id").create()
    cgroup.thaw()


def test_create_takes_an_empty_cgroup_that_is_there(make: Make, sleeper: Sleeper, cgroup_parent: str) -> None:
    make(f"{cgroup_parent}/there")
    process = sleeper(make(f"{cgroup_parent}/there"))
    assert process.poll() is None


def test_a_create_that_fails_leaves_nothing(make: Make, sleeper: Sleeper, host: Layout, cgroup_parent: str) -> None:
    need_v1(host)
    in_the_way = locate(host, f"{cgroup_parent}/x/y", "id")
    last = list(in_the_way.paths.values())[-1]
    os.makedirs(last)
    process = subprocess.Popen(["sleep", "1000"])
    try:
        Path(last, "cgroup.procs").write_text(str(process.pid))
        with pytest.raises(CgroupError, match="not empty"):
            in_the_way.create()
        assert os.path.isdir(last), "what was there before stays"
        assert [path for path in in_the_way.paths.values() if os.path.exists(os.path.dirname(path))] == [last]
    finally:
        process.kill()
        process.wait()
        drive(load({"": last}).remove(WAITER))
        os.rmdir(os.path.dirname(last))


def test_a_path_that_is_no_cgroup_is_refused_in_one_sentence(host: Layout) -> None:
    paths = dict.fromkeys(locate(host, "/x", "id").paths, "/proc/nowhere/x")
    with pytest.raises(CgroupError, match=r"^make cgroup /proc/nowhere\S*: \S.*$"):
        load(paths).create()


def test_a_process_is_in_every_hierarchy_after_add(make: Make, sleeper: Sleeper, host: Layout) -> None:
    cgroup = make()
    process = sleeper(cgroup)
    for path in cgroup.paths.values():
        assert str(process.pid) in Path(path, "cgroup.procs").read_text().split()


def test_adding_a_process_that_is_gone_is_an_error(make: Make) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(CgroupError, match=rf"^put process {process.pid} into cgroup /\S+: no such process$"):
        make().add(process.pid)


def test_below_a_cgroup_with_processes_a_limit_is_an_error_and_a_container_without_one_is_fine(
    host: Layout, make: Make, sleeper: Sleeper, cgroup_parent: str
) -> None:
    need_v2(host)
    sleeper(make(f"{cgroup_parent}/busy"))
    child = make(f"{cgroup_parent}/busy/child")
    process = sleeper(child)
    assert child.pids() == [process.pid]
    with pytest.raises(CgroupError, match=r"^set linux.resources.pids.limit to 5: there is no pids controller$"):
        child.apply({"pids": {"limit": 5}}, update=True)
    process.kill()
    process.wait()
    drive(child.remove(WAITER))


# --- processes


def test_pids_of_child_cgroups_count_unless_asked_otherwise(make: Make, sleeper: Sleeper) -> None:
    cgroup = make()
    process = sleeper(cgroup)
    child = load({name: f"{path}/child" for name, path in cgroup.paths.items()})
    child.create()
    child.add(process.pid)
    assert cgroup.pids() == [process.pid]
    assert cgroup.pids(recursive=False) == []


def test_a_cgroup_that_is_gone_has_no_pids(make: Make) -> None:
    cgroup = make()
    drive(cgroup.remove(WAITER))
    assert cgroup.pids() == []
    assert not cgroup.frozen()
    assert cgroup.oom_kills() == 0
    drive(cgroup.kill(signal.SIGKILL, WAITER))


def test_kill_reaches_every_process(make: Make, sleeper: Sleeper) -> None:
    cgroup = make()
    processes = [sleeper(cgroup) for _ in range(3)]
    drive(cgroup.kill(signal.SIGTERM, WAITER))
    assert [process.wait() for process in processes] == [-signal.SIGTERM] * 3


def test_a_frozen_process_dies_of_kill(make: Make, sleeper: Sleeper) -> None:
    cgroup = make()
    process = sleeper(cgroup)
    drive(cgroup.freeze(WAITER))
    drive(cgroup.kill(signal.SIGKILL, WAITER))
    assert process.wait() == -signal.SIGKILL


def test_a_frozen_cgroup_stays_frozen_for_any_other_signal(make: Make, sleeper: Sleeper) -> None:
    cgroup = make()
    process = sleeper(cgroup)
    drive(cgroup.freeze(WAITER))
    drive(cgroup.kill(signal.SIGTERM, WAITER))
    assert cgroup.frozen()
    cgroup.thaw()
    assert process.wait() == -signal.SIGTERM


def test_kill_ends_what_forks_all_the_time(make: Make) -> None:
    cgroup = make()
    cgroup.apply({"pids": {"limit": 20}, "devices": [{"allow": True, "access": "rwm"}]})
    reading, writing = os.pipe()
    bomb = "import os\nos.read(0, 1)\nwhile True:\n  try:\n    os.fork()\n  except OSError: pass\n  os.write(1, b'x')\n"
    process = subprocess.Popen([sys.executable, "-c", bomb], stdin=subprocess.PIPE, stdout=writing)
    os.close(writing)
    assert process.stdin is not None
    with process.stdin, os.fdopen(reading, "rb", buffering=0) as output:
        cgroup.add(process.pid)
        process.stdin.write(b"x")
        process.stdin.flush()
        for _ in range(100):
            output.read(1)
        drive(cgroup.kill(signal.SIGKILL, WAITER))
        while output.read(65536):
            pass  # end of file: no process has the pipe any more
    process.wait()


# --- freezer


def test_a_frozen_process_does_not_run_until_it_is_thawed(make: Make) -> None:
    """With a signal that it handles: what ends a process as a matter of course ends a frozen one, too, on v2."""
    cgroup = make()
    script = "trap 'exit 7' TERM; echo ready; while :; do read line; done"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        cgroup.add(process.pid)
        assert not cgroup.frozen()
        drive(cgroup.freeze(WAITER))
        assert cgroup.frozen()
        process.terminate()
        subprocess.run(["true"], check=True)  # in this time it would end
        assert process.poll() is None
        cgroup.thaw()
        assert not cgroup.frozen()
        assert process.wait() == 7


def test_freezing_what_is_gone_is_an_error(make: Make) -> None:
    cgroup = make()
    drive(cgroup.remove(WAITER))
    with pytest.raises(CgroupError, match=r"^freeze cgroup /\S+: no such file or directory$"):
        drive(cgroup.freeze(WAITER))


# --- limits


def test_memory_pids_and_cpu_are_limited(make: Make) -> None:
    cgroup = make()
    cgroup.apply({
        "memory": {"limit": 1 << 26, "reservation": 1 << 25},
        "pids": {"limit": 7},
        "cpu": {"shares": 512, "quota": 50000, "period": 200000, "cpus": "0", "mems": "0"},
    })  # fmt: skip
    assert value(cgroup, "memory/memory.limit_in_bytes", "memory.max") == str(1 << 26)
    assert value(cgroup, "memory/memory.soft_limit_in_bytes", "memory.low") == str(1 << 25)
    assert value(cgroup, "pids/pids.max", "pids.max") == "7"
    assert value(cgroup, "cpu/cpu.shares", "cpu.weight") in ("512", "59")
    assert value(cgroup, "cpu/cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 200000")
    assert value(cgroup, "cpuset/cpuset.cpus", "cpuset.cpus") == "0"
    assert value(cgroup, "cpuset/cpuset.mems", "cpuset.mems") == "0"


def test_an_update_leaves_what_it_does_not_name_and_counts_zero_as_unset(make: Make) -> None:
    cgroup = make()
    cgroup.apply({"memory": {"limit": 1 << 26}, "pids": {"limit": 7}, "cpu": {"shares": 512, "period": 50000, "quota": 20000}})
    cgroup.apply({"memory": {"limit": 0}, "pids": {}, "cpu": {"shares": 0, "quota": 30000}}, update=True)
    assert value(cgroup, "memory/memory.limit_in_bytes", "memory.max") == str(1 << 26)
    assert value(cgroup, "pids/pids.max", "pids.max") == "7"
    assert value(cgroup, "cpu/cpu.cfs_quota_us", "cpu.max") in ("30000", "30000 50000")
    assert value(cgroup, "cpu/cpu.shares", "cpu.weight") in ("512", "59")


@pytest.mark.parametrize("first", [1 << 26, 1 << 28])
def test_memory_and_swap_grow_and_shrink_together(make: Make, first: int) -> None:
    cgroup = make()
    for limit in (first, 1 << 27, -1, 1 << 27):
        cgroup.apply({"memory": {"limit": limit, "swap": limit}}, update=True)
        shown = value(cgroup, "memory/memory.limit_in_bytes", "memory.max")
        assert shown in (str(limit), "max", str((1 << 63) - 4096)), shown
        assert (limit == -1) == (shown not in (str(limit),))


def test_minus_one_takes_the_limits_away(make: Make) -> None:
    cgroup = make()
    cgroup.apply({"memory": {"limit": 1 << 26}, "pids": {"limit": 7}, "cpu": {"quota": 50000}})
    cgroup.apply({"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}, update=True)
    assert value(cgroup, "memory/memory.limit_in_bytes", "memory.max") in ("max", str((1 << 63) - 4096))
    assert value(cgroup, "pids/pids.max", "pids.max") == "max"
    assert value(cgroup, "cpu/cpu.cfs_quota_us", "cpu.max") in ("-1", "max 100000")


def test_burst_and_quota_may_come_together_in_any_direction(make: Make) -> None:
    cgroup = make()
    for quota in (50000, 90000, 20000):
        cgroup.apply({"cpu": {"quota": quota, "burst": quota}}, update=True)
        assert value(cgroup, "cpu/cpu.cfs_burst_us", "cpu.max.burst") == str(quota)


def test_realtime_comes_to_the_container_through_cgroups_that_have_none(make: Make, host: Layout) -> None:
    """A parent that somebody has set up keeps what it has, and the kernel then holds the container to it."""
    need_v1(host)
    cgroup = make()
    directory = Path(cgroup.paths["cpu"])
    if not (directory / "cpu.rt_runtime_us").exists():
        pytest.skip("this kernel has no realtime limits of cgroups (CONFIG_RT_GROUP_SCHED)")
    cgroup.apply({"cpu": {"realtimePeriod": 500000, "realtimeRuntime": 1000}})
    for path in (directory, directory.parent):
        assert (path / "cpu.rt_period_us").read_text() == "500000\n"
        assert (path / "cpu.rt_runtime_us").read_text() == "1000\n"
    message = r"^set linux\.resources\.cpu\.realtimeRuntime to 2000 \(cpu\.rt_runtime_us\): invalid argument$"
    with pytest.raises(CgroupError, match=message):
        cgroup.apply({"cpu": {"realtimeRuntime": 2000}})
    assert (directory.parent / "cpu.rt_runtime_us").read_text() == "1000\n"


def test_zero_is_a_limit_of_processes_but_in_an_update(make: Make) -> None:
    cgroup = make()
    cgroup.apply({"pids": {"limit": 0}})
    assert value(cgroup, "pids/pids.max", "pids.max") == "1"
    cgroup.apply({"pids": {"limit": 7}}, update=True)
    cgroup.apply({"pids": {"limit": 0}}, update=True)
    assert value(cgroup, "pids/pids.max", "pids.max") == "7"


def test_swap_alone_counts_from_the_limit_of_memory_that_holds(make: Make, host: Layout) -> None:
    need_v2(host)
    cgroup = make()
    cgroup.apply({"memory": {"limit": 1 << 26}})
    cgroup.apply({"memory": {"swap": 3 << 26}}, update=True)
    swap = Path(cgroup.paths[""], "memory.swap.max")
    assert not swap.exists() or swap.read_text() == f"{2 << 26}\n"


@pytest.mark.parametrize("before", [{}, {"throttleReadBpsDevice": 1 << 20, "throttleWriteIOPSDevice": 77}], ids=["none", "some"])
def test_limits_of_block_devices_are_put_back(make: Make, before: dict[str, int]) -> None:
    disks = [line.split() for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    if not disks:
        pytest.skip("this host has no block device")
    numbers = {"major": int(disks[0][0]), "minor": int(disks[0][1])}
    cgroup = make()

    def block(**rates: int) -> dict[str, Any]:
        return {"blockIO": {name: [{**numbers, "rate": rate}] for name, rate in rates.items()}}

    cgroup.apply(block(**before))
    names = ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice")
    was = throttles(cgroup)
    kept = Before()
    cgroup.apply(block(**dict.fromkeys(names, 5000)), update=True, before=kept)
    assert throttles(cgroup) != was
    kept.write_back()
    assert throttles(cgroup) == was


def throttles(cgroup: Cgroup) -> dict[str, str]:
    """What its files say of block devices."""
    directory = Path(cgroup.paths.get("blkio") or cgroup.paths[""])
    files = [*directory.glob("blkio.throttle.*_device"), *directory.glob("io.max")]
    return {file.name: file.read_text() for file in files}


def test_a_quota_and_its_period_are_put_back_whichever_has_to_go_first(make: Make, cgroup_parent: str) -> None:
    parent = make(f"{cgroup_parent}/parent")
    parent.apply({"cpu": {"quota": 100000, "period": 100000}})
    cgroup = make(f"{cgroup_parent}/parent/child")
    cgroup.apply({"cpu": {"quota": 50000, "period": 50000}})
    kept = Before()
    cgroup.apply({"cpu": {"quota": 10000, "period": 25000}}, update=True, before=kept)
    kept.write_back()
    assert value(cgroup, "cpu/cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 50000")
    assert value(cgroup, "cpu/cpu.cfs_period_us", "cpu.max") in ("50000", "50000 50000")
    drive(cgroup.remove(WAITER))


def test_an_idle_cgroup_can_be_made_busy_again(make: Make) -> None:
    cgroup = make()
    cgroup.apply({"cpu": {"idle": 1}}, update=True)
    assert value(cgroup, "cpu/cpu.idle", "cpu.idle") == "1"
    cgroup.apply({"cpu": {"idle": 0, "shares": 512}}, update=True)
    assert value(cgroup, "cpu/cpu.idle", "cpu.idle") == "0"
    assert value(cgroup, "cpu/cpu.shares", "cpu.weight") in ("512", "59")


def test_processes_beyond_the_limit_cannot_be_made(make: Make) -> None:
    cgroup = make()
    cgroup.apply({"pids": {"limit": 1}, "devices": [{"allow": True, "access": "rwm"}]})
    script = "import os\nos.read(0, 1)\ntry: os.fork()\nexcept BlockingIOError: raise SystemExit(42)\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    cgroup.add(process.pid)
    process.communicate(b"x")
    assert process.returncode == 42


def test_an_oom_kill_is_counted_and_usage_is_told(make: Make) -> None:
    cgroup = make()
    cgroup.apply({"memory": {"limit": 1 << 25, "swap": 1 << 25}, "devices": [{"allow": True, "access": "rwm"}]})
    assert cgroup.oom_kills() == 0
    script = "import os\nos.read(0, 1)\nhog = b'x' * (1 << 28)\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    cgroup.add(process.pid)
    process.communicate(b"x")
    assert process.returncode == -signal.SIGKILL
    assert cgroup.oom_kills() == 1
    usage = cgroup.usage()
    assert usage.cpu_seconds is not None and usage.cpu_seconds > 0
    assert usage.peak_memory_bytes is not None and 1 << 24 < usage.peak_memory_bytes <= 1 << 25


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"pids": {"limit": 1 << 62}}, r"^set linux.resources.pids.limit to \d+ \(pids.max\): invalid argument$"),
        ({"cpu": {"quota": 1}}, r"^set linux.resources.cpu.quota to 1 \(\S+\): invalid argument$"),
        ({"cpu": {"cpus": "4000"}}, r"^set linux.resources.cpu.cpus to 4000 \(cpuset.cpus\): \S.*$"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, r"^set linux.resources.hugepageLimits\[0\].limit to 1\S* \S.*$"),
        ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, r"linux.resources.hugepageLimits\[0\].pageSize: "),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, r'^set linux.resources.rdma\["mlx5_1"\] to hca_handle=3\S* \S.*$'),
        ({"unified": {"nosuch.max": "1"}}, r"^set linux.resources.unified"),
        ({"blockIO": {"leafWeight": 10}}, r"^set linux.resources.blockIO.leafWeight"),
        ({"network": {"classID": 1}}, r"^set linux.resources.network.classID"),
    ],
)
def test_a_limit_that_cannot_be_set_names_property_value_and_reason(make: Make, resources: dict[str, Any], message: str) -> None:
    with pytest.raises(CgroupError, match=message):
        make().apply(resources)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("memory", "swappiness", 10),
        ("memory", "disableOOMKiller", True),
        ("memory", "kernel", 1 << 27),
        ("memory", "kernelTCP", 1 << 27),
        ("cpu", "realtimeRuntime", 1000),
        ("cpu", "realtimePeriod", 100000),
        ("network", "classID", 1),
        ("network", "priorities", [{"name": "lo", "priority": 1}]),
    ],
)
def test_what_v2_has_no_limit_for_is_an_error_unless_it_is_unset(
    make: Make, host: Layout, group: str, name: str, value: object
) -> None:
    need_v2(host)
    cgroup = make()
    message = rf"^set linux\.resources\.{group}\.{name}: this host has cgroup v2, which has no such limit$"
    with pytest.raises(CgroupError, match=message):
        cgroup.apply({group: {name: value}, "pids": {"limit": 5}})
    assert Path(cgroup.paths[""], "pids.max").read_text() == "max\n", "nothing was set before it was refused"
    cgroup.apply({group: {name: None}})
    cgroup.apply({group: {name: [] if isinstance(value, list) else 0}})
    cgroup.apply({"memory": {"swappiness": 2**64 - 1, "kernel": -1, "kernelTCP": -1}})


def test_a_limit_of_the_kernels_own_memory_is_an_error_since_kernels_have_none(make: Make) -> None:
    with pytest.raises(CgroupError, match=r"^set linux\.resources\.memory\.kernel: \S.*no such limit"):
        make().apply({"memory": {"kernel": 1 << 27}})


def test_an_unset_limit_of_a_missing_controller_is_no_error(make: Make) -> None:
    make().apply({"network": {"classID": 0}, "rdma": {}, "hugepageLimits": [], "blockIO": {"weight": 0}, "unified": {}})


def test_a_limit_without_its_controller_is_an_error(host: Layout, make: Make) -> None:
    need_v1(host)
    cgroup = make()
    bare = load({name: path for name, path in cgroup.paths.items() if name != "memory"})
    with pytest.raises(CgroupError, match=r"^set linux.resources.memory.limit to 100: there is no memory controller$"):
        bare.apply({"memory": {"limit": 100}})


def test_unified_files_are_written_on_v2(host: Layout, make: Make) -> None:
    need_v2(host)
    cgroup = make()
    cgroup.apply({"unified": {"memory.high": "67108864", "cgroup.max.descendants": "3"}})
    assert Path(cgroup.paths[""], "memory.high").read_text() == "67108864\n"
    assert Path(cgroup.paths[""], "cgroup.max.descendants").read_text() == "3\n"
    for file in ("../x", "memory"):
        with pytest.raises(CgroupError, match="it must be the name of a file"):
            cgroup.apply({"unified": {file: "1"}})


def test_a_limit_below_what_is_used_is_refused_where_it_was_asked_for(host: Layout, make: Make) -> None:
    """On v1 always: there the kernel does it."""
    cgroup = make()
    cgroup.apply({"memory": {"swap": -1}} if host.version != V2 else {})
    script = "import os\nos.read(0, 1)\nx = b'x' * (1 << 24)\nos.write(1, b'x')\nos.read(0, 1)\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    cgroup.add(process.pid)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"x")
    process.stdin.flush()
    assert process.stdout.read(1) == b"x"
    with pytest.raises(CgroupError, match=r"^set linux.resources.memory.limit to 4096: \d+ are in use$"):
        cgroup.apply({"memory": {"limit": 4096, "checkBeforeUpdate": True}}, update=True)
    process.communicate(b"x")
    assert process.returncode == 0


# --- devices


def _opens(cgroup: Cgroup, path: str) -> bool:
    """Whether a process in `cgroup` may open the device `path` for reading."""
    script = f"import os\nos.read(0, 1)\ntry: os.open({path!r}, 0)\nexcept PermissionError: raise SystemExit(42)\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    cgroup.add(process.pid)
    process.communicate(b"x")
    assert process.returncode in (0, 42)
    return process.returncode == 0


@pytest.fixture
def forbidden(tmp_path: Path) -> str:
    """A device node that no default rule allows: /dev/mem's cousin /dev/kmsg."""
    path = tmp_path / "kmsg"
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 11))
    return str(path)


def test_default_devices_may_be_used_and_others_may_not(make: Make, forbidden: str) -> None:
    cgroup = make()
    assert _opens(cgroup, forbidden)
    cgroup.apply({"devices": [{"allow": False, "access": "rwm"}]})
    assert _opens(cgroup, "/dev/zero")
    assert not _opens(cgroup, forbidden)


def test_a_rule_allows_a_device_and_new_rules_replace_old_ones(make: Make, forbidden: str) -> None:
    cgroup = make()
    rule = {"type": "c", "major": 1, "minor": 11, "access": "r"}
    cgroup.apply({"devices": [{"allow": False, "access": "rwm"}, {"allow": True, **rule}]})
    assert _opens(cgroup, forbidden)
    cgroup.apply({"devices": [{"allow": False, "access": "rwm"}]})
    assert not _opens(cgroup, forbidden)
    cgroup.apply({"devices": [{"allow": True, "access": "rwm"}]})
    assert _opens(cgroup, forbidden)


def test_an_update_applies_no_device_rules(make: Make) -> None:
    cgroup = make()
    cgroup.apply({"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 5}}, update=True)
    assert _opens(cgroup, "/dev/kmsg")
