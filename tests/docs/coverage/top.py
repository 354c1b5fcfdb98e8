"""config.md: the members of the document itself."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (
    Row(
        "ociVersion",
        "required, a semantic version; every 1.x and the drafts before 1.0 are taken",
        "spec/test_check.py::test_every_1_x_and_the_drafts_before_are_versions",
    ),
    Row(
        "unknown properties",
        "ignored, wherever they stand",
        "spec/test_check.py::test_unknown_members_are_ignored_everywhere "
        "cli/test_errors.py::test_what_config_json_has_beyond_the_specification_is_no_fault",
    ),
    Row(
        "invalid values",
        "an error with the JSON path, before anything is made",
        "spec/test_check.py::test_a_fault_is_named_with_its_path_and_reason",
    ),
    Row(
        "root.path",
        "required; absolute, or relative to the bundle; a directory",
        "container/test_rootfs.py::test_the_path_of_the_root_is_absolute_or_the_bundles",
    ),
    Row(
        "root.readonly",
        "`/` is remounted read-only after all mounts and devices; what is mounted in it keeps its own flags",
        "container/test_rootfs.py::test_a_root_is_read_only_where_asked_for_but_what_is_mounted_in_it_is_not",
    ),
    Row(
        "hostname",
        "sethostname(2); an error without a UTS namespace of the container's own",
        "container/test_identity.py::test_hostname_and_domainname_are_the_containers_own "
        "container/test_namespaces.py::test_a_name_needs_a_uts_namespace_of_the_containers_own",
    ),
    Row(
        "domainname",
        "setdomainname(2), by the same rule",
        "container/test_identity.py::test_hostname_and_domainname_are_the_containers_own",
    ),
    Row(
        "annotations",
        "shown by `state` and to the hooks; an empty name is an error. "
        "With `--systemd-cgroup` `org.systemd.property.NAME` is a property of the unit",
        "runtime/test_hooks_lifecycle.py::test_hooks_run_in_order_with_their_state "
        "spec/test_check.py::test_a_fault_is_named_with_its_path_and_reason "
        "cgroups/test_systemd.py::test_annotations_are_properties_of_the_unit",
    ),
    Row(
        "hooks",
        "six kinds, see above; `path` absolute, `timeout` above 0 seconds, after which a hook is killed and has failed. "
        "Without `env` those of the runtime's namespace have the caller's environment, those of the container's the program's",
        "runtime/test_hooks_lifecycle.py::test_a_hook_past_its_timeout_is_killed "
        "runtime/test_hooks_lifecycle.py::test_a_hook_without_an_environment_has_the_callers "
        "runtime/test_hooks_lifecycle.py::test_a_hook_that_cannot_be_run_is_named",
    ),
)
