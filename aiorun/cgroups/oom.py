"""Hearing of it when the kernel kills for want of memory: a file to wait for, on v1 and on v2."""

from __future__ import annotations

import os

from aiorun.cgroups import files
from aiorun.cgroups.layout import UNIFIED
from aiorun.errors import CgroupError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_POLLIN, _POLLPRI = 1, 2


class OomWatch:
    """`fd` is ready for `events` (poll(2)'s) when there may have been a kill; `take` says how many. To be closed."""

    def __init__(self, fd: int, events: int) -> None:
        self.fd, self.events = fd, events
        self.gone = False  # the cgroup was removed: `fd` is ready for ever, or never again

    def take(self) -> int:
        """How many there were since the last time."""
        raise NotImplementedError

    def close(self) -> None:
        os.close(self.fd)


def watch(paths: Mapping[str, str]) -> OomWatch | None:
    """A watch on the cgroup with these `paths`; None where it has no memory controller. Raises CgroupError."""
    directory = paths.get("memory", paths[UNIFIED] if set(paths) == {UNIFIED} else "")
    try:
        return _WatchV2(directory) if set(paths) == {UNIFIED} else _WatchV1(directory) if directory else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CgroupError(f"watch cgroup {directory} for want of memory: {reason(error)}") from None


class _WatchV1(OomWatch):
    """An eventfd that the kernel counts up with each time. Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control"."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            try:
                files.write(f"{directory}/cgroup.event_control", f"{fd} {control}")
            except OSError:
                os.close(fd)
                raise
        finally:
            os.close(control)
        super().__init__(fd, _POLLIN)

    def take(self) -> int:
        try:
            count = os.eventfd_read(self.fd)
        except BlockingIOError:
            return 0
        self.gone = not os.path.isdir(self._directory)
        return 0 if self.gone else count  # the last one tells of the removal itself


class _WatchV2(OomWatch):
    """memory.events, which is ready for POLLPRI when it has changed since it was read. cgroup-v2.rst, "Memory"."""

    def __init__(self, directory: str) -> None:
        super().__init__(os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC), _POLLPRI)
        self._seen = self._count()

    def _count(self) -> int:
        try:
            return files.counter(os.pread(self.fd, 4096, 0).decode(), "oom_kill")
        except OSError:  # ENODEV
            self.gone = True
            return 0

    def take(self) -> int:
        count = self._count()
        new, self._seen = max(0, count - self._seen), max(count, self._seen)
        return new
