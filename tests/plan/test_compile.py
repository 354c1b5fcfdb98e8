"""Spec → Plan, property by property where no container is needed to see it."""

from __future__ import annotations

from typing import Any

import pytest

from aiorun.errors import InvalidSpec
from aiorun.plan import Hierarchy, rootfs
from aiorun.plan.capabilities import NAMES, mask
from aiorun.plan.mounts import clean
from aiorun.spec import check
from aiorun.wire import ops
from tests.plan.plans import document, plan, steps


def mounted(*options: str, kind: str = "tmpfs", source: str = "tmpfs", target: str = "/mnt") -> Any:
    """The operation of one more mount."""
    made = document()
    made["mounts"].append({"destination": target, "type": kind, "source": source, "options": list(options)})
    (step,) = (step for step in steps(made) if getattr(step, "at", "") == "mounts[7]" and not isinstance(step, ops.SealMount))
    return step


RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, NODIRATIME, NOSYMFOLLOW, ATIME = 1, 2, 4, 8, 16, 32, 128, 0x200000, 0x70


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["nosuid", "nodev", "noexec"], {"set": NOSUID | NODEV | NOEXEC, "clear": 0}),
        (["nosuid", "suid"], {"set": 0, "clear": NOSUID}),
        (["suid", "nosuid"], {"set": NOSUID, "clear": 0}),
        (["noatime"], {"set": NOATIME, "clear": ATIME}),
        (["noatime", "strictatime"], {"set": STRICTATIME, "clear": ATIME}),
        (["noatime", "relatime"], {"set": 0, "clear": ATIME}),
        (["nodiratime", "nosymfollow"], {"set": NODIRATIME | NOSYMFOLLOW, "clear": 0}),
        (["rro", "rnoexec"], {"set": 0, "set_all": RDONLY | NOEXEC, "clear_all": 0}),
        (["rro", "rrw"], {"set_all": 0, "clear_all": RDONLY}),
        (["rnoatime", "rrelatime"], {"set_all": 0, "clear_all": ATIME}),
        (["size=5m", "nr_inodes=5"], {"parameters": (("size", "5m"), ("nr_inodes", "5"))}),
        (["defaults", "silent", "loud", "iversion", "async", "nolazytime"], {"parameters": (), "set": 0, "clear": 0}),
        (
            ["sync", "dirsync", "lazytime", "mand"],
            {"parameters": tuple((n, None) for n in ("sync", "dirsync", "lazytime", "mand"))},
        ),
        (["a=b=c", "empty="], {"parameters": (("a", "b=c"), ("empty", ""))}),
        (["private", "rshared"], {"propagation": (1 << 18, 1 << 20 | 16384)}),
    ],
)
def test_options_come_to_flags_attributes_and_parameters(options: list[str], expected: dict[str, object]) -> None:
    step = mounted(*options, kind="ext4", source="/dev/x")
    assert {name: getattr(step, name) for name in expected} == expected


def test_bind_and_rbind_differ_in_depth_alone() -> None:
    assert mounted("bind", kind="none", source="/src").recursive is False
    assert mounted("rbind", kind="none", source="/src").recursive is True
    assert mounted(kind="bind", source="/src") == mounted("bind", kind="none", source="/src")
    assert mounted(kind="rbind", source="/src") == mounted("rbind", kind="xfs", source="/src")


@pytest.mark.parametrize(("source", "expected"), [("/abs", "/abs"), ("rel", "/bundle/rel"), ("./x/../y", "/bundle/./x/../y")])
def test_a_relative_source_of_a_bind_is_the_bundles_and_the_kernel_resolves_it(source: str, expected: str) -> None:
    assert mounted("bind", kind="bind", source=source).source == expected


def test_proc_and_sysfs_are_mounted_where_no_link_leads() -> None:
    assert mounted(kind="proc", source="proc").no_symlinks
    assert mounted(kind="sysfs", source="sysfs").no_symlinks
    assert not mounted().no_symlinks
    assert mounted("bind", kind="bind", source="/proc", target="/proc").no_symlinks
    assert mounted("bind", kind="bind", source="/sys", target="/x/../sys").no_symlinks


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_only_a_tmpfs_is_sealed_later(kind: str) -> None:
    made = document()
    made["mounts"].append({"destination": "/mnt", "type": kind, "source": "x", "options": ["ro"]})
    sealed = [step.target for step in steps(made, ops.SealMount)]
    assert ("/mnt" in sealed) == (kind == "tmpfs")
    (mount,) = (step for step in steps(made, ops.Mount) if step.target == "/mnt")
    assert bool(mount.set & RDONLY) == (kind != "tmpfs")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("a/b/", "/a/b"),
        ("//a///b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/../../x", "/x"),
        ("..", "/"),
        ("", "/"),
        ("/a/...", "/a/..."),
    ],
)
def test_clean_paths_are_absolute_and_have_no_dots(path: str, expected: str) -> None:
    assert clean(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("rootfs", "/bundle/rootfs"), ("/rootfs/", "/rootfs"), ("./a/../rootfs", "/bundle/rootfs"), ("/", "/"), ("..", "/")],
)
def test_the_root_is_absolute_or_the_bundles(path: str, expected: str) -> None:
    made = document()
    made["root"]["path"] = path
    assert rootfs(check(made), "/bundle") == expected


# --- cgroup mounts

HIERARCHIES = (
    Hierarchy("cpu,cpuacct", "cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/x"),
    Hierarchy("systemd", "name=systemd", "/sys/fs/cgroup/systemd/x"),
)


def at_cgroup(made: dict[str, Any], **request: Any) -> list[Any]:
    return [step for step in steps(made, **request) if getattr(step, "target", "").startswith("/sys/fs/cgroup")]


def test_v1_shows_the_containers_part_of_each_hierarchy_by_binds() -> None:
    tmpfs, cpu, *links, systemd, seal = at_cgroup(document(), hierarchies=HIERARCHIES)
    assert (tmpfs.kind, tmpfs.parameters) == ("tmpfs", (("mode", "755"),))
    assert (cpu.source, cpu.target) == ("/sys/fs/cgroup/cpu,cpuacct/x", "/sys/fs/cgroup/cpu,cpuacct")
    assert cpu.set == systemd.set == RDONLY | NOSUID | NODEV | NOEXEC
    assert [(link.text, link.target) for link in links] == [
        ("cpu,cpuacct", "/sys/fs/cgroup/cpu"),
        ("cpu,cpuacct", "/sys/fs/cgroup/cpuacct"),
    ]
    assert (systemd.source, systemd.target) == ("/sys/fs/cgroup/systemd/x", "/sys/fs/cgroup/systemd")
    assert isinstance(seal, ops.SealMount)


def test_v1_mounts_each_hierarchy_in_a_cgroup_namespace_of_the_containers_own() -> None:
    made = document()
    made["linux"]["namespaces"].append({"type": "cgroup"})
    _tmpfs, cpu, _cpu, _cpuacct, systemd, _seal = at_cgroup(made, hierarchies=HIERARCHIES)
    assert (cpu.kind, cpu.parameters) == ("cgroup", (("cpu", None), ("cpuacct", None)))
    assert (systemd.kind, systemd.parameters) == ("cgroup", (("none", None), ("name", "systemd")))


def test_v2_is_mounted_in_a_namespace_of_its_own_and_else_bound() -> None:
    unified = "/sys/fs/cgroup/x"
    (bound,) = at_cgroup(document(), unified=unified)
    assert (type(bound), bound.source) == (ops.Bind, unified)
    made = document()
    made["linux"]["namespaces"].append({"type": "cgroup"})
    (mount,) = at_cgroup(made, unified=unified)
    assert (type(mount), mount.kind) == (ops.Mount, "cgroup2")
    assert mount.set & RDONLY


# --- devices


def test_default_devices_give_way_to_listed_ones_of_the_same_path() -> None:
    listed = [{"type": "c", "path": "/dev/../dev//null", "major": 1, "minor": 3, "fileMode": 0o600}]
    nodes = [step for step in steps(document(devices=listed), ops.MakeDevice) if clean(step.target) == "/dev/null"]
    assert [(node.mode, node.at) for node in nodes] == [(0o020600, "linux.devices[0]")]


@pytest.mark.parametrize("options", [["bind"], ["rbind", "ro"]])
def test_the_hosts_dev_gets_no_nodes_and_links(options: list[str]) -> None:
    made = document()
    made["mounts"] = [{"destination": "/dev/", "type": "none", "source": "/dev", "options": options}]
    assert not steps(made, ops.MakeDevice)
    assert not steps(made, ops.MakeSymlink)


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o644, 0o020644), (0o20644, 0o020644), (0o60644, 0o020644), (0, 0o020000), (None, 0o020666)]
)
def test_the_type_of_a_device_is_its_own_whatever_its_mode_says(mode: int | None, expected: int) -> None:
    listed = {"type": "c", "path": "/x", "major": 1, "minor": 3, **({} if mode is None else {"fileMode": mode})}
    assert [step.mode for step in steps(document(devices=[listed]), ops.MakeDevice) if step.target == "/x"] == [expected]


# --- process


def test_capabilities_have_the_kernels_numbers() -> None:
    assert [NAMES.index(name) for name in ("CHOWN", "KILL", "SETPCAP", "SYS_ADMIN", "SETFCAP", "CHECKPOINT_RESTORE")] == [
        0,
        5,
        8,
        21,
        31,
        40,
    ]
    assert len(NAMES) == 41
    assert mask(["CAP_CHOWN", "CAP_KILL", "CAP_NOSUCH", "chown"]) == 0b100001
    assert mask(None) == 0


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ({}, (0, 0, 0, 0)),
        ({"permitted": "AB", "effective": "ABC"}, (3, 3, 0, 0)),
        ({"bounding": "AB", "inheritable": "ABC"}, (0, 0, 3, 0)),
        ({"bounding": "ABC", "permitted": "AB", "inheritable": "BC", "ambient": "ABC"}, (0, 3, 6, 2)),
    ],
)
def test_each_set_lies_within_those_that_it_depends_on(sets: dict[str, str], expected: tuple[int, ...]) -> None:
    names = {"A": "CAP_CHOWN", "B": "CAP_DAC_OVERRIDE", "C": "CAP_DAC_READ_SEARCH"}
    made = document()
    made["process"]["capabilities"] = {name: [names[letter] for letter in letters] for name, letters in sets.items()}
    (step,) = steps(made, ops.SetCapabilities)
    assert (step.effective, step.permitted, step.inheritable, step.ambient) == expected


@pytest.mark.parametrize(
    ("env", "program", "home"),
    [
        (["A=1", "A=2"], ("A=2",), True),
        (["HOME=/x"], ("HOME=/x",), False),
        (["HOME="], (), True),
        (["HOME=/x", "HOME="], (), True),
        (["HOME=", "HOME=/x"], ("HOME=/x",), False),
        (["HOMER=", "A="], ("HOMER=", "A="), True),
    ],
)
def test_the_last_of_two_variables_counts_and_an_empty_home_is_none(env: list[str], program: tuple[str, ...], home: bool) -> None:
    made = document()
    made["process"]["env"] = env
    assert steps(made)[-1].env == program
    assert bool(steps(made, ops.SetHome)) == home


def test_the_program_is_looked_up_in_its_own_path() -> None:
    made = document()
    made["process"] |= {"env": ["PATH=/a", "PATH=/b:/c"], "args": ["name", "x"]}
    (step,) = steps(made, ops.FindProgram)
    assert (step.name, step.path) == ("name", "/b:/c")


# --- what does not fit together


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda made: made["mounts"].append({"destination": "/", "type": "tmpfs"}), "mounts[7].destination"),
        (lambda made: made["mounts"].append({"destination": "/x/..", "type": "tmpfs"}), "mounts[7].destination"),
        (lambda made: made["mounts"].append({"destination": "/proc", "type": "tmpfs"}), "mounts[7]"),
        (
            lambda made: made["mounts"].append({"destination": "/x", "type": "bind", "source": "y", "options": ["size=1"]}),
            "mounts[7].options[0]",
        ),
        (lambda made: made["linux"]["namespaces"].pop(), "mounts"),  # the mount namespace is the last of runc's
        (lambda made: made["linux"].update(namespaces=[{"type": "mount"}]), "hostname"),
        (lambda made: made["linux"].update(sysctl={"kernel.pid_max": "1"}), "linux.sysctl.kernel.pid_max"),
        (lambda made: made["linux"].update(sysctl={"net/../kernel/pid_max": "1"}), "linux.sysctl.net/../kernel/pid_max"),
        (lambda made: made["linux"].update(sysctl={"net...x": "1"}), "linux.sysctl.net...x"),
    ],
)
def test_what_does_not_fit_together_is_an_error_with_its_path(change: Any, path: str) -> None:
    made = document()
    change(made)
    with pytest.raises(InvalidSpec) as caught:
        plan(made)
    assert caught.value.path == path


@pytest.mark.parametrize("member", ["maskedPaths", "readonlyPaths", "rootfsPropagation"])
def test_mounts_need_a_mount_namespace_of_the_containers_own(member: str) -> None:
    made = document(namespaces=[{"type": "uts"}], maskedPaths=[], readonlyPaths=[])
    made |= {"mounts": [], "root": {"path": "rootfs"}}
    plan(made)
    made["linux"][member] = "private" if member == "rootfsPropagation" else ["/x"]
    with pytest.raises(InvalidSpec) as caught:
        plan(made)
    assert caught.value.path == f"linux.{member}"
