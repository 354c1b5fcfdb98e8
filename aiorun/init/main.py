"""The interpreter of a plan: one function for each operation, in order, and one way to fail.

It knows no OCI. It is the only code of ours that runs with an attacker's file system around it.
"""

from __future__ import annotations

import os

from aiorun.init import devices, identity, mounts, program, seal
from aiorun.init.state import Init, StepFailed
from aiorun.linux import process
from aiorun.wire import ops
from aiorun.wire.protocol import Failed, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable, Collection, Mapping
    from typing import Any, NoReturn, TypeAlias

    from aiorun.wire.plan import Plan

    Executors: TypeAlias = Mapping[type[ops.Operation], Callable[[Init, Any], None]]

ALWAYS: Executors = {
    ops.JoinNamespace: identity.join_namespace,
    ops.CopyPages: identity.copy_pages,
    ops.JoinCgroup: identity.join_cgroup,
    ops.UnshareCgroup: identity.unshare_cgroup,
    ops.NewSession: identity.new_session,
    ops.JoinKeyring: identity.join_keyring,
    ops.LoopbackUp: identity.loopback_up,
    ops.SetHostname: identity.set_hostname,
    ops.SetDomainname: identity.set_domainname,
    ops.WriteSysctl: identity.write_sysctl,
    ops.SetPropagation: mounts.set_propagation,
    ops.OpenRoot: mounts.open_root,
    ops.Mount: mounts.mount,
    ops.Bind: mounts.bind,
    ops.Remount: mounts.remount,
    ops.MakeDirectory: mounts.make_directory,
    ops.MakeSymlink: devices.make_symlink,
    ops.MakeDevice: devices.make_device,
    ops.PivotRoot: mounts.pivot_root,
    ops.MoveRoot: mounts.move_root,
    ops.ChangeRoot: mounts.change_root,
    ops.SealMount: mounts.seal_mount,
    ops.MakeReadonly: mounts.make_readonly,
    ops.Mask: mounts.mask,
    ops.SetNoNewPrivileges: identity.set_no_new_privileges,
    ops.SetUmask: identity.set_umask,
    ops.DropBounding: identity.drop_bounding,
    ops.ChangeDirectory: identity.change_directory,
    ops.VerifyDirectory: identity.verify_directory,
    ops.SetIds: identity.set_ids,
    ops.SetCapabilities: identity.set_capabilities,
    ops.SetRlimit: identity.set_rlimit,
    ops.SetHome: program.set_home,
    ops.FindProgram: program.find_program,
    ops.Report: program.report,
    ops.AwaitStart: program.await_start,
    ops.ShedOurs: program.shed_ours,
    ops.Execute: program.execute,
}

# Those of few plans, by the modules that have them. To load these for every plan would cost each command 0.6 ms.
RARE: Mapping[str, Mapping[type[ops.Operation], str]] = {
    "trace": {ops.Trace: "begin"},
    "console": {ops.MakeConsole: "make_console"},
    "hooks": {ops.AskForHooks: "ask_for_hooks", ops.RunHook: "run_hook"},
    "network": {ops.TakeDevice: "take_device"},
    "copy_up": {ops.CopyUp: "copy_up"},
    "seccomp": {ops.LoadSeccomp: "load_seccomp"},
    "labels": {ops.SetLabel: "set_label"},
    "scheduling": {
        ops.SetScheduler: "set_scheduler",
        ops.SetIoPriority: "set_io_priority",
        ops.SetPersonality: "set_personality",
        ops.SetMemoryPolicy: "set_memory_policy",
        ops.SetAffinity: "set_affinity",
    },
    "namespaces": {
        ops.BecomeRoot: "become_root",
        ops.UnshareIpc: "unshare_ipc",
        ops.MakeTimeNamespace: "make_time_namespace",
    },
    "restore": {ops.CloseRoot: "close_root", ops.HandOn: "hand_on"},
}

_HUP, _INT, _QUIT, _TERM = 1, 2, 3, 15


def executors(kinds: Collection[type[ops.Operation]]) -> Executors:
    """The function of each of `kinds`. To be called before the clone: after it nothing is loaded any more."""
    found = {**ALWAYS}
    for name, functions in RARE.items():
        if not functions.keys().isdisjoint(kinds):
            module = __import__(f"aiorun.init.{name}", fromlist=("",))
            found |= {kind: getattr(module, function) for kind, function in functions.items()}
    return found


def run(plan: Plan, execute: Executors, files: dict[str, int], channel: Socket, *, closed: bool = True) -> NoReturn:
    """Execute `plan`, here, in the process that the clone made. Ends in the user's program or in exit 1; never returns.

    `execute` is what `executors` has found for it, `files` are the caller's fds by name, `channel` is the conversation
    with the parent (aiorun.wire.protocol). Unless `closed`, the parent can write our maps until its first Proceed.
    """
    try:
        process.set_dumpable(not closed)  # first of all: CVE-2016-9962
        process.exit_on((_HUP, _INT, _QUIT, _TERM))
        seal.shut()
        _take_stdio(files)
        init = Init(files, channel)
        init.parent_is_user = not closed
        seal.keep_only(init, channel.fileno(), plan.preserve)
        os.umask(0o022)
        init.await_sources() if ops.BecomeRoot in execute else init.await_proceed()
        if not closed:
            process.set_dumpable(False)
        for step in plan.operations:
            if init.trace is not None:
                init.trace(step)
            _execute(init, step, execute[type(step)])
    except BaseException:  # noqa: BLE001, S110 - a traceback would read files of the container's by our paths
        pass
    finally:
        os._exit(1)


def _take_stdio(files: dict[str, int]) -> None:
    """Our standard streams, where they are handed to us and not inherited."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        fd = files.pop(name, number)
        if fd != number:
            os.dup2(fd, number)


def _execute(init: Init, step: ops.Operation, execute: Callable[[Init, Any], None]) -> None:
    try:
        execute(init, step)
    except StepFailed as failure:
        _fail(init, Failed(failure.text, failure.errno))
    except OSError as error:
        _fail(init, Failed(step.complaint(), error.errno or 0))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it's one sentence
        _fail(init, Failed(f"{step.complaint()}: {type(error).__name__}: {error}", 0))


def _fail(init: Init, failure: Failed) -> NoReturn:
    """Say why, to the parent or after it to whoever started us, and end."""
    try:
        if init.has_parent:
            init.say(failure)
        elif init.fifo >= 0:
            os.write(init.fifo, encode(failure))
    finally:
        os._exit(1)
