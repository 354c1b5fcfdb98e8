"""The hooks that run inside: createContainer before the pivot, startContainer after the fifo."""

from __future__ import annotations

import os

from aiorun.init.state import StepFailed
from aiorun.linux.poll import PollWaiter, drive
from aiorun.linux.program import run_program
from aiorun.wire.hook import fault
from aiorun.wire.json import dumps
from aiorun.wire.protocol import RunHooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.init.state import Init
    from aiorun.wire import ops


def ask_for_hooks(init: Init, step: ops.AskForHooks) -> None:
    init.say(RunHooks())
    init.await_proceed()


def run_hook(init: Init, step: ops.RunHook) -> None:
    """Run one hook. Its state's pid is ours as we see it, which in a new pid namespace is 1."""
    if step.kind == "createContainer":
        os.fchdir(init.root)  # as runc
    state = dumps({**step.state, "pid": os.getpid()}).encode()
    timeout = step.timeout or None
    try:
        ending = drive(run_program(PollWaiter(), step.path, step.args, step.env, stdin=state, timeout=timeout))
    except OSError as error:
        raise StepFailed(f"{step.complaint()}: {step.path}", error.errno or 0) from None
    said = fault(ending, timeout=step.timeout)
    if said:
        raise StepFailed(f"{step.complaint()}: {said}")
