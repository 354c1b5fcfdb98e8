"""Whose a container's v2 cgroup is. config-linux.md, "Cgroup ownership"."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiorun.cgroups import layout
from aiorun.cgroups.layout import V2
from aiorun.cgroups.v2 import CgroupV2
from aiorun.plan.mounts import cgroup_owner
from aiorun.waiter import PollWaiter, drive
from tests.conftest import Bundles, CommandLine, Config, need_root
from tests.plan.plans import document

OWN = [{"type": "mount"}, {"type": "cgroup"}]
MAPS = ((0, 100000, 1000), (1000, 5000, 10))


def with_cgroup_mount(*options: str, uid: int = 1000, namespaces: list[Config] = OWN, destination: str = "/sys/fs/cgroup") -> Any:
    made = document(namespaces=namespaces)
    made["process"]["user"] = {"uid": uid, "gid": 0}
    made["mounts"] = [{"destination": destination, "type": "cgroup", "source": "cgroup", "options": list(options)}]
    return made


@pytest.mark.parametrize(
    ("made", "maps", "owner"),
    [
        (with_cgroup_mount("nosuid", "rw"), (), 1000),
        (with_cgroup_mount(uid=0), (), 0),
        (with_cgroup_mount(destination="/sys/fs/./cgroup/"), (), 1000),
        (with_cgroup_mount(uid=0), MAPS, 100000),
        (with_cgroup_mount(), MAPS, 5000),
        (with_cgroup_mount(uid=70000), MAPS, -1),
        (with_cgroup_mount("ro"), (), -1),
        (with_cgroup_mount("rw", "ro"), (), -1),
        (with_cgroup_mount("ro", "rw"), (), 1000),
        (with_cgroup_mount(namespaces=[{"type": "mount"}]), (), -1),
        (with_cgroup_mount(namespaces=[{"type": "mount"}, {"type": "cgroup", "path": "/x"}]), (), -1),
        (with_cgroup_mount(namespaces=[*OWN, {"type": "user", "path": "/x"}]), (), -1),
        (with_cgroup_mount(destination="/mnt"), (), -1),
        (document(namespaces=OWN) | {"mounts": []}, (), -1),
    ],
)
def test_a_cgroup_is_given_where_the_container_may_write_to_its_mount(
    made: Any, maps: tuple[tuple[int, int, int], ...], owner: int
) -> None:
    assert cgroup_owner(made, maps) == owner


@pytest.fixture
def cgroup(cgroup_parent: str) -> Iterator[CgroupV2]:
    """A cgroup of v2, which a hybrid host has too."""
    need_root()
    mount = layout().hierarchies.get("")
    if mount is None:
        pytest.skip("this host has no cgroup v2")
    made = CgroupV2({"": f"{mount.mount_point}{cgroup_parent}/x"})
    made.create()
    yield made
    drive(made.remove(PollWaiter()))


def test_a_cgroup_is_given_with_the_files_that_the_kernel_names(cgroup: CgroupV2) -> None:
    cgroup.give_to(1000)
    owners = {path.name: path.stat().st_uid for path in Path(cgroup.path).iterdir()}
    given = {name for name, uid in owners.items() if uid == 1000}
    delegated = set(Path("/sys/kernel/cgroup/delegate").read_text().split())
    assert given == delegated & owners.keys() >= {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"}
    assert os.stat(cgroup.path).st_uid == 1000
    assert os.stat(os.path.dirname(cgroup.path)).st_uid == 0
    assert owners["cgroup.events"] == owners["cgroup.freeze"] == 0


@pytest.mark.parametrize(("options", "said"), [(["rw"], "made\n"), (["ro"], "refused\n")])
def test_the_user_of_a_container_with_a_writable_cgroup_makes_cgroups_below(
    aiorun: CommandLine, bundle: Bundles, options: list[str], said: str
) -> None:
    if layout().version != V2:
        pytest.skip("this host has cgroup v1")

    def change(config: Config) -> None:
        config["process"] |= {"user": {"uid": 1000, "gid": 1000}, "capabilities": {}}
        config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "cgroup"]
        config["linux"]["namespaces"].append({"type": "cgroup"})
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/sys/fs/cgroup"]
        mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}
        config["mounts"].append(mount)

    script = "mkdir /sys/fs/cgroup/below && echo made || echo refused"
    ended = aiorun("run", "--bundle", bundle(change, args=["sh", "-c", script]), "x", check=True)
    assert ended.stdout == said
