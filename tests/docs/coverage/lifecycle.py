"""runtime.md: the operations, the hooks, the state."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (
    Row(
        "`create`: the id",
        "unique below `--root`, made of letters, digits and `_+-.`; of two creates exactly one has it",
        "cli/test_errors.py::test_an_id_that_is_none_is_refused_in_runcs_words "
        "cli/test_errors.py::test_an_id_that_is_taken_is_refused_and_its_container_unharmed "
        "runtime/test_races.py::test_of_two_creates_one_has_the_id",
    ),
    Row(
        "`create`: config.json",
        "read once; later edits have no effect",
        "runtime/test_fifo.py::test_create_leaves_an_init_at_the_fifo_before_the_program",
    ),
    Row(
        "`create` that fails",
        "leaves nothing behind: no process, mount, cgroup, directory",
        "runtime/test_refused_calls.py::test_whatever_the_kernel_refuses_is_one_sentence_and_nothing_is_left "
        "runtime/test_cancelled.py::test_a_create_cancelled_at_any_wait_leaves_nothing",
    ),
    Row(
        "hooks: the order",
        "prestart, createRuntime, createContainer within `create`; startContainer before and poststart after the start; "
        "poststop within `delete`. Each kind in the order listed, the state on standard input, in the bundle's directory",
        "runtime/test_hooks_lifecycle.py::test_hooks_run_in_order_with_their_state "
        "runtime/test_hooks_lifecycle.py::test_hooks_see_what_runcs_do",
    ),
    Row(
        "hooks: failure",
        "an error that ends the container, after which the poststop hooks run; of a poststop hook itself a warning",
        "runtime/test_hooks_lifecycle.py::test_a_hook_of_create_that_fails_fails_it "
        "runtime/test_hooks_lifecycle.py::test_a_startcontainer_hook_that_fails_fails_the_start "
        "runtime/test_hooks_lifecycle.py::test_a_poststart_hook_that_fails_ends_the_container "
        "runtime/test_hooks_lifecycle.py::test_after_a_hook_that_fails_the_poststop_hooks_run_once "
        "runtime/test_hooks_lifecycle.py::test_a_poststop_hook_that_fails_is_only_logged",
    ),
    Row(
        "hooks: standard input",
        "a hook need not read its state; one that does gets all of it, whatever its size",
        "runtime/test_hooks_lifecycle.py::test_a_hook_need_not_read_its_state "
        "runtime/test_hooks_lifecycle.py::test_a_state_larger_than_a_pipe_reaches_the_hook_whole",
    ),
    Row(
        "`start`",
        "only of a created container, once; returns when the program is exec'd, and says why where it can't be",
        "runtime/test_fifo.py::test_a_container_is_started_once "
        "runtime/test_fifo.py::test_start_returns_once_the_program_is_execd "
        "runtime/test_fifo.py::test_start_tells_why_the_program_could_not_be_execd",
    ),
    Row(
        "`state`",
        "creating, created, running, stopped, and paused; runc's members",
        "runtime/test_records.py::test_state_and_list_are_runcs "
        "cli/test_errors.py::test_each_state_refuses_what_it_cannot_do_in_runcs_words",
    ),
    Row(
        "`kill`",
        "a signal by name or number to a created or running container; an error for the dead",
        "runtime/test_kill.py::test_a_signal_is_meant_by_name_in_any_case_and_by_number "
        "runtime/test_kill.py::test_the_dead_get_no_signal",
    ),
    Row(
        "`delete`",
        "of a stopped container, as in runc also of a created one; everything that `create` made goes, and nothing else",
        "runtime/test_delete.py::test_what_lives_is_deleted_by_force_alone "
        "runtime/test_delete.py::test_a_created_container_is_deleted_without_force",
    ),
)
