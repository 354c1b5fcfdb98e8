"""When, how and where the kernel runs a process: scheduler, I/O priority, personality, memory policy."""

from __future__ import annotations

from aiorun.linux._call import call
from aiorun.linux.numbers import NUMBER

_WHO_PROCESS, _CLASS_SHIFT = 1, 13
_ATTR_SIZE = 56  # sizeof(struct sched_attr) since Linux 5.3, with the utilization clamps


def set_scheduler(policy: int, *, nice: int, priority: int, flags: int, times: tuple[int, ...]) -> None:
    """Our own scheduling policy; `times` are runtime, deadline and period in nanoseconds. sched_setattr(2), struct sched_attr."""
    content = b"".join(
        [
            *(_ATTR_SIZE.to_bytes(4, "little"), policy.to_bytes(4, "little"), flags.to_bytes(8, "little")),
            *(nice.to_bytes(4, "little", signed=True), priority.to_bytes(4, "little", signed=True)),
            *(time.to_bytes(8, "little") for time in times),
            bytes(8),  # the clamps
        ]
    )
    call(NUMBER["sched_setattr"], 0, content, 0)


def set_io_priority(level: int, priority: int) -> None:
    """Our own I/O class (1 real time, 2 best effort, 3 idle) and priority in it. ioprio_set(2)."""
    call(NUMBER["ioprio_set"], _WHO_PROCESS, 0, level << _CLASS_SHIFT | priority)


def set_personality(domain: int) -> None:
    """Our own execution domain, PER_*. personality(2)."""
    call(NUMBER["personality"], domain)


def set_memory_policy(mode: int, nodes: tuple[int, ...]) -> None:
    """Our own NUMA policy: MPOL_* with MPOL_F_*, and the nodes it is about. set_mempolicy(2); ENOSYS without NUMA."""
    if not nodes:
        call(NUMBER["set_mempolicy"], mode, 0, 0)
        return
    mask = sum(1 << node for node in set(nodes))
    size = (max(nodes) // 64 + 1) * 8
    call(NUMBER["set_mempolicy"], mode, mask.to_bytes(size, "little"), size * 8 + 1)  # +1: the kernel takes one off
