"""The order of a plan: each step while it still has the rights and the view that it needs. runtime-spec, runtime.md."""

from __future__ import annotations

from typing import Any

import pytest

from aiorun.plan import Hierarchy
from aiorun.plan.namespaces import outside
from aiorun.wire.ops import OPERATIONS
from aiorun.wire.plan import MappedTree
from tests.plan.plans import document, order, plan, steps

HIERARCHIES = (
    Hierarchy("memory", "memory", "/sys/fs/cgroup/memory/x"),
    Hierarchy("pids", "pids", "/sys/fs/cgroup/pids/x"),
    Hierarchy("systemd", "name=systemd", "/sys/fs/cgroup/systemd/x"),
)
HOOK = {"path": "/bin/true"}
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def everything() -> dict[str, Any]:
    """A document whose plan has every operation that a container of its own may have."""
    made = document(
        namespaces=[{"type": kind} for kind in ("pid", "mount", "network", "cgroup", "uts")]
        + [{"type": "ipc", "path": "/ns/ipc"}],
        sysctl={"net.ipv4.ip_forward": "1"},
        rootfsPropagation="rshared",
        devices=[{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}],
        seccomp={"defaultAction": "SCMP_ACT_ALLOW"},
    )
    made["domainname"] = "example.org"
    made["root"]["readonly"] = True
    made["hooks"] = {
        kind: [HOOK] for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }
    made["process"] |= {"oomScoreAdj": 5, "apparmorProfile": "profile"}
    made["process"]["scheduler"] = {"policy": "SCHED_BATCH"}
    made["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE"}
    made["linux"] |= {"netDevices": {"eth0": {}}}
    made["linux"] |= {"personality": {"domain": "LINUX32"}, "memoryPolicy": {"mode": "MPOL_LOCAL"}}
    made["mounts"] += [
        {"destination": "/mnt", "type": "none", "source": "src", "options": ["rbind", "ro"]},
        {"destination": "/mnt", "type": "none", "source": "none", "options": ["remount", "bind", "rw"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        {"destination": "/var", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]},
    ]
    return made


def mapped() -> dict[str, Any]:
    """The same in a user namespace, with a clock of its own and its own IPC."""
    made = everything()
    made["linux"] |= {
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "network", "cgroup", "uts", "user", "time", "ipc")],
        "timeOffsets": {"boottime": {"secs": 5}},
        "uidMappings": [{"containerID": 0, "hostID": 5, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 6, "size": 2}],
    }
    return made


def labels(made: dict[str, Any], **request: Any) -> list[str]:
    """The names of the plan's operations, told apart where one kind stands in two places."""
    names = []
    for step in steps(made, **request):
        name = type(step).__name__
        if name == "RunHook":
            name = step.kind
        elif name == "SetPropagation" and step.at:
            name = "FinalPropagation"
        elif name == "SealMount" and step.at == "root.readonly":
            name = "SealRoot"
        elif getattr(step, "target", "").startswith("/sys/fs/cgroup"):
            name = f"Cgroup{name}"
        names.append(name)
    return names


# (what comes first, what comes after it, why)
RULES = [
    ("CopyPages", "JoinCgroup", "what is copied is charged to the caller, not to the container's few bytes"),
    ("JoinCgroup", "UnshareCgroup", "a cgroup namespace's root is the cgroup that it is made in"),
    ("JoinCgroup", "Mount", "the container's memory is charged to it"),
    ("UnshareCgroup", "CgroupMount", "a cgroup mount shows what the namespace shows"),
    ("JoinNamespace", "SetPropagation", "the root is built in the mount namespace that is joined"),
    ("LoopbackUp", "TakeDevice", "the namespace's own comes first"),
    ("TakeDevice", "AskForHooks", "createRuntime hooks find the devices"),
    ("TakeDevice", "WriteSysctl", "a sysctl may be a device's"),
    ("NewSession", "JoinKeyring", "the keyring is the session's"),
    ("SetPropagation", "OpenRoot", "nothing shows on the host"),
    ("OpenRoot", "Mount", "mounts are made below the root"),
    ("OpenRoot", "CopyUp", "mounts are made below the root"),
    ("CopyUp", "SealMount", "what is copied is written"),
    ("Mount", "MakeDevice", "/dev is a mount"),
    ("Mount", "MakeSymlink", "/dev is a mount"),
    ("CgroupMount", "CgroupSealMount", "the hierarchies are mounted in a tmpfs"),
    ("MakeSymlink", "AskForHooks", "prestart and createRuntime find the mounts and devices"),
    ("AskForHooks", "createContainer", "createRuntime comes before it"),
    ("MakeDirectory", "ChangeDirectory", "the working directory is made before it is entered"),
    ("createContainer", "PivotRoot", "its path is the host's"),
    ("PivotRoot", "MakeConsole", "the terminal is of the container's own devpts"),
    ("MakeConsole", "SealMount", "/dev/console is made in /dev"),
    ("MakeDevice", "SealRoot", "what is made in the root is made"),
    ("SetHostname", "MakeReadonly", "/proc/sys is one of the read-only paths"),
    ("SetDomainname", "MakeReadonly", "/proc/sys is one of the read-only paths"),
    ("WriteSysctl", "MakeReadonly", "/proc/sys is one of the read-only paths"),
    ("MakeReadonly", "Mask", "a mask covers what is read-only"),
    ("Mask", "FinalPropagation", "what is unbindable can't be bound on itself"),
    ("Mask", "DropBounding", "mounting needs CAP_SYS_ADMIN"),
    ("SealRoot", "DropBounding", "mounting needs CAP_SYS_ADMIN"),
    ("FinalPropagation", "DropBounding", "mounting needs CAP_SYS_ADMIN"),
    ("SetNoNewPrivileges", "SetCapabilities", "a filter needs either of the two"),
    ("JoinCgroup", "SetScheduler", "real time is the cgroup's to give"),
    ("createContainer", "SetScheduler", "hooks have none of the program's priorities"),
    ("SetScheduler", "SetIds", "what is above the usual needs CAP_SYS_NICE"),
    ("SetIoPriority", "SetIds", "what is above the usual needs CAP_SYS_ADMIN"),
    ("SetPersonality", "Report", "what the kernel refuses fails create"),
    ("SetMemoryPolicy", "Report", "what the kernel refuses fails create"),
    ("DropBounding", "SetIds", "dropping needs CAP_SETPCAP, which setuid takes"),
    ("ChangeDirectory", "SetIds", "root may enter what the user may not"),
    ("SetIds", "VerifyDirectory", "the user may enter what root may not"),
    ("SetIds", "SetCapabilities", "setuid changes the capabilities"),
    ("SetCapabilities", "FindProgram", "the program is looked up with the user's rights"),
    ("FindProgram", "Report", "a missing program fails create"),
    ("Report", "AwaitStart", "created, then started"),
    ("AwaitStart", "startContainer", "start runs it"),
    ("startContainer", "SetRlimit", "limits are the program's"),
    ("SetRlimit", "ShedOurs", "the signals end a created init up to the program's start"),
    ("startContainer", "LoadSeccomp", "hooks aren't the filter's affair"),
    ("SetNoNewPrivileges", "LoadSeccomp", "a filter needs it, or a capability"),
    ("PivotRoot", "SetLabel", "as in runc: what the runtime does isn't the profile's affair"),
    ("SetLabel", "SetIds", "a module may let only root change it"),
    ("ShedOurs", "LoadSeccomp", "a profile has to allow execve alone of ours"),
    ("LoadSeccomp", "Execute", ""),
]


MAPPED_RULES = [
    ("JoinCgroup", "BecomeRoot", "the cgroups are the host's root's"),
    ("MakeTimeNamespace", "BecomeRoot", "/proc/self is the caller's, while nobody may look into us"),
    ("BecomeRoot", "JoinKeyring", "the keyring is its root's"),
    ("BecomeRoot", "UnshareIpc", "the message queues are its root's"),
    ("BecomeRoot", "UnshareCgroup", "the namespace belongs to the user namespace"),
    ("UnshareIpc", "Mount", "mqueue is of the IPC namespace that it is mounted in"),
    ("BecomeRoot", "SetPropagation", "what is made is its root's"),
]


@pytest.mark.parametrize(("first", "then", "why"), MAPPED_RULES)
def test_in_a_user_namespace_all_of_the_one_comes_before_all_of_the_other(first: str, then: str, why: str) -> None:
    names = labels(mapped(), hierarchies=HIERARCHIES, little_memory=True)
    last_of_first = max(index for index, name in enumerate(names) if name == first)
    assert last_of_first < names.index(then), why


@pytest.mark.parametrize(("first", "then", "why"), RULES)
def test_all_of_the_one_kind_comes_before_all_of_the_other(first: str, then: str, why: str) -> None:
    names = labels(everything(), hierarchies=HIERARCHIES, console=True, little_memory=True)
    last_of_first = max(index for index, name in enumerate(names) if name == first)
    assert last_of_first < names.index(then), why


def test_the_document_of_the_order_has_every_operation_there_is() -> None:
    """So that a new operation is given its place in the table above."""
    known = set(order(everything(), hierarchies=HIERARCHIES, console=True, little_memory=True)) | set(order(mapped()))
    elsewhere = {"MoveRoot", "ChangeRoot", "SetAffinity", "Trace"}  # instead of PivotRoot; exec's: test_exec.py; --debug's
    elsewhere |= {"CloseRoot", "HandOn"}  # of a restore: test_restore.py
    assert set(OPERATIONS) - elsewhere == known


def test_the_last_step_is_the_program() -> None:
    assert order(everything())[-1] == "Execute"
    assert order(everything()).count("Execute") == 1


def test_a_mount_namespace_is_joined_after_the_others() -> None:
    kinds = ("mount", "cgroup", "network", "uts", "ipc")
    made = document(namespaces=[{"type": kind, "path": f"/ns/{kind}"} for kind in kinds])
    made["mounts"] = []
    joined = [step.kind for step in steps(made) if type(step).__name__ == "JoinNamespace"]
    assert joined[-1] == "mount"
    assert sorted(joined) == sorted(kinds)


def test_a_joined_pid_namespace_is_the_clones_affair() -> None:
    made = document(namespaces=[{"type": "pid", "path": "/ns/pid"}, {"type": "mount"}])
    made.pop("hostname")
    compiled = plan(made)
    assert compiled.join_pid == "ns:pid"
    assert compiled.opens == (("ns:pid", "/ns/pid", "linux.namespaces[0].path"),)
    assert compiled.clone_flags == 0x20000
    assert "JoinNamespace" not in order(made)


def test_who_may_make_no_cgroup_stays_in_his_own_and_shows_it_read_only_or_not_at_all() -> None:
    """CVE-2023-25809: where a bound /sys shows the host's, some of it may be the caller's to write."""
    made = document()
    for mount in made["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"] = ["rw"]
    theirs = (HIERARCHIES[0], Hierarchy("pids", "pids", "/sys/fs/cgroup/pids", joined=False))
    assert [step.source for step in steps(made, hierarchies=theirs) if type(step).__name__ == "JoinCgroup"] == [theirs[0].source]
    shown = {step.source: step.set & 1 for step in steps(made, hierarchies=theirs) if type(step).__name__ == "Bind"}
    assert shown == {theirs[0].source: 0, theirs[1].source: 1}
    unified = [step for step in steps(made, outside=True) if getattr(step, "target", "") == "/sys/fs/cgroup"]
    assert [type(step).__name__ for step in unified] == ["Mask"]
    made["linux"]["namespaces"].append({"type": "cgroup"})
    unified = [step for step in steps(made, outside=True) if getattr(step, "target", "") == "/sys/fs/cgroup"]
    assert [(type(step).__name__, step.kind) for step in unified] == [("Mount", "cgroup2")]


PATHS = [{"type": kind, "path": f"/ns/{kind}"} for kind in ("user", "mount", "pid", "network", "time", "cgroup")]


def test_with_a_user_namespace_that_is_joined_all_but_the_mounts_are_the_joiners_affair() -> None:
    made = document(namespaces=[*PATHS, {"type": "ipc"}, {"type": "uts"}])
    made["mounts"] = []
    compiled = plan(made)
    assert [step.kind for step in compiled.joins] == ["pid", "network", "time", "cgroup", "user"]
    assert [step.kind for step in steps(made) if type(step).__name__ == "JoinNamespace"] == ["mount"]
    assert (compiled.join_pid, compiled.uid_map, compiled.gid_map) == ("", (), ())
    assert compiled.clone_flags == 0x4000000  # uts; ipc is its root's to make
    assert compiled.sources == (), "they are those of the mount namespace that is joined"


def test_a_new_user_namespace_has_maps_and_needs_a_joiner_only_with_namespaces_of_others() -> None:
    maps = {
        "uidMappings": [{"containerID": 0, "hostID": 5, "size": 1}],
        "gidMappings": [{"containerID": 1, "hostID": 6, "size": 2}],
    }
    new = [{"type": "user"}, {"type": "mount"}]
    compiled = plan({**document(namespaces=new, **maps), "hostname": ""})
    assert (compiled.uid_map, compiled.gid_map, compiled.joins) == (((0, 5, 1),), ((1, 6, 2),), ())
    assert compiled.clone_flags == 0x10020000
    joined = plan({**document(namespaces=[*new, {"type": "network", "path": "/ns/net"}], **maps), "hostname": ""})
    assert [step.kind for step in joined.joins] == ["network"]


def test_a_mount_whose_ids_are_mapped_is_a_copy_that_is_made_before_the_clone() -> None:
    maps = {
        "uidMappings": [{"containerID": 0, "hostID": 5, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 6, "size": 2}],
    }
    mount = {"destination": "/mnt", "source": "/src", "options": ["rbind", "ridmap"]}
    own = document()
    own["mounts"].append({**mount, **maps})
    users = document(namespaces=[{"type": "user"}, {"type": "mount"}, {"type": "uts"}], **maps)
    users["mounts"].append(mount)
    for made in (own, users):
        at = f"mounts[{len(made['mounts']) - 1}]"
        assert plan(made).trees == (MappedTree(at, "/src", at, True, True, "", ((0, 5, 1),), ((0, 6, 2),)),)
        assert [step.tree for step in steps(made) if type(step).__name__ == "Bind" and step.source == "/src"] == [at]
    joined = document(namespaces=[{"type": "user", "path": "/ns/user"}, {"type": "mount"}, {"type": "uts"}])
    joined["mounts"] = [mount]
    assert plan(joined).trees == (MappedTree("mounts[0]", "/src", "mounts[0]", True, True, "ns:user", (), ()),)


@pytest.mark.parametrize(("id", "outside_"), [(0, 100), (4, 104), (5, -1), (9, -1), (10, 7), (11, -1)])
def test_an_id_is_looked_up_in_the_maps(id: int, outside_: int) -> None:
    assert outside(((0, 100, 5), (10, 7, 1)), id, -1) == outside_


def test_hooks_stand_where_they_run() -> None:
    names = [step.kind if type(step).__name__ == "RunHook" else type(step).__name__ for step in steps(everything())]
    assert names.index("AskForHooks") < names.index("createContainer") < names.index("PivotRoot")
    assert names.index("AwaitStart") < names.index("startContainer") < names.index("Execute")
    assert not {"prestart", "createRuntime", "poststart", "poststop"} & set(names)  # the runtime's


def test_without_hooks_nobody_asks_for_them() -> None:
    assert "AskForHooks" not in order(document())
    assert "RunHook" not in order(document())


def test_the_init_joins_a_v2_cgroup_only_where_it_cannot_be_born_there() -> None:
    unified = "/sys/fs/cgroup/x"
    assert "JoinCgroup" not in order(document(), unified=unified)
    assert "CopyPages" not in order(document(), unified=unified)
    joined = [step for step in steps(document(), unified=unified, little_memory=True) if type(step).__name__ == "JoinCgroup"]
    assert [(step.source, step.file) for step in joined] == [(unified, "cgroup.procs")]


@pytest.mark.parametrize(
    ("request_", "present", "absent"),
    [
        ({}, ("PivotRoot", "JoinKeyring"), ("MoveRoot", "ChangeRoot", "MakeConsole")),
        ({"no_pivot": True}, ("MoveRoot",), ("PivotRoot", "ChangeRoot")),
        ({"no_new_keyring": True}, (), ("JoinKeyring",)),
        ({"console": True}, ("MakeConsole",), ()),
    ],
)
def test_what_the_caller_asks_for_is_in_the_plan(
    request_: dict[str, Any], present: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    names = order(document(), **request_)
    assert set(present) <= set(names)
    assert not set(absent) & set(names)


def test_a_container_in_the_hosts_mounts_touches_none_of_them() -> None:
    made = document(namespaces=[{"type": "pid"}], maskedPaths=[], readonlyPaths=[])
    made |= {"mounts": [], "root": {"path": "rootfs"}}
    made.pop("hostname")
    names = order(made, console=True)
    assert "ChangeRoot" in names
    touching = {"Mount", "Bind", "Remount", "SetPropagation", "PivotRoot", "MoveRoot", "SealMount", "MakeReadonly", "Mask"}
    assert not touching & set(names)
    (console,) = (step for step in steps(made, console=True) if type(step).__name__ == "MakeConsole")
    assert not console.mount
