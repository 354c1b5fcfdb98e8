"""process.scheduler, process.ioPriority, linux.personality, linux.memoryPolicy. Loaded for documents that have one alone."""

from __future__ import annotations

from aiorun.errors import InvalidSpec
from aiorun.wire import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiorun.spec.types import IoPriority, Linux, MemoryPolicy, Process, Scheduler

# sched(7), linux/sched.h
POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
_REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4, "SCHED_FLAG_KEEP_POLICY": 8,
    "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32, "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}  # fmt: skip

_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}  # ioprio_set(2)
_DOMAINS = {"LINUX": 0, "LINUX32": 8}  # personality(2)

# set_mempolicy(2), linux/mempolicy.h
MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4, "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}
_WITHOUT_NODES, _WITH_OR_WITHOUT = ("MPOL_DEFAULT", "MPOL_LOCAL"), ("MPOL_PREFERRED",)
_NODES = 1024  # MAX_NUMNODES is this at most
_CPUS = 8192  # CONFIG_NR_CPUS, too


def compile_priorities(process: Process) -> Iterator[ops.Operation]:
    """Those of the process: `exec` has them too."""
    scheduler, io_priority = process.get("scheduler"), process.get("ioPriority")
    if scheduler:
        yield _compile_scheduler(scheduler)
    if io_priority:
        yield _compile_io_priority(io_priority)


def compile_domain(linux: Linux) -> Iterator[ops.Operation]:
    """Those of the container."""
    personality, policy = linux.get("personality") or {}, linux.get("memoryPolicy") or {}
    if personality.get("flags"):
        raise InvalidSpec("linux.personality.flags[0]", "unknown flag: the specification has none so far")
    if "domain" in personality:
        yield ops.SetPersonality(personality["domain"], _DOMAINS[personality["domain"]])
    if policy:
        yield _compile_memory_policy(policy)


def compile_affinity(process: Process, when: str) -> Iterator[ops.Operation]:
    """execCPUAffinity's "initial" or "final": of an exec alone."""
    at, text = f"process.execCPUAffinity.{when}", (process.get("execCPUAffinity") or {}).get(when, "")
    cpus = _numbers(str(text), at, "CPU", _CPUS)
    if cpus:
        yield ops.SetAffinity(cpus, at)


def _compile_scheduler(scheduler: Scheduler) -> ops.SetScheduler:
    policy, priority, nice = scheduler["policy"], scheduler.get("priority", 0), scheduler.get("nice", 0)
    if not -20 <= nice <= 19:
        raise InvalidSpec("process.scheduler.nice", "must be from -20 to 19")
    if priority and policy not in _REAL_TIME:
        raise InvalidSpec("process.scheduler.priority", f"only {' and '.join(_REAL_TIME)} have a priority")
    times = scheduler.get("runtime", 0), scheduler.get("deadline", 0), scheduler.get("period", 0)
    if policy != "SCHED_DEADLINE" and any(times):
        name = next(name for name, time in zip(("runtime", "deadline", "period"), times) if time)
        raise InvalidSpec(f"process.scheduler.{name}", f"only SCHED_DEADLINE has a {name}")
    flags = sum({SCHEDULER_FLAGS[flag] for flag in scheduler.get("flags") or ()})
    return ops.SetScheduler(policy, POLICIES[policy], nice, priority, flags, times)


def _compile_io_priority(io_priority: IoPriority) -> ops.SetIoPriority:
    name, priority = io_priority["class"], io_priority.get("priority", 0)
    if not 0 <= priority <= 7:
        raise InvalidSpec("process.ioPriority.priority", "must be from 0 to 7")
    return ops.SetIoPriority(name, _IO_CLASSES[name], priority)


def _compile_memory_policy(policy: MemoryPolicy) -> ops.SetMemoryPolicy:
    mode = policy.get("mode")
    if mode is None:
        raise InvalidSpec("linux.memoryPolicy.mode", "is required")
    nodes = _numbers(policy.get("nodes", ""), "linux.memoryPolicy.nodes", "node", _NODES)
    if nodes and mode in _WITHOUT_NODES:
        raise InvalidSpec("linux.memoryPolicy.nodes", f"{mode} takes no nodes")
    if not nodes and mode not in (*_WITHOUT_NODES, *_WITH_OR_WITHOUT):
        raise InvalidSpec("linux.memoryPolicy.nodes", f"{mode} needs a node")
    flags = sum({MEMORY_FLAGS[flag] for flag in policy.get("flags") or ()})
    return ops.SetMemoryPolicy(mode, MEMORY_MODES[mode] | flags, nodes)


def _numbers(text: str, at: str, what: str, limit: int) -> tuple[int, ...]:
    """ "0-3,7" as numbers, in order. cpuset(7), "List format"."""
    found: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        bounds = (first, last if dash else first)
        if not all(bound.isascii() and bound.isdigit() and len(bound) < 5 for bound in bounds):
            raise InvalidSpec(at, f'must be a list of {what}s such as "0-3,7"')
        low, high = int(bounds[0]), int(bounds[1])
        if low > high or high >= limit:
            raise InvalidSpec(at, f"no {what} may be above {limit - 1}, and no range run backwards")
        found.update(range(low, high + 1))
    return tuple(sorted(found))
