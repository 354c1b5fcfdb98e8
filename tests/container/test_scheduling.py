"""When, how and where the program runs: scheduler, I/O priority, personality, memory policy. Debian's runc passes over them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Config
from tests.container.configs import writable
from tests.container.conftest import Sandbox

# nice, real-time priority and policy: proc_pid_stat(5)
SHOW = "cut -d' ' -f19,40,41 /proc/self/stat"

SCHEDULERS: dict[str, tuple[Config, str]] = {
    "other": ({"policy": "SCHED_OTHER"}, "0 0 0"),
    "nice": ({"policy": "SCHED_OTHER", "nice": -7}, "-7 0 0"),
    "batch": ({"policy": "SCHED_BATCH", "nice": 5}, "5 0 3"),
    "idle": ({"policy": "SCHED_IDLE"}, f"{os.nice(0)} 0 5"),  # what isn't named is the caller's
    "nicer": ({"policy": "SCHED_OTHER", "nice": 19}, "19 0 0"),
    "reset on fork": ({"policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, "-3 0 3"),
}


@pytest.mark.parametrize("case", SCHEDULERS)
def test_the_program_has_the_scheduler_asked_for(ours: Sandbox, case: str) -> None:
    scheduler, expected = SCHEDULERS[case]
    assert ours({"process": {"scheduler": scheduler}}, f"exec {SHOW}") == expected


def test_what_the_program_forks_may_be_reset(ours: Sandbox) -> None:
    scheduler = {"policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    assert ours({"process": {"scheduler": scheduler}}, f"{SHOW}; true") == "0 0 3"  # sched(7): a negative nice value becomes 0


@pytest.fixture
def real_time(cgroup_parent: str) -> Iterator[Config]:
    """Limits with some real time in them: with RT_GROUP_SCHED a new cgroup of v1 has none."""
    parent = Path(f"/sys/fs/cgroup/cpu{cgroup_parent}")
    if not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        yield {}
        return
    parent.mkdir()
    (parent / "cpu.rt_runtime_us").write_text("10000")
    yield {"cpu": {"realtimeRuntime": 1000}}
    if parent.exists():
        parent.rmdir()


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"policy": "SCHED_FIFO", "priority": 7}, "7 1"),
        ({"policy": "SCHED_RR", "priority": 99}, "99 2"),
        ({"policy": "SCHED_DEADLINE", "runtime": 10**6, "deadline": 10**8, "period": 10**9}, "0 6"),
    ],
)
def test_the_program_runs_in_real_time(ours: Sandbox, real_time: Config, scheduler: Config, expected: str) -> None:
    change = {"process": {"scheduler": scheduler}, "linux": {"resources": real_time}}
    assert ours(change, "exec cut -d' ' -f40,41 /proc/self/stat") == expected


def test_a_user_without_capabilities_has_the_scheduler_too(ours: Sandbox) -> None:
    change = {
        "process": {"scheduler": {"policy": "SCHED_OTHER", "nice": -7}, "user": {"uid": 1000, "gid": 1000}, "capabilities": {}}
    }
    assert ours(change, f"exec {SHOW}") == "-7 0 0"


def test_a_scheduler_that_the_kernel_has_not_is_named(ours: Sandbox) -> None:
    said = ours.refuses({"process": {"scheduler": {"policy": "SCHED_ISO"}}})
    assert "set the scheduler SCHED_ISO (process.scheduler): invalid argument" in said


@pytest.mark.parametrize(
    ("io_priority", "expected"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 3}, "best-effort: prio 3"),
        ({"class": "IOPRIO_CLASS_RT", "priority": 7}, "realtime: prio 7"),
        ({"class": "IOPRIO_CLASS_RT"}, "realtime: prio 0"),
        ({"class": "IOPRIO_CLASS_IDLE"}, "idle"),
    ],
)
def test_the_program_has_the_io_priority_asked_for(ours: Sandbox, io_priority: Config, expected: str) -> None:
    assert ours({"process": {"ioPriority": io_priority}}, "exec ionice").startswith(expected)


@pytest.mark.parametrize(("domain", "machine"), [("LINUX", platform.machine()), ("LINUX32", None)])
def test_the_program_has_the_execution_domain_asked_for(ours: Sandbox, domain: str, machine: str | None) -> None:
    """A 32-bit program's uname(2) says so: personality(2)."""
    number, seen = ours({"linux": {"personality": {"domain": domain}}}, "cat /proc/self/personality; uname -m").split()
    assert number == ("00000008" if domain == "LINUX32" else "00000000")
    assert seen == (machine or {"x86_64": "i686", "aarch64": "armv8l"}.get(platform.machine(), seen))


POLICIES: dict[str, tuple[Config, str]] = {
    "default": ({"mode": "MPOL_DEFAULT"}, "default"),
    "local": ({"mode": "MPOL_LOCAL"}, "local"),
    "bind": ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
    "interleave": ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
    "preferred": ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
    "preferred, none": ({"mode": "MPOL_PREFERRED", "nodes": ""}, "local"),
    "static": ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
    "relative": ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "interleave=relative:0"),
}


@pytest.mark.parametrize("case", POLICIES)
def test_the_program_has_the_memory_policy_asked_for(ours: Sandbox, case: str) -> None:
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel has no NUMA")
    policy, expected = POLICIES[case]
    seen = ours({"linux": {"memoryPolicy": policy}}, "exec cut -d' ' -f2 /proc/self/numa_maps")
    assert expected in seen.split()


def test_a_node_that_is_not_there_is_an_error_of_create(ours: Sandbox) -> None:
    if not Path("/proc/self/numa_maps").exists() or Path("/sys/devices/system/node/node900").exists():
        pytest.skip("this kernel has no NUMA")
    said = ours.refuses({"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "900"}}})
    assert "set the memory policy MPOL_BIND (linux.memoryPolicy): invalid argument" in said


def test_hooks_are_none_of_the_programs_priorities(ours: Sandbox) -> None:
    """Those that run within create do so before: only startContainer's come after."""
    log = "/log"
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", f"cut -d' ' -f19 /proc/self/stat >> rootfs{log}"],
        "env": ["PATH=/bin:/usr/bin"],
    }
    change = writable({"process": {"scheduler": {"policy": "SCHED_OTHER", "nice": 9}}, "hooks": {"createRuntime": [hook]}})
    assert ours(change, f"cat {log}") == str(os.nice(0))
