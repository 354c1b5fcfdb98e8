"""A plan on its way to the launcher: what arrives is the plan, or an error."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from aiorun.init.main import executors
from aiorun.wire import json, ops
from aiorun.wire.plan import MappedTree, Plan, decode, encode

OPERATIONS = (
    ops.Mount("tmpfs", "tmpfs", "/x", "mounts[0]", (("size", "1m"), ("ro", None)), 6, 1, 0, 0, (1 << 18,), no_symlinks=True),
    ops.Bind("/größe", "/ü", "mounts[1]", recursive=True),
    ops.RunHook("startContainer", 0, "/bin/true", ("true", ""), ("A=b",), 5, {"id": "x", "annotations": {"a": "b"}}),
    ops.SetIds(4294967294, 0, (1, 2, 3)),
    ops.SetRlimit(7, 2**64 - 1, 2**64 - 1, "process.rlimits[0]"),
    ops.LoadSeccomp("seccomp", ("SECCOMP_FILTER_FLAG_LOG",), True, False),
    ops.Execute(("sh", "-c", "echo\n\t\"'\\"), ("PATH=/bin",)),
)


def test_a_plan_is_the_same_after_the_wire_but_for_what_the_parent_opens() -> None:
    joins = (ops.JoinNamespace("user", 0x10000000, "ns:user", "/x", "linux.namespaces[0].path"),)
    trees = (MappedTree("mounts[0]", "/x", "mounts[0]", True, False, "", ((0, 1, 2),), ((0, 3, 4), (5, 6, 7))),)
    opens = (("ns:pid", "/x", "linux.namespaces[0].path"),)
    plan = Plan(0x20000, "ns:pid", opens, 3, OPERATIONS, uid_map=((0, 1, 2),), gid_map=((0, 3, 4),), joins=joins, trees=trees)
    again = decode(json.loads(json.dumps(encode(plan))))
    assert again == Plan(0x20000, "ns:pid", (), 3, OPERATIONS, joins=joins, trees=trees)


@pytest.mark.parametrize("size", [65_536, 1 << 20])
def test_a_field_of_any_size_arrives_whole(size: int) -> None:
    """CVE-2021-43784: runc's length of 16 bits overflowed."""
    plan = Plan(0, "", (), 0, (ops.Bind("/" + "x" * size, "/" + "y" * (size + 1), "mounts[0]"),))
    assert decode(json.loads(json.dumps(encode(plan)))) == plan


def test_every_operation_can_be_sent_and_has_a_sentence() -> None:
    for name, kind in ops.OPERATIONS.items():
        step = kind(*(example(annotation) for annotation in kinds_of_fields(kind)))
        (again,) = decode(json.loads(json.dumps(encode(Plan(0, "", (), 0, (step,)))))).operations
        assert again == step, name
        sentence = step.describe()
        assert sentence, name
        assert "\n" not in sentence, name
        assert sentence[0].islower(), name


def kinds_of_fields(kind: type[ops.Operation]) -> list[str]:
    known: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        known |= inspect.get_annotations(base)
    return [known[field] for field in kind.fields]


def example(annotation: str) -> Any:
    examples: dict[str, Any] = {
        "str": "text",
        "int": 5,
        "bool": True,
        "tuple[int, ...]": (1, 2),
        "tuple[tuple[str, int, int], ...]": (("text", 5, 5),),
        "tuple[str, ...]": ("a", "b"),
        "dict[str, Any]": {"a": "b"},
        "tuple[tuple[str, str | None], ...]": (("a", None), ("b", "c")),
    }
    return examples[annotation]


def test_the_init_has_one_function_for_each_operation() -> None:
    functions = executors(list(ops.OPERATIONS.values()))
    assert set(functions) == set(ops.OPERATIONS.values())
    assert len(set(functions.values())) == len(functions)


WRONG: dict[str, Any] = {
    "nothing": {},
    "no operations": {"clone_flags": 0, "join_pid": "", "preserve": 0},
    "an unknown operation": {"clone_flags": 0, "join_pid": "", "preserve": 0, "operations": [["Explode"]]},
    "the base": {"clone_flags": 0, "join_pid": "", "preserve": 0, "operations": [["Operation"]]},
    "a plan in it": {"clone_flags": 0, "join_pid": "", "preserve": 0, "operations": [["Plan"]]},
    "fields too many": {"clone_flags": 0, "join_pid": "", "preserve": 0, "operations": [["NewSession", 1]]},
    "flags that are none": {"clone_flags": "x", "join_pid": "", "preserve": 0, "operations": []},
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_plan_is_refused(case: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        decode(WRONG[case])
