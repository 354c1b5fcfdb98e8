"""One tree of exceptions. Each says what was done, on which object, and why it failed.

The text of an error is one sentence without a final stop, in lower case: engines match words of it.
"""

from __future__ import annotations

import os


def reason(error: OSError) -> str:
    """The errno's text as Go says it: lower case, since Docker matches the words."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


class AiorunError(Exception):
    """Anything that aiorun raises on purpose. `str()` is one sentence for a person."""


class UsageError(AiorunError):
    """The caller's arguments don't make sense together."""


class InvalidId(AiorunError):
    """The container id has characters that an id must not have."""


class InvalidSpec(AiorunError):
    """config.json is wrong. `path` is the JSON path of the fault, such as `mounts[0].destination`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


class UnsupportedSpec(InvalidSpec):
    """config.json asks for something that this host doesn't have. Never ignored in silence."""


class ContainerNotFound(AiorunError):
    """No container with this id below the root directory."""

    def __init__(self, id: str = "") -> None:
        super().__init__("container does not exist")
        self.id = id


class ContainerExists(AiorunError):
    """The id is taken."""

    def __init__(self, id: str = "") -> None:
        super().__init__("container with given ID already exists")
        self.id = id


class InvalidState(AiorunError):
    """The operation isn't possible in the state that the container is in."""


class InitFailed(AiorunError):
    """The container's init couldn't do what the plan says."""


class HookFailed(AiorunError):
    """A hook returned a status other than 0, timed out, or couldn't be run."""


class CgroupError(AiorunError):
    """A cgroup couldn't be made, limited or removed."""


class CriuError(AiorunError):
    """criu isn't installed, can't do what was asked for, or failed at it."""


class ConsoleError(AiorunError):
    """A terminal couldn't be had or handed on."""


class ProtocolError(AiorunError):
    """The other side of a socket sent what it may not send."""


class LauncherDied(AiorunError):
    """The launcher ended while it was needed."""
