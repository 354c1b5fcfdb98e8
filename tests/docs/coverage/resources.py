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
        "limit, swap, reservation, checkBeforeUpdate, on v1 swappiness, disableOOMKiller and kernelTCP too",
        "cgroups/test_runc_parity.py::test_the_same_resources_come_to_the_same_files_as_with_runc "
        "cgroups/test_cgroup.py::test_memory_pids_and_cpu_are_limited "
        "cgroups/test_cgroup.py::test_a_limit_below_what_is_used_is_refused_where_it_was_asked_for "
        "cgroups/test_cgroup.py::test_swap_alone_counts_from_the_limit_of_memory_that_holds "
        "cgroups/test_cgroup.py::test_memory_and_swap_grow_and_shrink_together",
        "the memory controller, else an error",
    ),
    Row(
        "linux.resources.cpu",
        "shares, quota, period, burst, idle, cpus, mems, on v1 the real-time ones too",
        "cgroups/test_cgroup.py::test_memory_pids_and_cpu_are_limited "
        "cgroups/test_cgroup.py::test_burst_and_quota_may_come_together_in_any_direction "
        "cgroups/test_cgroup.py::test_an_idle_cgroup_can_be_made_busy_again "
        "cgroups/test_cgroup.py::test_realtime_comes_to_the_container_through_cgroups_that_have_none",
        "the cpu and cpuset controllers, else an error",
    ),
    Row(
        "linux.resources.pids",
        "the limit; 0 is 1, as in runc since 1.4, but in an update as it was",
        "cgroups/test_cgroup.py::test_processes_beyond_the_limit_cannot_be_made "
        "cgroups/test_cgroup.py::test_zero_is_a_limit_of_processes_but_in_an_update",
        "the pids controller, else an error",
    ),
    Row(
        "linux.resources.blockIO",
        "weights and throttles; leafWeight is an error, since Linux has none from 5.0 on",
        "container/test_limits.py::test_block_devices_are_throttled "
        "cgroups/test_cgroup.py::test_limits_of_block_devices_are_put_back",
        "the blkio or io controller, else an error",
    ),
    Row(
        "linux.resources.hugepageLimits, linux.resources.network, linux.resources.rdma",
        "written; a controller that isn't there is an error",
        "container/test_cgroup_limits.py::test_a_limit_of_a_rare_controller_is_set_and_updated "
        "container/test_cgroup_limits.py::test_a_controller_that_is_not_mounted_is_named",
        "their controllers, else an error",
    ),
    Row(
        "linux.resources.unified",
        "v2: each name is a file of the cgroup; v1: an error",
        "cgroups/test_cgroup.py::test_unified_files_are_written_on_v2",
        "cgroup v2, else an error",
    ),
)
