"""The launcher: a sealed process with one thread that clones inits for a supervisor, which must not fork itself.

It holds nothing but the plan at hand: an empty environment, no file but its socket. With CLONE_PARENT an init is the
supervisor's own child. End of file on the socket, when the supervisor is gone, is its end.

    request  ["Spawn", plan, [name, …]] with a file for each name; or ["Spawn"], and the same in a memory file before them
    answer   ["Spawned", pid] with the pidfd, or ["Failed", text, errno]; in both cases with the pidfds of other children that
             have ended. Over the init's "channel", one of the files, so that each asker waits for its own answer alone
"""

from __future__ import annotations

import gc
import os

from aiorun.errors import AiorunError
from aiorun.init import main as init  # noqa: F401 - loaded before the first clone
from aiorun.launch.failure import SpawnFailed
from aiorun.launch.sealed import ensure
from aiorun.launch.spawn import clone_init
from aiorun.linux import socket
from aiorun.linux.file import close_range
from aiorun.linux.process import CLONE_PARENT
from aiorun.wire import json, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import Any

LIMIT = 65536  # bytes of a packet; a larger request comes in a memory file
MAX_FILES = 64
PLAN_LIMIT = 1 << 26


def main(arguments: list[str]) -> int:
    """Serve the socket that is file descriptor `arguments[0]` until its other end is closed."""
    close_range(int(arguments[0]) + 1, 0xFFFFFFFF)  # what the supervisor has open without close-on-exec
    try:
        ensure()
    except AiorunError as error:
        os.write(2, f"{error}\n".encode())
        return 1
    supervisor = socket.stream(int(arguments[0]))
    gc.freeze()
    while True:
        packet, files = socket.receive(supervisor, LIMIT, MAX_FILES)
        if not packet:
            return 0
        _serve(packet, files)
        for fd in files:
            os.close(fd)


def _serve(packet: bytes, files: list[int]) -> None:
    """One request."""
    try:
        _kind, *rest = json.loads(packet)
        if not rest:
            _kind, *rest = json.loads(_read(files.pop(0)))
        document, names = rest
        named = dict(zip(names, files, strict=True))
        channel = socket.stream(named["channel"])
        files.remove(named.pop("channel"))
    except (ValueError, TypeError, KeyError, IndexError):
        return  # nothing that our own side sends; it sees the channel closed
    children: tuple[int, ...] = ()  # of our parent's: the init, and who has to be reaped besides
    try:
        pid, pidfd, ended = clone_init(plan.decode(document), named, channel, flags=CLONE_PARENT)
    except SpawnFailed as failure:
        children = failure.ended
        _tell(channel, ["Failed", failure.text, failure.errno], *children)
    except (ValueError, TypeError, KeyError) as error:
        _tell(channel, ["Failed", f"understand the plan: {error}", 0])
    else:
        children = (pidfd, *ended)
        _tell(channel, ["Spawned", pid], *children)
    for child in children:
        os.close(child)
    channel.close()


def _tell(channel: Socket, answer: list[Any], *files: int) -> None:
    try:
        socket.send(channel, json.dumps(answer).encode(), files)
    except OSError:
        pass  # the asker is gone: its init sees the same and ends


def _read(fd: int) -> bytes:
    """A request that outgrew a packet."""
    with open(fd, "rb") as file:
        return file.read(PLAN_LIMIT)
