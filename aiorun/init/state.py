"""What an init knows while it works through its plan."""

from __future__ import annotations

import os

from aiorun.linux import socket
from aiorun.wire.protocol import LIMIT, Conversation, Found, Proceed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable

    from aiorun.wire import ops
    from aiorun.wire.protocol import Message


class StepFailed(Exception):
    """An operation that failed with a sentence of its own, where describe() and an errno don't say it."""

    def __init__(self, text: str, errno: int = 0) -> None:
        super().__init__(text)
        self.text, self.errno = text, errno


class Init:
    """One init: its files by name, its root, its conversation with the parent."""

    def __init__(self, files: dict[str, int], channel: Socket) -> None:
        self.files = files
        self.root = -1  # the mount of the root file system, once OpenRoot has been
        self.sources: dict[str, list[int]] = {}  # what the parent found, by path: an O_PATH fd for each that asks
        self.program = ""  # what FindProgram found
        self.extra_env: tuple[str, ...] = ()  # what SetHome found
        self.directory_pending = ""  # a cwd that root may not enter, tried again as the user
        self.parent_is_user = False  # without rights over what isn't dumpable
        self.kernel_mounts: dict[str, int] = {}  # /proc and /sys: the fds of their mounts, until Report
        self.fifo = -1  # open from the moment that somebody starts us
        self.trace: Callable[[ops.Operation], None] | None = None  # tells the log of the step that is next
        self._channel: Socket | None = channel
        self._conversation = Conversation(init=True)

    @property
    def procfs(self) -> int:
        """The host's procfs, which the parent has checked: nothing of the container's can be mounted over it."""
        return self.files["proc"]

    def say(self, message: Message) -> None:
        assert self._channel is not None
        os.write(self._channel.fileno(), self._conversation.sent(message))  # a call that every seccomp profile has

    def await_proceed(self) -> None:
        """Wait for the parent. If it's gone, so are we: nobody else knows of us."""
        assert self._channel is not None
        packet = os.read(self._channel.fileno(), LIMIT)
        if not packet or not isinstance(self._conversation.received(packet), Proceed):
            os._exit(1)

    def await_sources(self) -> None:
        """Wait for the parent's first Proceed, and take what it has found for us until then."""
        assert self._channel is not None
        while True:
            packet, fds = socket.receive(self._channel, LIMIT, 1)
            message = self._conversation.received(packet) if packet else None
            if isinstance(message, Found) and fds:
                self.sources.setdefault(message.path, []).append(fds.pop())
            elif isinstance(message, Proceed) and not fds:
                return
            else:
                os._exit(1)

    def leave_parent(self) -> None:
        """The last word is said: what follows is between us and whoever opens the fifo."""
        assert self._channel is not None
        self._channel.close()
        self._channel = None

    @property
    def has_parent(self) -> bool:
        return self._channel is not None
