"""config-linux.md, without seccomp and resources."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (
    Row(
        "linux.namespaces",
        "mount, pid, network, ipc, uts, cgroup: new ones; what isn't listed is the caller's; a doubled one is an error",
        "container/test_namespaces.py::test_a_namespace_without_a_path_is_new "
        "container/test_namespaces.py::test_a_namespace_that_is_not_listed_is_the_callers "
        "container/test_namespaces.py::test_a_list_of_namespaces_that_makes_no_sense_is_refused",
    ),
    Row(
        "linux.namespaces[].type",
        "new, with maps, or joined, alone or with others of it. What is made anew belongs to it; devices are bound from the host",
        "container/test_user_namespaces.py::test_root_of_a_new_user_namespace_is_another_user_outside "
        "container/test_user_namespaces.py::test_its_namespaces_belong_to_it_and_all_that_a_container_has_is_there "
        "container/test_user_namespaces.py::test_a_user_namespace_is_joined_alone_or_with_others_of_it "
        "container/test_user_namespaces.py::test_a_new_user_namespace_goes_with_namespaces_of_the_host",
        values="user",
    ),
    Row(
        "linux.namespaces[].type",
        "new, with offsets, or joined; the program and the hooks before it are inside",
        "container/test_user_namespaces.py::test_a_time_namespace_has_its_own_clocks "
        "container/test_user_namespaces.py::test_a_time_namespace_is_joined",
        "Linux 5.6",
        values="time",
    ),
    Row(
        "linux.namespaces[].path",
        "absolute; joined by setns(2), in whatever order they are listed; one of another type is an error",
        "container/test_namespaces.py::test_all_of_them_may_be_joined_at_once "
        "container/test_namespaces.py::test_a_path_that_is_no_namespace_of_the_type_is_an_error_with_its_place",
    ),
    Row(
        "linux.uidMappings, linux.gidMappings",
        "written from outside: by root as they are, by a user with newuidmap and newgidmap, for his own id alone without. "
        "A new user namespace without them is an error, and so are they without one; where one is joined, it has its own",
        "container/test_user_namespaces.py::test_root_of_a_new_user_namespace_is_another_user_outside "
        "container/test_rootless.py::test_granted_ids_are_mapped_by_newuidmap_and_newgidmap "
        "container/test_rootless.py::test_the_rootless_document_works_as_it_stands "
        "container/test_user_namespaces.py::test_maps_that_make_no_sense_are_an_error_with_their_place",
    ),
    Row(
        "linux.timeOffsets",
        "set before anybody is in the time namespace; without a new one they are an error",
        "container/test_user_namespaces.py::test_a_time_namespace_has_its_own_clocks "
        "container/test_user_namespaces.py::test_offsets_that_make_no_sense_are_an_error",
        "Linux 5.6",
    ),
    Row(
        "linux.devices",
        "c, u, b, p, anywhere, with mode and owner; a different file in its place is an error",
        "container/test_devices.py::test_a_device_is_made_with_its_type_numbers_mode_and_owner "
        "container/test_devices.py::test_something_else_in_a_devices_place_is_an_error",
    ),
    Row(
        "default devices",
        "null, zero, full, random, urandom, tty, ptmx, with a terminal console; each may be used",
        "container/test_devices.py::test_the_default_devices_and_links_are_there_and_nothing_else "
        "container/test_devices.py::test_the_default_devices_work_for_a_user_too",
    ),
    Row(
        "linux.netDevices",
        "moved into the network namespace, renamed (a `%d` takes the first free number), given their permanent global addresses "
        "again, set up; a name that is taken is an error. Never moved back",
        "container/test_net_devices.py::test_a_device_is_moved_with_its_permanent_global_addresses_and_set_up "
        "container/test_net_devices.py::test_a_template_takes_the_first_free_name "
        "container/test_net_devices.py::test_a_name_that_is_taken_is_an_error",
        "CAP_NET_ADMIN on the host",
    ),
    Row(
        "linux.cgroupsPath",
        "absolute: below the hierarchy's mount; relative: below our own cgroup, as in runc; unset: the id. "
        "With `--systemd-cgroup`: `slice:prefix:name`",
        "container/test_limits.py::test_a_cgroup_is_where_the_path_says "
        "cgroups/test_runc_parity.py::test_a_cgroup_lies_where_runc_puts_it "
        "cgroups/test_systemd.py::test_the_unit_and_its_files_are_those_that_runc_makes",
    ),
    Row(
        "fitness of a cgroup",
        "one that is frozen, or has processes, is an error of `create`",
        "cgroups/test_cgroup.py::test_create_refuses_a_cgroup_with_processes_in_it "
        "cgroups/test_cgroup.py::test_create_refuses_a_frozen_cgroup",
    ),
    Row(
        "ownership of a cgroup",
        "given to the host's id of `process.user.uid` where the container may write to the mount of its own cgroup namespace",
        "cgroups/test_ownership.py::test_the_user_of_a_container_with_a_writable_cgroup_makes_cgroups_below "
        "cgroups/test_ownership.py::test_a_cgroup_is_given_with_the_files_that_the_kernel_names",
        "cgroup v2; on v1 nothing is given away",
    ),
    Row(
        "linux.sysctl",
        "those of a namespace that the container has of its own, in both spellings; any other is an error",
        "container/test_namespaces.py::test_sysctls_of_the_containers_namespaces_are_set_in_both_spellings "
        "container/test_namespaces.py::test_a_sysctl_that_is_not_the_containers_own_is_refused",
    ),
    Row(
        "linux.rootfsPropagation",
        "of `/`, after the pivot; an unknown word is an error",
        "container/test_rootfs.py::test_the_propagation_asked_for_is_that_of_the_root "
        "container/test_rootfs.py::test_an_unknown_propagation_is_refused",
    ),
    Row(
        "linux.maskedPaths",
        "a file is covered by the null device, a directory by an empty read-only tmpfs; a missing one is skipped",
        "container/test_rootfs.py::test_masked_paths_are_empty_and_cannot_be_written_to",
    ),
    Row(
        "linux.readonlyPaths",
        "bound on themselves, read-only, with the flags they had; a missing one is skipped",
        "container/test_rootfs.py::test_read_only_paths_can_be_read_and_not_written_with_all_that_is_below",
    ),
    Row(
        "linux.mountLabel",
        "`context=` of each new file system but proc, sysfs, mqueue and cgroup's own, and of what masks a directory",
        "plan/test_labels.py::test_the_mount_label_is_each_new_file_systems "
        "container/test_labels.py::test_a_label_for_mounts_of_a_module_that_is_off_is_an_error",
        "SELinux; an error without it",
    ),
    Row(
        "linux.personality",
        "personality(2): LINUX and LINUX32; flags, of which the specification has none, are an error",
        "container/test_scheduling.py::test_the_program_has_the_execution_domain_asked_for",
    ),
    Row(
        "linux.memoryPolicy",
        "set_mempolicy(2); nodes as a list of ranges, which some modes need and others don't take",
        "container/test_scheduling.py::test_the_program_has_the_memory_policy_asked_for "
        "plan/test_scheduling.py::test_what_makes_no_sense_is_named",
        "a kernel with NUMA, else its error; WEIGHTED_INTERLEAVE: Linux 6.9, PREFERRED_MANY: 5.15",
    ),
    Row(
        "linux.intelRdt",
        "the group that `closID` names, `/` being the default one, or one of the container's own, which goes with it; "
        "l3CacheSchema and memBwSchema are written together, schemata last; with enableMonitoring a monitoring group; "
        "processes of `exec` are in it too",
        "cgroups/test_resctrl.py::test_schemata_are_written_and_the_process_is_put_into_the_group "
        "cgroups/test_resctrl.py::test_without_resctrl_a_container_that_wants_it_is_refused",
        "resctrl, else an error. No machine with it was at hand: tested on directories that look like it, never on a processor",
    ),
)
