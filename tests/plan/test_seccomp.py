"""linux.seccomp → the operation that loads the filter, at the right place; and what doesn't fit together."""

from __future__ import annotations

from typing import Any

import pytest

from aiorun.errors import InvalidSpec
from aiorun.wire import ops
from tests.plan.plans import document, order, plan, steps


def profiled(*rules: dict[str, Any], nnp: bool, **members: Any) -> dict[str, Any]:
    made = document(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **members})
    made["process"]["noNewPrivileges"] = nnp
    made["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    return made


def rule(action: str, *names: str, **members: Any) -> dict[str, Any]:
    return {"names": list(names or ("mkdir",)), "action": f"SCMP_ACT_{action}", **members}


def neighbours(made: dict[str, Any]) -> tuple[str, str]:
    names = order(made)
    at = names.index("LoadSeccomp")
    assert names.count("LoadSeccomp") == 1
    return names[at - 1], names[at + 1]


def test_a_filter_stands_as_late_as_it_may() -> None:
    assert neighbours(profiled(nnp=True)) == ("ShedOurs", "Execute")
    assert neighbours(profiled(nnp=False)) == ("VerifyDirectory", "SetCapabilities")
    assert steps(profiled(nnp=False), ops.LoadSeccomp)[0].privileged
    assert not steps(profiled(nnp=True), ops.LoadSeccomp)[0].privileged


def test_one_with_a_listener_is_loaded_while_the_parent_can_hand_that_on() -> None:
    notify = {"listenerPath": "/agent"}
    assert neighbours(profiled(rule("NOTIFY"), nnp=True, **notify)) == ("FindProgram", "Report")
    assert neighbours(profiled(rule("NOTIFY"), nnp=False, **notify)) == ("VerifyDirectory", "SetCapabilities")
    assert steps(profiled(rule("NOTIFY"), nnp=True, **notify), ops.LoadSeccomp)[0].listener
    assert not steps(profiled(rule("ERRNO"), nnp=True, **notify), ops.LoadSeccomp)[0].listener


def test_the_parent_is_given_the_profile() -> None:
    made = profiled(rule("ERRNO"), nnp=True)
    assert plan(made).filter == made["linux"]["seccomp"]
    assert plan(document()).filter is None
    assert "LoadSeccomp" not in order(document())


@pytest.mark.parametrize(
    ("members", "flags"),
    [
        ({}, ("SPEC_ALLOW",)),
        ({"flags": []}, ()),
        ({"flags": ["SECCOMP_FILTER_FLAG_LOG"]}, ("LOG",)),
        ({"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}, ()),  # without a listener the kernel refuses it
    ],
)
def test_flags_are_handed_on(members: dict[str, Any], flags: tuple[str, ...]) -> None:
    (step,) = steps(profiled(rule("ERRNO"), nnp=True, **members), ops.LoadSeccomp)
    assert step.flags == tuple(f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags)
    waits = {"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "listenerPath": "/agent"}
    assert steps(profiled(rule("NOTIFY"), nnp=True, **waits), ops.LoadSeccomp)[0].flags == tuple(waits["flags"])


@pytest.mark.parametrize(
    ("rules", "members", "said"),
    [
        ([], {"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction: SCMP_ACT_NOTIFY cannot be used as default action"),
        ([], {"defaultErrnoRet": 5}, "defaultErrnoRet: SCMP_ACT_ALLOW has no errno"),
        ([rule("ERRNO", errnoRet=65536)], {}, "syscalls[0].errnoRet: must be from 0 to 65535"),
        ([rule("ERRNO"), rule("LOG", errnoRet=1)], {}, "syscalls[1].errnoRet: SCMP_ACT_LOG has no errno"),
        ([rule("ERRNO", "mkdir", "")], {}, "syscalls[0].names[1]: must not be empty"),
        ([rule("NOTIFY")], {}, "listenerPath: seccomp listenerPath is not set"),
        (
            [rule("NOTIFY", "mkdir", "write")],
            {"listenerPath": "/agent"},
            "syscalls[0].names[1]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            [rule("ERRNO", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}])],
            {},
            "syscalls[0].args[0].index: must be from 0 to 5: a system call has six arguments",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(rules: list[dict[str, Any]], members: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec) as fault:
        plan(profiled(*rules, nnp=True, **members))
    assert str(fault.value) == f"linux.seccomp.{said}"


def test_an_errno_of_zero_is_as_good_as_none() -> None:
    plan(profiled(rule("ALLOW", errnoRet=0), nnp=True, defaultErrnoRet=0))
