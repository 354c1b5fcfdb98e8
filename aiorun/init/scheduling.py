"""When, how and where the kernel runs the program. Loaded for plans that say so alone."""

from __future__ import annotations

import os

from aiorun.linux import scheduling as linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops


def set_scheduler(init: Init, step: ops.SetScheduler) -> None:
    linux.set_scheduler(step.number, nice=step.nice, priority=step.priority, flags=step.flags, times=step.times)


def set_io_priority(init: Init, step: ops.SetIoPriority) -> None:
    linux.set_io_priority(step.number, step.priority)


def set_personality(init: Init, step: ops.SetPersonality) -> None:
    linux.set_personality(step.number)


def set_memory_policy(init: Init, step: ops.SetMemoryPolicy) -> None:
    linux.set_memory_policy(step.number, step.nodes)


def set_affinity(init: Init, step: ops.SetAffinity) -> None:
    os.sched_setaffinity(0, step.cpus)
