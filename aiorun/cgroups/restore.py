"""What an update that fails writes back: a limit's file as it was before."""

from __future__ import annotations

from aiorun.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Files that have a line for each device with a limit, and what takes a device's limit away. cgroup-v2.rst, "IO"; v1's blkio.
_BY_DEVICE = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "blkio.weight_device": "default",
    "blkio.bfq.weight_device": "default",
    "blkio.throttle.read_bps_device": "0",
    "blkio.throttle.write_bps_device": "0",
    "blkio.throttle.read_iops_device": "0",
    "blkio.throttle.write_iops_device": "0",
}


class Before:
    """The files of limits as they were before the first write to each of them."""

    def __init__(self) -> None:
        self._requests: dict[str, list[str]] = {}

    def remember(self, directory: str, file: str, values: Sequence[str]) -> None:
        """Keep what `file` holds now, before `values` are written to it.

        What can't be read can't be written back, and has no state to come back to (memory.reclaim).
        """
        path = f"{directory}/{file}"
        try:
            old = files.read(path)
        except OSError:
            return
        self._requests.setdefault(path, _requests(file, old, values))

    def write_back(self) -> None:
        """Make all of them what they were, the last one first. What can't be is left as it is."""
        left = list(reversed(self._requests.items()))
        for _ in range(2):  # a quota may only be valid beside its old period, which is written after it: then once more
            left = [(path, requests) for path, requests in left if not _write(path, requests)]


def _write(path: str, requests: Sequence[str]) -> bool:
    try:
        files.write(path, *requests)
    except OSError:
        return False
    return True


def _requests(file: str, old: str, values: Sequence[str]) -> list[str]:
    """What to write, request by request, so that the file reads `old` again after `values`."""
    if file == "memory.oom_control":
        return [str(files.counter(old, "oom_kill_disable"))]
    lines = old.splitlines() or ["\n"]  # cpuset(7): an empty list is written as a bare newline
    if file not in _BY_DEVICE:
        return lines
    limited = {line.partition(" ")[0] for line in lines}
    devices = (value.partition(" ")[0] for value in values if ":" in value)
    return [f"{device} {_BY_DEVICE[file]}" for device in devices if device not in limited] + [
        line for line in lines if line.strip()
    ]
