"""The plan of the init that becomes criu: what a restore finds in the root file system, and what is handed on."""

from __future__ import annotations

from typing import Any

import pytest

from aiorun.errors import InvalidSpec
from aiorun.plan import Hierarchy, Request
from aiorun.plan.restore import compile_restore, joined
from aiorun.spec import check
from aiorun.wire import ops
from aiorun.wire.plan import Plan, decode, encode
from tests.plan.plans import REQUEST, document

MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts"},
    {"destination": "/data", "type": "none", "source": "/srv/data", "options": ["rbind", "ro"]},
    {"destination": "/data/inner", "type": "none", "source": "other", "options": ["bind"]},
    {"destination": "/data", "type": "none", "source": "none", "options": ["bind", "remount", "rw"]},
    {"destination": "/devices", "type": "tmpfs", "source": "tmpfs"},
]


def restore(made: dict[str, Any], **request: Any) -> Plan:
    return compile_restore(check(made), Request(**{**REQUEST.__dict__, **request}), program="/sbin/criu", env=("A=b",))


def test_the_places_of_mounts_are_made_but_for_those_that_another_file_system_brings() -> None:
    made = {**document(), "mounts": MOUNTS}
    steps = [step for step in restore(made).operations if isinstance(step, (ops.MakeDirectory, ops.Bind))]
    assert steps == [
        ops.MakeDirectory("/proc", "mounts[0]"),
        ops.MakeDirectory("/dev", "mounts[1]"),
        ops.Bind("/srv/data", "/data", "mounts[3]", True),
        ops.Bind("/bundle/other", "/data/inner", "mounts[4]", False),
        ops.MakeDirectory("/devices", "mounts[6]"),
    ]


def test_what_is_mounted_for_that_is_gone_before_criu_comes() -> None:
    names = [type(step).__name__ for step in restore({**document(), "mounts": MOUNTS}).operations]
    first, close, second = names.index("OpenRoot"), names.index("CloseRoot"), len(names) - 1 - names[::-1].index("OpenRoot")
    assert first < names.index("MakeDirectory") < close < second
    assert {"MakeDirectory", "Bind", "Mount"}.isdisjoint(names[close:])
    assert names[-4:] == ["Report", "HandOn", "ShedOurs", "Execute"]


def test_criu_is_in_the_containers_cgroups_and_in_a_mount_namespace_of_its_own() -> None:
    made = restore(document(), hierarchies=(Hierarchy("pids", "pids", "/sys/fs/cgroup/pids/x"),))
    assert made.clone_flags == 0x20000
    assert made.operations[0] == ops.JoinCgroup("/sys/fs/cgroup/pids/x")
    assert ops.SetPropagation(1 << 19 | 16384) in made.operations  # before anything is mounted: slave, recursively


def test_namespaces_by_path_are_handed_on_after_criu_itself() -> None:
    names = [
        {"type": "network", "path": "/ns/net"}, {"type": "ipc", "path": "/ns/ipc"}, {"type": "pid", "path": "/ns/pid"},
        {"type": "mount"}, {"type": "uts"},
    ]  # fmt: skip
    made = document(namespaces=names)
    plan = restore(made)
    assert [name for name, _, _ in plan.opens] == ["ns:network", "ns:pid"]
    assert ops.HandOn(("criu", "ns:network", "ns:pid")) in plan.operations
    assert plan.operations[-2:] == (ops.ShedOurs(3), ops.Execute(("/sbin/criu", "swrk", "3"), ("A=b",)))
    assert list(joined(check(made))) == [("ipc", "/ns/ipc")]


def test_a_cgroup_namespace_by_path_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"linux.namespaces\[1\].path: criu cannot restore into a cgroup namespace"):
        restore(document(namespaces=[{"type": "mount"}, {"type": "cgroup", "path": "/ns/cgroup"}]))


def test_the_plan_travels_to_a_launcher_as_it_is() -> None:
    plan = restore({**document(), "mounts": MOUNTS})
    assert decode(encode(plan)).operations == plan.operations
