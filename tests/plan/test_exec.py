"""A process and a container that is there → Plan."""

from __future__ import annotations

from typing import Any

import pytest

from aiorun.errors import InvalidSpec
from aiorun.plan.exec import ExecRequest, compile_exec
from aiorun.spec import check
from aiorun.spec.process import Changes, exec_process
from aiorun.wire import ops
from aiorun.wire.plan import Plan
from tests.plan.plans import document

KINDS = ("mount", "uts", "ipc", "pid", "network")


def plan(given: dict[str, Any] | None = None, *, changes: Changes | None = None, own: Any = None, **request: Any) -> Plan:
    """The plan of an exec into a container with the default document, of which `own` are other members of its process."""
    made = document()
    made["process"] |= own or {}
    spec = exec_process(check(made), given, changes or Changes(args=("true",)))  # type: ignore[arg-type]
    asked: dict[str, Any] = {"id": "x", "pid": 7, "namespaces": KINDS, "rootfs": "/bundle/rootfs", **request}
    return compile_exec(spec, ExecRequest(**asked))


def names(made: Plan) -> list[str]:
    return [type(step).__name__ for step in made.operations]


def test_an_exec_joins_becomes_the_process_reports_and_executes() -> None:
    made = plan(cgroups=(("/cg/pids/x", "tasks", "linux.cgroupsPath"),), console=True)
    assert names(made) == [
        "NewSession", "JoinCgroup", "JoinKeyring", *["JoinNamespace"] * 4, "OpenRoot", "MakeConsole",
        "SetUmask", "SetNoNewPrivileges", "DropBounding", "SetHome", "ChangeDirectory", "SetIds", "VerifyDirectory",
        "SetCapabilities", "FindProgram", "Report", "SetRlimit", "ShedOurs", "Execute",
    ]  # fmt: skip
    assert made.clone_flags == 0
    assert made.join_pid == "ns:pid"
    assert [step.kind for step in made.operations if isinstance(step, ops.JoinNamespace)] == ["ipc", "uts", "network", "mount"]
    assert made.opens[0] == ("ns:mount", "/proc/7/ns/mnt", "linux.namespaces")
    assert made.opens[4] == ("ns:network", "/proc/7/ns/net", "linux.namespaces")


def test_where_the_mounts_are_the_hosts_the_root_is_changed() -> None:
    made = plan(namespaces=())
    assert made.join_pid == ""
    assert [step for step in made.operations if isinstance(step, (ops.OpenRoot, ops.ChangeRoot))] == [
        ops.OpenRoot("/bundle/rootfs", bind=False),
        ops.ChangeRoot(),
    ]


def test_the_cpus_are_set_before_the_cgroup_and_in_it() -> None:
    own = {"execCPUAffinity": {"initial": "0-2,5", "final": " 1 , 3-4"}}
    made = plan(own=own, cgroups=(("/cg", "cgroup.procs", "linux.cgroupsPath"),))
    (first, last) = (step for step in made.operations if isinstance(step, ops.SetAffinity))
    assert (first.cpus, last.cpus) == ((0, 1, 2, 5), (1, 3, 4))
    assert names(made).index("SetAffinity") == 0
    assert made.operations.index(last) > names(made).index("JoinCgroup")


@pytest.mark.parametrize("text", ["1-", "-1", "2-1", "9999", "1,,2", "0x1", "²"])
def test_cpus_that_are_no_list_are_named(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^process.execCPUAffinity.final: "):
        plan(own={"execCPUAffinity": {"final": text}})


def test_little_memory_and_no_keyring_are_as_in_a_create() -> None:
    made = names(plan(little_memory=True, no_new_keyring=True, cgroups=(("/cg", "tasks", "linux.cgroupsPath"),)))
    assert made.index("CopyPages") < made.index("JoinCgroup")
    assert "JoinKeyring" not in made


def test_where_there_is_a_user_namespace_a_joiner_joins_all_but_the_mounts() -> None:
    made = plan(namespaces=("mount", "cgroup", "uts", "ipc", "user", "pid", "network", "time"))
    assert [step.kind for step in made.joins] == ["pid", "ipc", "uts", "network", "time", "cgroup", "user"]
    assert made.join_pid == ""
    assert [step.kind for step in made.operations if isinstance(step, ops.JoinNamespace)] == ["mount"]
    assert names(made).index("BecomeRoot") < names(made).index("JoinKeyring") < names(made).index("JoinNamespace")


def test_inheritable_capabilities_stay_empty() -> None:
    """CVE-2022-29162."""
    made = plan(changes=Changes(args=("true",), capabilities=("CAP_SYS_ADMIN",)))
    (sets,) = (step for step in made.operations if isinstance(step, ops.SetCapabilities))
    (bounding,) = (step for step in made.operations if isinstance(step, ops.DropBounding))
    assert sets.permitted & sets.effective & bounding.keep & 1 << 21
    assert sets.inheritable == sets.ambient == 0


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        ({"oomScoreAdj": 5}, {}, 5),
        ({"oomScoreAdj": 5}, {"oomScoreAdj": 7}, 7),
        ({}, {"oomScoreAdj": 7}, 7),
    ],
)
def test_a_process_of_its_own_counts_before_the_containers(own: Any, given: Any, expected: int) -> None:
    made = document()
    made["process"] |= own
    spec = exec_process(check(made), {"cwd": "/", "args": ["a"], **given}, Changes())  # type: ignore[arg-type]
    assert spec["process"].get("oomScoreAdj") == expected


def test_nothing_of_the_containers_document_is_changed() -> None:
    made = check(document())
    before = repr(made)
    changes = Changes(
        args=("a",), env=("A=b",), groups=(1,), capabilities=("CAP_KILL",), uid=1, gid=2, cwd="/x", terminal=True, size=(1, 2)
    )
    executed = exec_process(made, None, changes)["process"]
    assert repr(made) == before
    assert executed["consoleSize"] == {"height": 1, "width": 2}
    assert executed["env"][-1] == "A=b"
