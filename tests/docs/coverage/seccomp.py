"""config-linux.md, "Seccomp"."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (
    Row(
        "linux.seccomp",
        "libseccomp's filter, loaded last of all with no_new_privs, and before the capabilities go without it",
        "container/test_seccomp.py::test_podmans_profile_answers_to_every_call_as_runcs_filter_does "
        "container/test_seccomp.py::test_with_no_new_privs_nothing_comes_between_the_filter_and_the_program "
        "container/test_seccomp.py::test_without_no_new_privs_what_comes_after_the_filter_is_documented",
        "libseccomp.so.2; an error without it",
    ),
    Row(
        "linux.seccomp.defaultAction, linux.seccomp.defaultErrnoRet",
        "for each call that no rule names; EPERM where no errno is given. Where the profile lists architectures and the default "
        "isn't permissive, a call newer than all that are named gets ENOSYS, as in runc",
        "container/test_seccomp.py::test_the_default_is_for_what_no_rule_names "
        "container/test_seccomp.py::test_a_call_newer_than_all_that_are_named_is_enosys",
    ),
    Row(
        "linux.seccomp.syscalls",
        "all actions and operators; a name that nobody knows is passed over; two conditions on one argument make each of them a "
        "rule of its own; an errno for an action that has none is an error",
        "container/test_seccomp.py::test_errno_answers_with_its_number_and_the_call_is_not_made "
        "container/test_seccomp.py::test_kill_and_trap_end_the_caller_by_sigsys "
        "container/test_seccomp.py::test_log_and_allow_let_the_call_through "
        "container/test_seccomp.py::test_trace_without_a_tracer_is_enosys "
        "container/test_seccomp.py::test_arguments_are_compared "
        "plan/test_seccomp.py::test_what_does_not_fit_together_is_named",
    ),
    Row(
        "linux.seccomp.architectures",
        "added to the machine's own",
        "container/test_seccomp.py::test_podmans_profile_answers_to_every_call_as_runcs_filter_does",
    ),
    Row(
        "linux.seccomp.flags",
        "all four; without the member SPEC_ALLOW, as in runc. TSYNC means nothing to an init, which has one thread, and "
        "WAIT_KILLABLE_RECV nothing without a listener",
        "container/test_seccomp.py::test_flags_reach_the_kernel "
        "container/test_seccomp_notify.py::test_wait_killable_goes_with_a_listener",
        "WAIT_KILLABLE_RECV: Linux 5.19, an error before",
    ),
    Row(
        "linux.seccomp.listenerPath, linux.seccomp.listenerMetadata",
        "with SCMP_ACT_NOTIFY the listener goes there, in one message with the container process state; without a path, as "
        "default action and for write(2) it is an error",
        "container/test_seccomp_notify.py::test_a_supervisor_answers_for_the_calls "
        "container/test_seccomp.py::test_what_cannot_be_answered_for_is_refused",
        "Linux 5.7; an error before",
    ),
)
