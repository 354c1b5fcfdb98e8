"""config.md, "Mounts" and "Linux mount options". In the order listed, before the pivot, each path resolved inside the root."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (
    Row(
        "mounts",
        "made in the order listed",
        "container/test_mounts.py::test_mounts_are_made_in_the_order_given",
    ),
    Row(
        "mounts[].destination",
        "resolved inside the root, links and `..` included; what is missing is made; a relative one is relative to `/`",
        "container/test_mounts.py::test_a_bind_is_found_where_its_destination_resolves_inside_the_root "
        "security/test_paths.py::test_names_that_change_places_while_a_container_is_made_lead_nowhere",
        "Linux 5.6 (openat2); before that the path is walked by hand",
    ),
    Row(
        "mounts[].source",
        "of a bind: absolute, or relative to the bundle; a file onto a file, a directory onto a directory",
        "container/test_mounts.py::test_a_bind_is_found_where_its_destination_resolves_inside_the_root "
        "container/test_mounts.py::test_a_mount_that_cannot_be_is_refused_with_a_reason",
    ),
    Row(
        "mounts[].type",
        "a file system of the kernel's; with `bind` or `rbind` among the options it is a dummy",
        "container/test_mounts.py::test_the_dummy_type_of_a_bind_is_ignored "
        "container/test_mounts.py::test_mqueue_and_devpts_take_their_options",
    ),
    Row(
        "mounts[].type",
        "v1: a tmpfs with each hierarchy in it; v2: the one tree. Only the container's own part, "
        "with a cgroup namespace or without; `ro`",
        "container/test_cgroup_limits.py::test_a_cgroup_mount_shows_the_containers_own_part_alone "
        "container/test_limits.py::test_the_cgroup_mount_shows_the_containers_own_part_read_only_as_asked "
        "container/test_limits.py::test_a_cgroup_mount_may_be_writable",
        values="cgroup",
    ),
    Row(
        "mounts[].type",
        "only on a real directory, reached without a link; nothing but a procfs on `/proc`, and in it only what lxcfs covers",
        "container/test_mounts.py::test_an_image_whose_proc_or_sys_is_no_directory_is_refused "
        "security/test_paths.py::test_a_volume_never_covers_proc_nor_a_part_of_it "
        "container/test_mounts.py::test_files_of_proc_that_lxcfs_and_its_kind_cover_may_be_covered",
        values="proc sysfs",
    ),
    Row(
        "mounts[].options[]",
        "flags of the mount or of its file system",
        "container/test_mount_options.py::test_each_option_of_a_mount_is_seen_in_mountinfo "
        "container/test_mount_options.py::test_what_runc_1_1_5_ignores_or_refuses_is_seen_too",
        "Linux 5.2 (fsopen, fsmount); before that mount(2)",
        values="ro rw atime noatime dev nodev diratime nodiratime dirsync exec noexec iversion noiversion lazytime nolazytime "
        "loud silent relatime norelatime strictatime nostrictatime suid nosuid sync async defaults",
    ),
    Row(
        "mounts[].options[]",
        "mount(2) with MS_REMOUNT of what is there",
        "container/test_mount_options.py::test_remount_changes_what_is_there "
        "container/test_mount_options.py::test_a_remount_of_the_mount_alone_takes_no_source",
        values="remount",
    ),
    Row(
        "mounts[].options[]",
        "a part of the host's tree, alone or with what is mounted below; flags that nobody asks to change stay the source's",
        "container/test_mount_options.py::test_bind_leaves_the_mounts_below_its_source_out_where_rbind_takes_them "
        "container/test_mount_options.py::test_a_bind_keeps_the_flags_of_its_source_that_nobody_asks_to_change",
        values="bind rbind",
    ),
    Row(
        "mounts[].options[]",
        "set once the mount is in its place",
        "container/test_mount_options.py::test_propagation_of_a_bind_reaches_the_tree_where_it_is_recursive "
        "container/test_rootfs.py::test_mounts_pass_between_a_volume_and_the_host_as_far_as_asked",
        values="private rprivate shared rshared slave rslave unbindable runbindable",
    ),
    Row(
        "mounts[].options[]",
        "as the other flags",
        "container/test_mount_options.py::test_each_option_of_a_mount_is_seen_in_mountinfo",
        "Linux 5.10; before that an error",
        values="nosymfollow symfollow",
    ),
    Row(
        "mounts[].options[]",
        "mount_setattr(2) of the whole tree, after the mount",
        "container/test_mount_options.py::test_recursive_options_of_a_bind_reach_the_whole_tree",
        "Linux 5.12; before that each mount of the tree by itself",
        values="rro rrw rsuid rnosuid rdev rnodev rexec rnoexec ratime rnoatime rdiratime rnodiratime rrelatime rnorelatime "
        "rstrictatime rnostrictatime rsymfollow rnosymfollow",
    ),
    Row(
        "mounts[].options[]",
        "a new tmpfs begins with a copy of the directory that it covers: contents, owners, modes, times, extended attributes",
        "container/test_copy_up.py::test_a_tmpfs_begins_with_what_it_covers "
        "container/test_copy_up.py::test_devices_fifos_and_attributes_are_copied_and_a_socket_is_not",
        values="tmpcopyup",
    ),
    Row(
        "mounts[].options[]",
        "of a bind mount: its ids are mapped, with `ridmap` also of those below it; by its own maps, or else by the container's. "
        "Without either it's an error, and so it is of another mount",
        "container/test_idmap.py::test_idmap_is_for_the_mount_itself_and_ridmap_for_all_below_it "
        "container/test_idmap.py::test_without_maps_of_its_own_it_has_the_containers "
        "container/test_idmap.py::test_only_bind_mounts_have_it",
        "Linux 5.12, and a file system that can",
        values="idmap ridmap",
    ),
    Row(
        "mounts[].uidMappings, mounts[].gidMappings",
        "both or neither; without an option as `idmap`",
        "container/test_idmap.py::test_a_mounts_own_maps_show_its_files_as_others_and_their_makers_too "
        "container/test_idmap.py::test_maps_of_its_own_count_more_than_the_containers",
        "Linux 5.12, and a file system that can",
    ),
    Row(
        "options of the file system",
        "every other option; of a bind mount, which has none, an error that names it",
        "container/test_mounts.py::test_mqueue_and_devpts_take_their_options "
        "container/test_mount_options.py::test_an_option_that_nothing_knows_is_an_error_with_its_name",
    ),
    Row(
        "after the mounts",
        "`/dev/fd`, `stdin`, `stdout`, `stderr`, `ptmx`, `core` are links; one of the image's own stays, but for `ptmx`",
        "container/test_devices.py::test_the_default_devices_and_links_are_there_and_nothing_else "
        "container/test_devices.py::test_ptmx_is_replaced_where_the_image_has_one_of_its_own",
    ),
)
