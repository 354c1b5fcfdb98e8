"""config.md, "Process" and "Linux Process"."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (
    Row(
        "process",
        "needed by `create`, as in runc",
        "spec/test_check.py::test_a_process_is_needed_only_where_it_is_asked_for",
    ),
    Row(
        "process.terminal",
        "a terminal of the container's own devpts on 0, 1, 2 and `/dev/console`, controlling; "
        "its master goes to the console socket",
        "console/test_console_socket.py::test_the_program_sits_at_a_terminal_of_its_own_with_the_size_that_was_asked_for",
    ),
    Row(
        "process.consoleSize",
        "the terminal's size from the start; without a terminal ignored",
        "console/test_console_socket.py::test_the_program_sits_at_a_terminal_of_its_own_with_the_size_that_was_asked_for",
    ),
    Row(
        "process.cwd",
        "absolute; made if it's missing; entered as root or else as the user; has to lie inside the root",
        "container/test_identity.py::test_the_program_begins_in_its_working_directory "
        "container/test_identity.py::test_a_working_directory_that_is_missing_is_made "
        "security/test_paths.py::test_a_leaked_directory_is_no_working_directory",
    ),
    Row(
        "process.env",
        "the program's whole environment; of a name that comes twice the last; HOME from the container's passwd where unset",
        "container/test_identity.py::test_the_environment_is_the_one_given_and_a_home",
    ),
    Row(
        "process.args",
        "at least one; the program is looked up in the PATH of `env`, and a missing one fails `create`",
        "container/test_identity.py::test_arguments_reach_the_program_as_they_are "
        "cli/test_errors.py::test_a_bundle_that_is_wrong_fails_create_and_run_with_one_sentence_and_leaves_nothing",
    ),
    Row(
        "process.commandLine",
        "of Windows: checked, without effect",
        "spec/test_schema.py::test_documents_with_every_property_are_accepted",
    ),
    Row(
        "process.user.uid, process.user.gid, process.user.additionalGids",
        "setgroups, setgid, setuid, in this order; 32 bits",
        "container/test_identity.py::test_the_program_has_the_ids_and_groups_asked_for_and_no_others "
        "container/test_identity.py::test_ids_of_32_bits_are_possible",
    ),
    Row(
        "process.user.umask",
        "set; 0022 where unset, as in runc",
        "container/test_identity.py::test_the_umask_is_the_one_asked_for_or_0022",
    ),
    Row(
        "process.user.username",
        "of Windows: checked, without effect",
        "spec/test_schema.py::test_documents_with_every_property_are_accepted",
    ),
    Row(
        "process.capabilities",
        "the five sets; what is unknown or can't be granted is left out, with a warning; unset means none",
        "container/test_identity.py::test_root_has_the_capabilities_asked_for_and_no_others "
        "container/test_identity.py::test_a_user_keeps_through_execve_only_what_is_ambient "
        "container/test_identity.py::test_capabilities_that_cannot_be_granted_are_left_out_with_a_warning",
    ),
    Row(
        "process.noNewPrivileges",
        "prctl(2), PR_SET_NO_NEW_PRIVS",
        "container/test_identity.py::test_no_new_privs_is_set_where_it_is_asked_for",
    ),
    Row(
        "process.rlimits",
        "all sixteen, soft and hard, as the last thing before the program; an unknown or doubled one is an error",
        "container/test_limits.py::test_each_limit_is_the_programs "
        "container/test_limits.py::test_limits_that_make_no_sense_are_refused",
    ),
    Row(
        "process.oomScoreAdj",
        "written where set; else untouched",
        "container/test_identity.py::test_oom_score_adj_is_set_where_asked_for_and_else_inherited",
    ),
    Row(
        "process.apparmorProfile",
        "the program's profile from its execve on; an error where it isn't loaded",
        "container/test_labels.py::test_the_program_runs_under_its_apparmor_profile "
        "container/test_labels.py::test_a_profile_without_apparmor_is_an_error",
        "AppArmor; an error without it",
    ),
    Row(
        "process.selinuxLabel",
        "the program's label from its execve on, and its session keyring's",
        "plan/test_labels.py::test_selinuxs_labels_are_set_where_they_are_needed "
        "container/test_labels.py::test_a_label_of_a_module_that_is_off_is_an_error",
        "SELinux; an error without it",
    ),
    Row(
        "process.scheduler",
        "sched_setattr(2), every policy and flag; what the policy doesn't have (a priority, a runtime) is an error",
        "container/test_scheduling.py::test_the_program_has_the_scheduler_asked_for "
        "container/test_scheduling.py::test_the_program_runs_in_real_time "
        "plan/test_scheduling.py::test_what_makes_no_sense_is_named",
        "SCHED_DEADLINE: all processors; SCHED_FIFO, SCHED_RR on cgroup v1: `realtimeRuntime`; else the kernel's error",
    ),
    Row(
        "process.ioPriority",
        "ioprio_set(2) of the process; real time, best effort, idle; 0 to 7",
        "container/test_scheduling.py::test_the_program_has_the_io_priority_asked_for",
    ),
    Row(
        "process.execCPUAffinity",
        "sched_setaffinity(2) of an exec'd process: `initial` before it joins the container's cgroup, `final` in it. "
        "Without effect on a container's first process, as specified",
        "exec/test_process.py::test_the_cpus_are_the_final_ones_of_the_document "
        "plan/test_exec.py::test_the_cpus_are_set_before_the_cgroup_and_in_it",
    ),
)
