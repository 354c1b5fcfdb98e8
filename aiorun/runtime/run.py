"""run: create, start, and in the foreground the wait for the end, with what belongs to it."""

from __future__ import annotations

import os

from aiorun.console import signals as console_signals
from aiorun.errors import AiorunError
from aiorun.linux.process import set_child_subreaper
from aiorun.runtime.create import Options, create
from aiorun.runtime.delete import destroy
from aiorun.runtime.init import check_terminal
from aiorun.runtime.process import kill, reap_child
from aiorun.runtime.start import start
from aiorun.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiorun.launch.spawn import Spawner
    from aiorun.runtime.create import Created
    from aiorun.runtime.front import Front
    from aiorun.spec.types import Spec
    from aiorun.store import Store
    from aiorun.waiter import Waiter


async def run_detached(
    store: Store, id: str, spec: Spec, bundle: str, options: Options, *, waiter: Waiter, spawner: Spawner
) -> None:
    """create and start. On an error nothing is left."""
    created = await create(store, id, spec, bundle, options, waiter=waiter, spawner=spawner)
    try:
        await start(store, id, waiter=waiter, notify_socket=options.notify_socket)
    except BaseException:
        await waiter.shield(_destroy(store, created, waiter))
        raise
    finally:
        os.close(created.pidfd)


async def run_foreground(
    store: Store,
    id: str,
    spec: Spec,
    bundle: str,
    options: Options,
    *,
    waiter: Waiter,
    spawner: Spawner,
    keep: bool = False,
    subreaper: bool = True,
    warn: Callable[[str], None] | None = None,
) -> int:
    """create, start, wait, and delete unless `keep`: the program's exit code, 128 + N by signal N.

    With process.terminal our own terminal is the program's: raw meanwhile, restored on every way out. Signals are passed on.
    On an error nothing is left.
    """

    async def make(options: Options, files: dict[str, int]) -> Created:
        return await create(store, id, spec, bundle, options, waiter=waiter, spawner=spawner, files=files)

    async def begin(waiter: Waiter) -> None:
        await start(store, id, waiter=waiter)

    return await in_foreground(store, id, spec, options, make, begin, waiter=waiter, keep=keep, subreaper=subreaper, warn=warn)


async def in_foreground(
    store: Store,
    id: str,
    spec: Spec,
    options: Options,
    make: Callable[[Options, dict[str, int]], Awaitable[Created]],
    begin: Callable[[Waiter], Awaitable[None]] | None,
    *,
    waiter: Waiter,
    keep: bool = False,
    subreaper: bool = True,
    warn: Callable[[str], None] | None = None,
) -> int:
    """What `make` makes and `begin` lets begin, to its end: see run_foreground. Without `begin` it runs already."""
    if subreaper:
        set_child_subreaper(True)
    options = Options(**{**options.__dict__, "detached": False})
    check_terminal(spec["process"].get("terminal", False), console_socket=options.console_socket, detached=False)
    with Undo() as closing:
        front, files = None, {}
        if spec["process"].get("terminal"):
            from aiorun.runtime.front import Front

            front = Front(closing)
            files = {"console": front.console}
            options = Options(**{**options.__dict__, "rows": front.rows, "columns": front.columns})
        created = await make(options, files)
        closing.add(lambda: os.close(created.pidfd))
        listening = _listening(store.notify_directory(id), options, closing, waiter)
        with console_signals.Signals() as signals:  # also while destroying: an impatient second ^C leaves no half of a container
            try:
                status = await _in_front(begin, created, front, listening, signals)
            except BaseException:
                await waiter.shield(_destroy(store, created, waiter))
                raise
            if not keep:
                await waiter.shield(_destroy(store, created, waiter, warn=warn))
            return status


def _listening(directory: str, options: Options, closing: Undo, waiter: Waiter) -> Waiter:
    """A waiter that tells NOTIFY_SOCKET when the program is ready. The unit's main process stays ours, as with runc."""
    if not options.notify_socket:
        return waiter
    from aiorun.runtime.notify import Listening, Notify

    notify = Notify(directory, options.notify_socket)
    closing.add(notify.close)
    return Listening(waiter, notify, os.getpid())


async def _in_front(
    begin: Callable[[Waiter], Awaitable[None]] | None,
    created: Created,
    front: Front | None,
    waiter: Waiter,
    signals: console_signals.Signals,
) -> int:
    if front is not None:
        front.attach()
    if begin is not None:
        await begin(console_signals.PassingOn(waiter, created.pidfd, signals))
    if front is None:
        await console_signals.forward_until_exit(waiter, created.pidfd, signals)
    else:
        await front.serve(waiter, created.pidfd, signals)
    status = reap_child(created.pidfd)
    if status is None:
        raise AiorunError("wait for the container's process: it isn't a child of ours")
    return status


async def _destroy(store: Store, created: Created, waiter: Waiter, *, warn: Callable[[str], None] | None = None) -> None:
    """The end of a container that is ours, whatever state it is in."""
    try:
        with store.open(created.state.id) as directory:
            if directory.read().created == created.state.created:  # else somebody has deleted it, and made another one
                await destroy(directory, waiter=waiter, warn=warn)
        await kill(waiter, created.pidfd)
    except AiorunError as error:
        if warn is not None:
            warn(str(error))
