"""scheduler, ioPriority, personality, memoryPolicy: what they come to, and what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from aiorun.errors import InvalidSpec
from aiorun.plan.scheduling import MEMORY_FLAGS, MEMORY_MODES, POLICIES, SCHEDULER_FLAGS
from aiorun.spec.shapes import MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES
from aiorun.wire import ops
from tests.plan.plans import document, order, steps


def made(process: dict[str, Any] | None = None, **linux: Any) -> dict[str, Any]:
    found = document(**linux)
    found["process"] |= process or {}
    return found


def test_every_word_of_the_specification_has_its_number() -> None:
    assert set(MEMORY_POLICY_MODES) == MEMORY_MODES.keys()
    assert set(MEMORY_POLICY_FLAGS) == MEMORY_FLAGS.keys()
    for policy in POLICIES:
        steps(made({"scheduler": {"policy": policy}}), ops.SetScheduler)
    for flag in SCHEDULER_FLAGS:
        steps(made({"scheduler": {"policy": "SCHED_OTHER", "flags": [flag]}}), ops.SetScheduler)


def test_a_scheduler_is_one_operation() -> None:
    deadline = {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}
    flags = ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]
    assert steps(made({"scheduler": {**deadline, "flags": flags}}), ops.SetScheduler) == [
        ops.SetScheduler("SCHED_DEADLINE", 6, 0, 0, 6, (1, 2, 3))
    ]


@pytest.mark.parametrize(
    ("nodes", "expected"), [("0", (0,)), ("0-3,7", (0, 1, 2, 3, 7)), (" 2 , 1-2", (1, 2)), ("1023", (1023,))]
)
def test_nodes_are_a_list_of_ranges(nodes: str, expected: tuple[int, ...]) -> None:
    (step,) = steps(made(memoryPolicy={"mode": "MPOL_BIND", "nodes": nodes}), ops.SetMemoryPolicy)
    assert step.nodes == expected


def test_flags_are_a_part_of_the_mode() -> None:
    policy = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"]}
    (step,) = steps(made(memoryPolicy=policy), ops.SetMemoryPolicy)
    assert step.number == 2 | 1 << 15 | 1 << 13


def test_what_is_empty_asks_for_nothing() -> None:
    assert order(made(memoryPolicy={}, personality={})) == order(document())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nice": (made({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}), "process.scheduler.nice: must be from -20 to 19"),
    "priority": (
        made({"scheduler": {"policy": "SCHED_BATCH", "priority": 1}}),
        "process.scheduler.priority: only SCHED_FIFO and SCHED_RR have a priority",
    ),
    "period": (
        made({"scheduler": {"policy": "SCHED_FIFO", "priority": 1, "period": 5}}),
        "process.scheduler.period: only SCHED_DEADLINE has a period",
    ),
    "io priority": (
        made({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}),
        "process.ioPriority.priority: must be from 0 to 7",
    ),
    "less than none": (
        made({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": -1}}),
        "process.ioPriority.priority: must be from 0 to 7",
    ),
    "personality": (
        made(personality={"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}),
        "linux.personality.flags[0]: unknown flag: the specification has none so far",
    ),
    "no mode": (made(memoryPolicy={"nodes": "0"}), "linux.memoryPolicy.mode: is required"),
    "nodes of the default": (
        made(memoryPolicy={"mode": "MPOL_DEFAULT", "nodes": "0"}),
        "linux.memoryPolicy.nodes: MPOL_DEFAULT takes no nodes",
    ),
    "no nodes": (made(memoryPolicy={"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes: MPOL_BIND needs a node"),
    "a word": (
        made(memoryPolicy={"mode": "MPOL_BIND", "nodes": "all"}),
        'linux.memoryPolicy.nodes: must be a list of nodes such as "0-3,7"',
    ),
    "backwards": (
        made(memoryPolicy={"mode": "MPOL_BIND", "nodes": "3-1"}),
        "linux.memoryPolicy.nodes: no node may be above 1023, and no range run backwards",
    ),
    "too great": (
        made(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0,1024"}),
        "linux.memoryPolicy.nodes: no node may be above 1023, and no range run backwards",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_named(case: str) -> None:
    asked, text = REFUSED[case]
    with pytest.raises(InvalidSpec) as fault:
        steps(asked)
    assert str(fault.value) == text
