"""A container's cgroup and its limits, on cgroup v1, hybrid and v2 alike. config-linux.md, "Control groups"."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiorun.cgroups import layout, locate
from aiorun.cgroups.layout import V2
from tests import leaks
from tests.conftest import Bundles, CommandLine, Config, need
from tests.container.configs import both, namespaces
from tests.container.conftest import Sandbox
from tests.runtime.life import reap
from tests.waiting import until

# The directory of the container's cgroup mount that has a cgroup.procs: v2's own, or one of v1's hierarchies.
OWN = "cd /sys/fs/cgroup; [ -e cgroup.procs ] || cd pids; "


def files(cgroup_parent: str, bundle: Path) -> dict[str, str]:
    """The paths of a container's cgroup by controller; on v2 one path for all."""
    paths = locate(layout(), f"{cgroup_parent}/{bundle.name}", "").paths
    return paths if paths.keys() != {""} else dict.fromkeys(("memory", "pids", "cpu", "devices"), paths[""])


def writable_cgroups(config: Config) -> None:
    for mount in config["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"].remove("ro")


def test_the_limits_hold_before_the_program_is_started(
    bundle: Bundles, container: Callable[..., str], cgroup_parent: str, aiorun: CommandLine
) -> None:
    resources = {"memory": {"limit": 1 << 26}, "pids": {"limit": 17}, "cpu": {"quota": 30000, "period": 60000}}
    made = bundle({"linux": {"resources": resources}}, args=["sleep", "1000"])
    pid = aiorun.state(container(made))["pid"]
    paths = files(cgroup_parent, made)
    if layout().version == V2:
        expected = {"memory/memory.max": str(1 << 26), "pids/pids.max": "17", "cpu/cpu.max": "30000 60000"}
    else:
        expected = {"memory/memory.limit_in_bytes": str(1 << 26), "pids/pids.max": "17", "cpu/cpu.cfs_quota_us": "30000"}
    for file, value in expected.items():
        controller, _, name = file.partition("/")
        assert Path(paths[controller], name).read_text() == value + "\n"
    assert {Path(path, "cgroup.procs").read_text() for path in paths.values()} == {f"{pid}\n"}


def test_a_container_runs_in_half_a_mebibyte(ours: Sandbox) -> None:
    """So small that on v2 its init can't be born there."""
    ended = ours.run_bundle(ours.bundle({"linux": {"resources": {"memory": {"limit": 1 << 19}}}}, args=["true"]))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_limit_that_no_container_can_be_made_in_says_so_and_leaves_nothing(ours: Sandbox, cgroup_parent: str) -> None:
    error = ours.refuses({"linux": {"resources": {"memory": {"limit": 1 << 14}}}})
    assert "possibly OOM-killed" in error
    assert leaks.cgroups_below(cgroup_parent) == []
    assert not os.listdir(ours.command_line.root)


@pytest.mark.parametrize("own_namespace", [True, False], ids=["cgroup namespace", "none"])
def test_a_cgroup_mount_shows_the_containers_own_part_alone(ours: Sandbox, own_namespace: bool) -> None:
    """Not so with runc 1.1.5 without a cgroup namespace on v2, which shows the host's whole tree."""
    script = OWN + "echo $$; find . -type d; cat cgroup.procs; mkdir x"
    ended = ours.run(namespaces(cgroup="" if own_namespace else None), script)
    first, here, *pids = ended.stdout.split()
    assert (first, here) == ("1", "."), ended
    assert pids[0] == "1" and len(pids) == 2, ended
    assert "Read-only file system" in ended.stderr


@pytest.mark.parametrize("own_namespace", [True, False], ids=["cgroup namespace", "none"])
def test_cgroups_that_a_container_made_go_with_it(
    bundle: Bundles, container: Callable[..., str], aiorun: CommandLine, cgroup_parent: str, own_namespace: bool
) -> None:
    script = OWN + "mkdir -p a/b && echo 0 >a/b/cgroup.procs && exec sleep 1000"
    change = both(namespaces(cgroup="" if own_namespace else None), writable_cgroups)
    id = container(bundle(change, args=["sh", "-c", script]))
    pid = aiorun.state(id)["pid"]
    aiorun("start", id, check=True)

    def has_moved() -> bool:
        inner = [path / "cgroup.procs" for path in leaks.cgroups_below(cgroup_parent) if path.name == "b"]
        return any(procs.read_text() == f"{pid}\n" for procs in inner)

    until(has_moved, "the container to move into its cgroup")
    aiorun("delete", "--force", id, check=True)
    assert leaks.cgroups_below(cgroup_parent) == []


# Controllers that few hosts have mounted: what is asked of each, and the files that have it then.
RARE: dict[str, tuple[Config, dict[str, str]]] = {
    "net_cls": ({"network": {"classID": 0x100001}}, {"net_cls.classid": f"{0x100001}\n"}),
    "net_prio": ({"network": {"priorities": [{"name": "lo", "priority": 3}]}}, {"net_prio.ifpriomap": "lo 3\n"}),
    "hugetlb": (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 22}]},
        dict.fromkeys(("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"), f"{1 << 22}\n"),
    ),
}


@pytest.fixture
def hierarchy(tmp_path: Path, leaves_nothing: None) -> Iterator[Callable[[str], Path]]:
    """A factory: mounts the hierarchy of a v1 controller that this host has mounted nowhere. It's gone after the test."""
    mounted: list[Path] = []
    before: dict[str, str] = {}

    def mount(controller: str) -> Path:
        if layout().version == V2 or controller in layout().hierarchies:
            pytest.skip("of this controller the host's own hierarchy is used")
        before[controller] = number_of(controller)  # not "0" where somebody mounted it once, and left a cgroup there
        point = tmp_path / controller
        point.mkdir()
        subprocess.run([need("mount"), "-t", "cgroup", "-o", controller, controller, point], check=True)
        mounted.append(point)
        return point

    yield mount
    for point in mounted:
        until(lambda: _unmount(point, before[point.name]), f"{point.name} to be free again")  # noqa: B023


def number_of(controller: str) -> str:
    """The number of a controller's hierarchy, "0" for none of v1, and for a kernel without it "". cgroups(7), /proc/cgroups."""
    lines = (line.split() for line in Path("/proc/cgroups").read_text().splitlines())
    return next((words[1] for words in lines if words[0] == controller), "")


def _unmount(point: Path, number: str) -> bool:
    """Unmount a hierarchy; whether it is as before. One that has just lost a cgroup stays, and can be mounted again."""
    if not os.path.ismount(point):
        subprocess.run([need("mount"), "-t", "cgroup", "-o", point.name, point.name, point], check=True)
    subprocess.run([need("umount"), point], check=True)
    try:
        until(lambda: number_of(point.name) == number, "the kernel to have taken it apart", seconds=2)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("controller", RARE)
def test_a_limit_of_a_rare_controller_is_set_and_updated(
    controller: str,
    hierarchy: Callable[[str], Path],
    bundle: Bundles,
    aiorun: CommandLine,
    cgroup_parent: str,
) -> None:
    resources, expected = RARE[controller]
    mount = hierarchy(controller)
    for updated in (False, True):
        made = bundle({"linux": {"resources": {} if updated else resources}}, args=["sleep", "1000"])
        directory = mount / cgroup_parent.lstrip("/") / made.name
        aiorun("create", "--bundle", made, "x", check=True)
        if updated:
            aiorun("update", "--resources", "-", "x", input=json.dumps(resources), check=True)
        found = {file: (directory / file).read_text() for file in expected}
        told = json.loads(aiorun("events", "--stats", "x", check=True).stdout)
        pid = aiorun.state("x")["pid"]
        aiorun("delete", "--force", "x", check=True)
        reap(pid)  # a zombie keeps the hierarchy
        for file, content in expected.items():
            assert content in found[file]
        assert not directory.exists()
        assert ("2MB" in told["data"]["hugetlb"]) == (controller == "hugetlb")


@pytest.mark.parametrize("controller", [*RARE, "rdma"])
def test_a_controller_that_is_not_mounted_is_named(controller: str, ours: Sandbox, cgroup_parent: str) -> None:
    if layout().version == V2 or controller in layout().hierarchies:
        pytest.skip(f"this host has the {controller} controller")
    resources = RARE[controller][0] if controller in RARE else {"rdma": {"mlx5_1": {"hcaHandles": 3}}}
    assert f": there is no {controller} controller" in ours.refuses({"linux": {"resources": resources}})
    assert leaks.cgroups_below(cgroup_parent) == []
