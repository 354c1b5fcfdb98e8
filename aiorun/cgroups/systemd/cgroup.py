"""A cgroup that systemd makes: the unit around it, and else the same files as `v1` and `v2` know."""

from __future__ import annotations

import os

from aiorun.cgroups import files, systemd
from aiorun.cgroups.cgroup import Cgroup
from aiorun.cgroups.layout import SYSTEMD, UNIFIED, V2, paths
from aiorun.cgroups.systemd import properties
from aiorun.cgroups.systemd.bus import check_running, connect, is_ours
from aiorun.cgroups.v1 import CgroupV1
from aiorun.cgroups.v2 import CgroupV2
from aiorun.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aiorun.cgroups.layout import Layout
    from aiorun.cgroups.limits import Resources
    from aiorun.cgroups.systemd import Unit
    from aiorun.cgroups.systemd.bus import Bus
    from aiorun.cgroups.systemd.properties import Properties
    from aiorun.undo import Undo
    from aiorun.waiter import Waiter

PREFIX = "org.systemd.property."  # of annotations that a user gives the unit
_ACCOUNTING = ("MemoryAccounting", "CPUAccounting", "TasksAccounting")


class _Scope(Cgroup):
    """What the two have in common."""

    unit: Unit

    def __init__(self, paths: dict[str, str], unit: Unit, *, started: bool) -> None:
        super().__init__(paths)
        self.unit = unit
        self._started = started  # else who is in it, if anybody, is none of ours

    # --- life

    def create(self) -> None:
        """See that nobody uses it: it is made by `enclose`."""
        if os.path.isdir(self._own_path()):
            self._refuse_used(self._own_path())

    async def enclose(
        self,
        pid: int,
        resources: Resources,
        devices: Sequence[Mapping[str, Any]] | None,
        annotations: Mapping[str, str],
        waiter: Waiter,
    ) -> None:
        wanted: Properties = dict.fromkeys((*_ACCOUNTING, self._io_accounting()), ("b", True))
        if any(name.startswith(PREFIX) for name in annotations):
            from aiorun.cgroups.systemd.annotations import properties as asked_for

            wanted |= asked_for(annotations)
        bus = await connect(waiter, user=self.unit.user)
        try:
            version = await systemd.version(bus)
            wanted |= self._limits(resources, version) | properties.devices(resources, devices)
            wanted |= properties.oom_policy(resources, version)
            await self._start(bus, pid, wanted)
        finally:
            bus.close()

    def complete(self) -> None:
        super().create()

    async def _start(self, bus: Bus, pid: int, wanted: Properties) -> None:
        try:
            self._started = True  # from the call on: whatever goes wrong after it
            await systemd.start(bus, self.unit, pid, wanted)
        except systemd.NotStarted:
            self._started = False
            raise
        # A name such as "_x" has another one as a cgroup: then we would limit a cgroup that nobody is in.
        if pid not in files.processes(self._own_path()):
            await systemd.stop(bus, self.unit)
            raise CgroupError(f'start the systemd unit "{self.unit.name}": process {pid} is not in {self._own_path()} after it')

    async def inform(self, resources: Resources, waiter: Waiter) -> None:
        bus = await connect(waiter, user=self.unit.user)
        try:
            await systemd.set_properties(bus, self.unit, self._limits(self._completed(resources), await systemd.version(bus)))
        finally:
            bus.close()

    async def kill(self, signal: int, waiter: Waiter) -> None:
        if self._started:
            await super().kill(signal, waiter)

    async def remove(self, waiter: Waiter) -> None:
        if not self._started:
            return
        failure = None
        try:
            bus = await connect(waiter, user=self.unit.user)
            try:
                await systemd.stop(bus, self.unit)
            finally:
                bus.close()
        except CgroupError as error:
            failure = error
        await super().remove(waiter)  # systemd leaves what it doesn't know: child cgroups, and controllers that aren't its own
        if failure is not None and self.exists():
            raise failure

    def _io_accounting(self) -> str:
        raise NotImplementedError

    def _own_path(self) -> str:
        """The directory that systemd makes."""
        raise NotImplementedError

    def _limits(self, resources: Resources, version: int) -> Properties:
        raise NotImplementedError

    def _completed(self, resources: Resources) -> Resources:
        """With the quota that holds by now: systemd takes a period without one for no limit at all."""
        cpu = resources.get("cpu") or {}
        if not cpu.get("period") or cpu.get("quota"):
            return resources
        quota = self._current_cpu_quota()
        return {**resources, "cpu": {**cpu, "quota": quota}} if quota else resources

    def _current_cpu_quota(self) -> int:
        """The quota in microseconds that holds; 0 if there's none."""
        raise NotImplementedError


class ScopeV2(_Scope, CgroupV2):
    def _make(self, name: str, path: str, undo: Undo) -> None:
        self._make_parent(os.path.dirname(path), undo)  # for the controllers that systemd knows nothing of

    def _io_accounting(self) -> str:
        return "IOAccounting"

    def _own_path(self) -> str:
        return self.paths[UNIFIED]

    def _limits(self, resources: Resources, version: int) -> Properties:
        return properties.v2(resources, version)

    def _completed(self, resources: Resources) -> Resources:
        """Also with the limit that holds: swap is counted from it."""
        memory = resources.get("memory") or {}
        if memory.get("swap") and not memory.get("limit"):
            resources = {**resources, "memory": {**memory, "limit": self._memory_limit()}}
        return super()._completed(resources)

    def _current_cpu_quota(self) -> int:
        quota = self._current_quota()
        return int(quota) if quota.isdigit() else 0


class ScopeV1(_Scope, CgroupV1):
    def _make(self, name: str, path: str, undo: Undo) -> None:
        new = self._mkdir(path, undo)  # those that systemd has made by now stay as they are
        if name == "cpuset":
            self._inherit(path, new)

    def _io_accounting(self) -> str:
        return "BlockIOAccounting"

    def _own_path(self) -> str:
        return self.paths[SYSTEMD]

    def _limits(self, resources: Resources, version: int) -> Properties:
        return properties.v1(resources, version)

    def _current_cpu_quota(self) -> int:
        return max(int(files.read_or(f"{self.paths.get('cpu')}/cpu.cfs_quota_us", "0")), 0)


async def locate(host: Layout, cgroups_path: str | None, id: str, waiter: Waiter) -> Cgroup:
    """The cgroup of the scope that container `id` gets. Nothing is made. Raises CgroupError, InvalidSpec."""
    unit = systemd.parse(cgroups_path, id, user=not is_ours())
    check_running()
    if unit.user and host.version != V2:
        raise CgroupError("cannot use rootless systemd cgroups manager on cgroup v1")
    above = await systemd.manager_cgroup(waiter) if unit.user else ""
    found = paths(host, f"{above}{systemd.expand(unit.slice)}/{unit.name}", id)
    if host.version != V2 and SYSTEMD not in found:
        raise CgroupError("find the cgroup hierarchies: systemd's own one is not mounted")
    return of_unit(found, unit, started=False)


def of_unit(paths: dict[str, str], unit: Unit, *, started: bool = True) -> Cgroup:
    """The cgroup with these paths, of a scope that was `started` for a container. Reads nothing."""
    return (ScopeV2 if set(paths) == {UNIFIED} else ScopeV1)(paths, unit, started=started)
