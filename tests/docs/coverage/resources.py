"""config-linux.md, "Control groups": the limits."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (
    Row(
        "linux.resources.devices",
        "rules in the order listed, after those of the default devices",
        "cgroups/test_cgroup.py::test_a_rule_allows_a_device_and_new_rules_replace_old_ones "
        "cgroups/test_devices.py::test_the_program_answers_as_v1_would_for_every_device_and_access",
        "v1: the devices controller; v2: BPF",
    ),
    Row(
        "linux.resources.memory",
        "limit, swap, reservation, on v1 swappiness and disableOOMKiller too",
        "cgroups/test_cgroup.py::test_memory_pids_and_cpu_are_limited "
        "cgroups/test_cgroup.py::test_memory_and_swap_grow_and_shrink_together",
        "the memory controller, else an error",
    ),
    Row(
        "linux.resources.cpu",
        "shares, quota, period, burst, idle, cpus, mems, on v1 the real-time ones too",
        "cgroups/test_cgroup.py::test_memory_pids_and_cpu_are_limited "
        "cgroups/test_cgroup.py::test_burst_and_quota_may_come_together_in_any_direction "
        "cgroups/test_cgroup.py::test_an_idle_cgroup_can_be_made_busy_again",
        "the cpu and cpuset controllers, else an error",
    ),
    Row(
        "linux.resources.pids",
        "the limit",
        "cgroups/test_cgroup.py::test_processes_beyond_the_limit_cannot_be_made",
        "the pids controller, else an error",
    ),
    Row(
        "linux.resources.blockIO",
        "weights and throttles",
        "container/test_limits.py::test_block_devices_are_throttled",
        "the blkio or io controller, else an error",
    ),
    Row(
        "linux.resources.hugepageLimits, linux.resources.network, linux.resources.rdma",
        "written; a controller that isn't there is an error",
        "cgroups/test_cgroup.py::test_a_limit_without_its_controller_is_an_error",
        "their controllers, else an error",
    ),
    Row(
        "linux.resources.unified",
        "v2: each name is a file of the cgroup; v1: an error",
        "cgroups/test_cgroup.py::test_unified_files_are_written_on_v2",
        "cgroup v2, else an error",
    ),
)
