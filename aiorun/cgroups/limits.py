"""Writing one limit, with an error that says which property of config.json it was."""

from __future__ import annotations

import os

from aiorun.cgroups import files
from aiorun.errors import CgroupError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aiorun.cgroups.restore import Before

    Resources = Mapping[str, Any]

RESOURCES = "linux.resources"
UNLIMITED = (-1, 2**64 - 1)  # the second is the first in Go's uint64


class Controller:
    """The files of one controller in one cgroup. `directory` is None where the host doesn't have the controller.

    `before` remembers what a file held before it was written to.
    """

    def __init__(self, name: str, directory: str | None, before: Before | None = None) -> None:
        self.name = name
        self.directory = directory
        self._before = before

    def has(self, file: str) -> bool:
        return self.directory is not None and os.path.exists(f"{self.directory}/{file}")

    def set(self, property: str, asked: object, file: str, *values: str, ignore: tuple[int, ...] = ()) -> bool:
        """Write `values` (or what was `asked` for) to `file`; False for an errno in `ignore`.

        Raises CgroupError that names `property`, which is below linux.resources.
        """
        property = f"{RESOURCES}.{property}"
        try:
            if self.directory is None:
                raise FileNotFoundError
            values = values or (str(asked),)
            if self._before is not None:
                self._before.remember(self.directory, file, values)
            files.write(f"{self.directory}/{file}", *values)
        except OSError as error:
            if error.errno in ignore:
                return False
            raise CgroupError(f"set {property} to {asked}{self._why(error, file)}") from None
        return True

    def _why(self, error: OSError, file: str) -> str:
        if self.directory is None or (error.errno == 2 and not self._is_enabled()):
            return f": there is no {self.name} controller"
        return f" ({file}): {reason(error)}"

    def _is_enabled(self) -> bool:
        """v2 lists its controllers; a v1 directory is there for the controller alone."""
        if self.name == "cgroup" or not self.has("cgroup.controllers"):
            return True
        return self.name in files.read(f"{self.directory}/cgroup.controllers").split()


def given(resources: Resources, group: str, *names: str) -> list[Any]:
    """The members `names` of `resources[group]`, None for those that are unset: absent, null, 0, false or empty."""
    values = resources.get(group) or {}
    return [values.get(name) or None for name in names]


def set_pids(controller: Controller, resources: Resources, *, update: bool = False) -> None:
    """pids.limit, v1 and v2 alike. Here zero is a limit (1, as runc has it: the first process doesn't count its entry).

    Not so in an update, in which Docker and `runc update` mean "as it was" by it.
    """
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None and not (update and limit == 0):
        controller.set("pids.limit", limit, "pids.max", "max" if limit < 0 else str(limit or 1))


def set_hugetlb(controller: Controller, resources: Resources, suffix: str) -> None:
    """hugepageLimits: the limit of pages in use, and of those reserved where the kernel has it (5.7)."""
    for index, limit in enumerate(resources.get("hugepageLimits") or ()):
        property, size = f"hugepageLimits[{index}].limit", limit["pageSize"]
        if not size[:-2].isdigit() or size[-2:] not in ("KB", "MB", "GB"):
            raise CgroupError(f"{RESOURCES}.hugepageLimits[{index}].pageSize: {size!r} is not a page size such as 2MB")
        controller.set(property, limit["limit"], f"hugetlb.{size}.{suffix}")
        controller.set(property, limit["limit"], f"hugetlb.{size}.rsvd.{suffix}", ignore=(2,))


def set_rdma(controller: Controller, resources: Resources) -> None:
    """rdma: handles and objects of each device, v1 and v2 alike."""
    for device, limit in (resources.get("rdma") or {}).items():
        parts = [device]
        for name, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if limit.get(name) is not None:
                parts.append(f"{key}={limit[name]}")
        if len(parts) > 1:
            controller.set(f'rdma["{device}"]', " ".join(parts[1:]), "rdma.max", " ".join(parts))


def set_cpuset(controller: Controller, resources: Resources) -> None:
    """cpu.cpus and cpu.mems, v1 and v2 alike."""
    for name in ("cpus", "mems"):
        (value,) = given(resources, "cpu", name)
        if value:
            controller.set(f"cpu.{name}", value, f"cpuset.{name}")
