"""The trio face: containers for supervisors, as structured concurrency.

    async with aiorun.Runtime() as runtime:
        async with runtime.container("job-1", bundle="bundles/job") as job:     # created; killed and deleted on the way out
            await job.start()
            exit = await job.wait()

The lifecycles are those of the command line; only the waiting is trio's, and the inits come from a launcher, since nothing
forks in a process that runs trio.
"""

from __future__ import annotations

from aiorun.supervise.container import Container
from aiorun.supervise.events import Created, Deleted, Events, Exited, FailedHook, Missed, Oom, Paused, Resumed, Started, Stats
from aiorun.supervise.exit import Exit, Result
from aiorun.supervise.process import Process
from aiorun.supervise.runtime import Runtime, run
from aiorun.supervise.streams import DEVNULL, PIPE, STDOUT, PtyStream, Size

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Container",
    "Created",
    "Deleted",
    "Events",
    "Exit",
    "Exited",
    "FailedHook",
    "Missed",
    "Oom",
    "Paused",
    "Process",
    "PtyStream",
    "Result",
    "Resumed",
    "Runtime",
    "Size",
    "Started",
    "Stats",
    "run",
]
