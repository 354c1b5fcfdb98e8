"""The hooks that run outside: prestart, createRuntime, poststart, poststop. config.md, "POSIX-platform Hooks"."""

from __future__ import annotations

import os

from aiorun.errors import HookFailed, reason
from aiorun.wire.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aiorun.store import State
    from aiorun.waiter import Waiter


def hook_state(state: State, status: str, *, pid: int) -> dict[str, Any]:
    """What a hook reads on its standard input: the specification's members alone."""
    document: dict[str, Any] = {"ociVersion": state.oci_version, "id": state.id, "status": status, "bundle": state.bundle}
    if pid:
        document["pid"] = pid
    if state.annotations:
        document["annotations"] = state.annotations
    return document


async def run_hooks(waiter: Waiter, state: State, kind: str, status: str, *, pid: int) -> None:
    """Run the hooks of a kind in the order listed, in the bundle. Raises HookFailed at the first that fails."""
    hooks = state.hooks.get(kind)
    if not hooks:
        return
    from aiorun.linux.program import run_program  # only here: most containers have no hooks
    from aiorun.wire.hook import fault

    for index, hook in enumerate(hooks):
        env = hook.get("env")
        environment = tuple(f"{key}={value}" for key, value in os.environ.items()) if env is None else tuple(env)
        stdin = dumps(hook_state(state, status, pid=pid)).encode()
        timeout = hook.get("timeout") or 0
        args = tuple(hook.get("args") or (hook["path"],))
        try:
            ending = await run_program(
                waiter, hook["path"], args, environment, stdin=stdin, timeout=timeout or None, cwd=state.bundle
            )
        except OSError as error:
            raise HookFailed(f"error running {kind} hook #{index}: {hook['path']}: {reason(error)}") from None
        said = fault(ending, timeout=timeout)
        if said:
            raise HookFailed(f"error running {kind} hook #{index}: {said}")
