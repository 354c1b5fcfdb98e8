"""start: open the fifo at which the init waits, and see the program begin. runtime.md, "start"."""

from __future__ import annotations

import os

from aiorun.errors import AiorunError, ContainerNotFound, HookFailed, InitFailed, InvalidState, reason
from aiorun.runtime import status as states
from aiorun.runtime.delete import destroy
from aiorun.runtime.hooks import run_hooks
from aiorun.runtime.process import open_init
from aiorun.store import identity
from aiorun.undo import Undo
from aiorun.waiter import POLLIN
from aiorun.wire.protocol import LIMIT, Failed, ProtocolViolation, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.runtime.notify import Notify
    from aiorun.store import Directory, State, Store
    from aiorun.waiter import Waiter

_TICK = 0.25  # seconds after which a start looks again, in case another one has come and gone unseen
_DEAD = "container process is already dead"
_RUNNING = "cannot start an already running container"
_REFUSED = {
    states.CREATING: "cannot start a container that is being created",
    states.RUNNING: _RUNNING,
    states.PAUSED: "cannot start a container in the paused state",
    states.STOPPED: "cannot start a container that has stopped",
}


async def start(store: Store, id: str, *, waiter: Waiter, created: str = "", notify_socket: str = "") -> State:
    """Let a created container's program begin; returns once it has been exec'd and the poststart hooks have run.

    With `notify_socket` (NOTIFY_SOCKET) only once the program has said that it is ready, or has ended.

    Raises ContainerNotFound, InvalidState, InitFailed (a startContainer hook, execve, an init that died), and HookFailed,
    after which the container is gone. With `created` only the container that was created then. Of two starts one wins.
    A cancel leaves the container created or started, never in between.
    """
    with store.open(id) as directory, Undo() as closing:
        state = directory.read()
        if created and state.created != created:
            raise ContainerNotFound(id)
        now = states.status(state)
        if now != states.CREATED:
            raise InvalidState(_REFUSED[now])
        pidfd = open_init(state)
        if pidfd < 0:
            raise _dead(state)
        closing.add(lambda: os.close(pidfd))
        notify = _notify(store.notify_directory(id), notify_socket, closing) if notify_socket else None
        await _let_go(directory, state, pidfd, waiter)
        try:
            await run_hooks(waiter, state, "poststart", "running", pid=state.pid)
        except HookFailed:
            await waiter.shield(destroy(directory, waiter=waiter))
            raise
        if notify is not None:
            await notify.until_ready(waiter, pidfd, state.pid)
        return state


def _notify(directory: str, host: str, closing: Undo) -> Notify:
    from aiorun.runtime.notify import Notify

    notify = Notify(directory, host)
    closing.add(notify.close)
    return notify


async def _let_go(directory: Directory, state: State, pidfd: int, waiter: Waiter) -> None:
    """Read the fifo to its end: `0`, and then nothing once the program is exec'd, or why it could not be."""
    with directory.locked():
        directory.check_not_removing()
        fifo = _open_fifo(directory, state)
    try:
        said = b""
        while True:
            ready = await waiter.wait_any({fifo: POLLIN, pidfd: POLLIN}, _TICK)
            if fifo in ready:
                while (chunk := _read(fifo)) and len(said) <= LIMIT + 1:
                    said += chunk
                if chunk is not None:
                    break
            elif pidfd in ready or _is_running(state):
                break
    finally:
        os.close(fifo)
    _judge(said, state)
    with directory.locked():
        directory.remove_fifo()


def _read(fifo: int) -> bytes | None:
    """What is in the fifo; b"" at its end, None if there's nothing now."""
    try:
        return os.read(fifo, 65536)
    except BlockingIOError:
        return None


def _open_fifo(directory: Directory, state: State) -> int:
    try:
        return directory.open_fifo()
    except FileNotFoundError:
        raise InvalidState(_RUNNING if _is_running(state) else _REFUSED[states.STOPPED]) from None
    except OSError as error:
        raise AiorunError(f'open the fifo of "{state.id}": {reason(error)}') from None


def _is_running(state: State) -> bool:
    seen = identity(state)
    return seen is not None and not seen[1]


def _judge(said: bytes, state: State) -> None:
    """What the fifo's text means. Without the `0` the init belongs to another start, or is dead."""
    if said[:1] == b"0" and said[1:]:
        try:
            failure = decode(said[1:])
        except ProtocolViolation as violation:
            raise InitFailed(f"container init sent {violation}") from None
        if isinstance(failure, Failed):
            from aiorun.runtime.init import told  # only here: else a start goes without all of create's modules

            raise InitFailed(told(failure))
    seen = identity(state)
    never_ran = seen is not None and seen[1]  # a zombie still shows that it never exec'd
    if said == b"0" and not never_ran:
        return
    raise InvalidState(_RUNNING) if _is_running(state) and not said else _dead(state)


def _dead(state: State) -> InitFailed:
    return InitFailed(f"{_DEAD} (possibly OOM-killed: linux.resources.memory)" if states.oom_killed(state) else _DEAD)
