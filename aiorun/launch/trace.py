"""Spawning inits that tell the log of each of their steps: `--debug`."""

from __future__ import annotations

import os

from aiorun.wire import ops
from aiorun.wire.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiorun.launch.spawn import Spawned, Spawner


class TracingSpawner:
    """Another spawner's inits, with the log behind the fd `log` in their hands. `say` is what we ourselves tell it by."""

    def __init__(self, spawner: Spawner, *, log: int, json: bool, offset: int, say: Callable[[str], None]) -> None:
        self._spawner, self._log, self._say = spawner, log, say
        self._trace = ops.Trace("log", json, offset)

    async def spawn(self, plan: Plan, files: Mapping[str, int]) -> Spawned:
        """As the other's. The init's log is a copy: its standard error may become a terminal."""
        traced = Plan(**{**plan.__dict__, "operations": (self._trace, *plan.operations)})
        self._say(f"clone an init with the flags {plan.clone_flags:#x}, for {len(plan.operations)} steps")
        log = os.dup(self._log)
        try:
            spawned = await self._spawner.spawn(traced, {**files, "log": log})
        finally:
            os.close(log)
        self._say(f"the init is process {spawned.pid}")
        return spawned
