"""A container's cgroup and its limits, on cgroup v1, hybrid and v2 alike. config-linux.md, "Control groups"."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aiorun.cgroups import layout, locate
from aiorun.cgroups.layout import V2
from tests import leaks
from tests.conftest import Bundles, CommandLine, Config
from tests.container.configs import both, namespaces
from tests.container.conftest import Sandbox
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
