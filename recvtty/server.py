"""recvtty's two modes: `single` is the terminal of one container, `null` a bin for many."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from aiorun.console import Listener, Received, receive
from aiorun.console.relay import drain, relay
from aiorun.console.terminal import Terminal, attached
from aiorun.errors import ConsoleError, reason
from aiorun.trio_waiter import TrioWaiter

if TYPE_CHECKING:
    import _socket

_STDIN, _STDOUT = 0, 1


async def serve(path: str, *, mode: str, pid_file: str | None = None, stdin: bool = True) -> None:
    """Listen at `path` and serve in `mode` until that's over, or SIGTERM, SIGINT or SIGHUP ends it.

    Raises ConsoleError if the socket, the pid file or the terminal's raw mode can't be had. No way out, cancelling
    neither, leaves the socket, the pid file or a raw terminal.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_on_signal, nursery.cancel_scope)  # before the pid file tells whom to signal
        with Listener(path) as listener, _pid_file(pid_file):
            if mode == "null":
                await _null(listener)
            else:
                await _single(listener, stdin=stdin)
        nursery.cancel_scope.cancel()


async def _cancel_on_signal(scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _single(listener: Listener, *, stdin: bool) -> None:
    received = await _first(listener)
    listener.close()  # so that a second container is refused, and doesn't wait for a terminal that's taken
    terminal = attached(_STDIN) if stdin else None
    async with trio.open_nursery() as nursery:
        if terminal is not None:
            nursery.start_soon(_resize, terminal, received.master, nursery.cancel_scope)
        try:
            await relay(TrioWaiter(), received.master, stdin=_STDIN if stdin else None, stdout=_STDOUT, terminal=terminal)
        finally:
            nursery.cancel_scope.cancel()


async def _resize(terminal: Terminal, master: int, scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGWINCH) as signals:
        async for _ in signals:
            if not scope.cancel_called:  # else the master is closed, and its number perhaps another's
                terminal.give_size(master)


async def _first(listener: Listener) -> Received:
    """The first terminal that comes. Peers that say nothing don't keep others waiting."""
    found: list[Received] = []

    async def keep(received: Received) -> None:
        if found:
            os.close(received.master)
        else:
            found.append(received)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        await _accept(listener, nursery, keep)
    return found[0]


async def _null(listener: Listener) -> None:
    async def drop(received: Received) -> None:
        await drain(TrioWaiter(), received.master)

    async with trio.open_nursery() as nursery:
        await _accept(listener, nursery, drop)


async def _accept(listener: Listener, nursery: trio.Nursery, take: Callable[[Received], Awaitable[None]]) -> None:
    """Hand every terminal that comes to `take`, in a task of its own; a line on stderr for a peer that sends none."""

    async def attend(connection: _socket.socket) -> None:
        try:
            received = await receive(TrioWaiter(), connection)
        except ConsoleError as error:
            print(f"recvtty: {error}", file=sys.stderr)
        else:
            await take(received)

    while True:
        nursery.start_soon(attend, await listener.accept(TrioWaiter()))


@contextmanager
def _pid_file(path: str | None) -> Iterator[None]:
    """Our process id in the file `path`, whole or not at all, while the block lasts."""
    if path is None:
        yield
        return
    unready = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    try:
        with open(unready, "w") as file:
            file.write(f"{os.getpid()}\n")
        os.rename(unready, path)
    except OSError as error:
        raise ConsoleError(f'write the pid file "{path}": {reason(error)}') from None
    try:
        yield
    finally:
        _remove_ours(path)


def _remove_ours(path: str) -> None:
    try:
        with open(path) as file:
            ours = file.read() == f"{os.getpid()}\n"
        if ours:
            os.unlink(path)
    except OSError:
        pass  # it's gone
