"""What /proc says of the hierarchies, and where a cgroupsPath lies in them. Pure."""

from __future__ import annotations

import pytest

from aiorun.cgroups.layout import UNIFIED, V1, V2, Hierarchy, layout, parse, paths
from aiorun.errors import CgroupError

PURE_V2 = """\
22 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
"""
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:30 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw shared:13 - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/freezer rw shared:14 - cgroup cgroup rw,freezer
37 31 0:34 / /sys/fs/cgroup/elogind rw shared:15 - cgroup cgroup rw,xattr,release_agent=/lib/x,name=elogind
"""
OWN_V2 = "0::/user.slice/session-1.scope\n"
OWN_HYBRID = "5:freezer:/\n4:memory:/jobs/7\n3:cpu,cpuacct:/jobs\n1:name=systemd:/\n0::/\n"


def test_a_pure_v2_host_has_one_hierarchy() -> None:
    assert parse(PURE_V2, OWN_V2).version == V2
    assert parse(PURE_V2, OWN_V2).hierarchies == {UNIFIED: Hierarchy("/sys/fs/cgroup")}


def test_a_hybrid_host_has_v1_controllers_and_the_v2_tree() -> None:
    host = parse(HYBRID, OWN_HYBRID)
    assert host.version == V1
    assert set(host.hierarchies) == {"", "name=systemd", "name=elogind", "cpu", "cpuacct", "memory", "freezer"}
    assert host.hierarchies["cpu"] == host.hierarchies["cpuacct"] == Hierarchy("/sys/fs/cgroup/cpu,cpuacct")
    assert host.own["memory"] == "/jobs/7"


def test_a_v1_mount_beside_a_pure_v2_host_doesnt_make_it_v1() -> None:
    extra = "40 30 0:50 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    assert parse(PURE_V2 + extra, OWN_V2).version == V2


def test_what_is_mounted_over_the_usual_place_covers_what_was_there_in_whatever_order() -> None:
    over = HYBRID.replace("31 23", "31 30")
    for mountinfo in (PURE_V2 + over, over + PURE_V2, "".join(reversed((PURE_V2 + over).splitlines(keepends=True)))):
        assert parse(mountinfo, OWN_HYBRID).hierarchies.items() == parse(HYBRID, OWN_HYBRID).hierarchies.items()


def test_a_copy_in_a_containers_rootfs_never_counts_before_the_usual_place() -> None:
    copy = "29 22 0:32 / /var/lib/x/rootfs/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert parse(copy + HYBRID, OWN_HYBRID).hierarchies["memory"] == Hierarchy("/sys/fs/cgroup/memory")


def test_a_mount_point_with_a_blank_is_read_back() -> None:
    line = r"40 30 0:50 / /mnt/my\040cgroups\134x rw - cgroup2 cgroup2 rw" + "\n"
    assert parse(line, "0::/\n").hierarchies == {UNIFIED: Hierarchy("/mnt/my cgroups\\x")}


def test_a_host_without_cgroups_is_an_error() -> None:
    with pytest.raises(CgroupError, match="no cgroup file system is mounted"):
        parse("22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n", "")


def test_this_host_has_a_layout() -> None:
    assert layout().version in (V1, V2)


@pytest.mark.parametrize(
    ("cgroups_path", "memory", "cpu"),
    [
        ("/a/b", "/memory/a/b", "/cpu,cpuacct/a/b"),
        ("/a/../../b", "/memory/b", "/cpu,cpuacct/b"),
        ("a/b", "/memory/jobs/7/a/b", "/cpu,cpuacct/jobs/a/b"),
        ("../../../b", "/memory/jobs/7/b", "/cpu,cpuacct/jobs/b"),
        (None, "/memory/jobs/7/box", "/cpu,cpuacct/jobs/box"),
        ("", "/memory/jobs/7/box", "/cpu,cpuacct/jobs/box"),
        ("//a//b/", "/memory/a/b", "/cpu,cpuacct/a/b"),
        ("/", "/memory", "/cpu,cpuacct"),
    ],
)
def test_a_path_on_v1_counts_from_the_mount_or_from_our_own_cgroup(cgroups_path: str | None, memory: str, cpu: str) -> None:
    found = paths(parse(HYBRID, OWN_HYBRID), cgroups_path, "box")
    assert found["memory"] == "/sys/fs/cgroup" + memory
    assert found["cpu"] == found["cpuacct"] == "/sys/fs/cgroup" + cpu
    assert set(found) == {"", "name=systemd", "cpu", "cpuacct", "memory", "freezer"}


@pytest.mark.parametrize(
    ("cgroups_path", "path"),
    [("/a/b", "/a/b"), ("a", "/user.slice/a"), (None, "/user.slice/box"), ("/../..", ""), ("../x", "/user.slice/x")],
)
def test_a_relative_path_on_v2_counts_from_the_parent_of_our_own_cgroup(cgroups_path: str | None, path: str) -> None:
    assert paths(parse(PURE_V2, OWN_V2), cgroups_path, "box") == {"": "/sys/fs/cgroup" + path}


def test_in_a_container_our_own_cgroup_is_below_what_is_mounted() -> None:
    line = "40 30 0:50 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    assert paths(parse(line, "3:pids:/docker/abc/x\n"), None, "box") == {"pids": "/sys/fs/cgroup/pids/x/box"}
    assert paths(parse(line, "3:pids:/docker/abc\n"), "/y", "box") == {"pids": "/sys/fs/cgroup/pids/y"}
    assert paths(parse(line, "3:pids:/../other\n"), None, "box") == {"pids": "/sys/fs/cgroup/pids/box"}


def test_a_mount_point_with_other_line_ends_is_one_line() -> None:
    """mountinfo escapes space, tab, newline and backslash alone."""
    strange = "90 22 0:99 / /home/x/\x0b\x0c\u2028/sys/fs/cgroup/y rw - cgroup2 cgroup2 rw\n"
    assert parse(HYBRID + strange, OWN_HYBRID) == parse(HYBRID, OWN_HYBRID)
