"""cgroup v2: one directory, whose parents have to enable the controllers."""

from __future__ import annotations

import os

from aiorun.cgroups import files
from aiorun.cgroups.cgroup import Cgroup, Usage
from aiorun.cgroups.layout import UNIFIED
from aiorun.cgroups.limits import RESOURCES, UNLIMITED, Controller, given, set_cpuset, set_hugetlb, set_pids, set_rdma
from aiorun.errors import CgroupError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aiorun.cgroups.limits import Resources
    from aiorun.undo import Undo
    from aiorun.waiter import Waiter

_EINVAL = 22
_DELEGATED = "/sys/kernel/cgroup/delegate"  # since Linux 4.15
_V1_ONLY = (
    ("memory", "swappiness", "disableOOMKiller", "kernel", "kernelTCP"),
    ("cpu", "realtimeRuntime", "realtimePeriod"),
    ("network", "classID", "priorities"),
)


class CgroupV2(Cgroup):
    @property
    def path(self) -> str:
        return self.paths[UNIFIED]

    # --- life

    def _make(self, name: str, path: str, undo: Undo) -> None:
        self._make_parent(os.path.dirname(path), undo)
        if not self._mkdir(path, undo):
            self._refuse_used(path)

    def _make_parent(self, path: str, undo: Undo) -> None:
        """Make `path` and those above it, and let all of them hand their controllers down."""
        parent = os.path.dirname(path)
        if parent != path and (not _is_cgroup(path) or _is_cgroup(parent)):  # not yet where the hierarchy is mounted
            self._make_parent(parent, undo)
            self._mkdir(path, undo)
        if not _is_cgroup(path):
            return  # above the mount, or no cgroup file system at all: mkdir will tell
        try:
            _hand_down(path)
        except OSError as error:
            raise CgroupError(f"enable the controllers of cgroup {path}: {reason(error)}") from None

    def give_to(self, uid: int) -> None:
        """The directory and the files that the kernel names: cgroups(7), "Delegation"."""
        names = files.read_or(_DELEGATED, "cgroup.procs cgroup.threads cgroup.subtree_control").split()
        for path in (self.path, *(f"{self.path}/{name}" for name in names)):
            try:
                os.chown(path, uid, -1)
            except FileNotFoundError:
                pass  # of a controller that isn't enabled
            except OSError as error:
                raise CgroupError(f"give the cgroup {path} to the user {uid}: {reason(error)}") from None

    # --- limits

    def _apply(self, resources: Resources, devices: Sequence[Mapping[str, Any]] | None, *, update: bool) -> None:
        self._refuse_v1_only(resources)
        set_pids(self._controller("pids"), resources, update=update)
        self._set_memory(resources)
        if resources.get("blockIO"):
            from aiorun.cgroups.block_io import set_v2

            set_v2(self._controller("io"), resources)
        self._set_cpu(resources)
        if not update:
            self._set_devices(resources, devices)
        set_cpuset(self._controller("cpuset"), resources)
        set_hugetlb(self._controller("hugetlb"), resources, "max")
        set_rdma(self._controller("rdma"), resources)
        self._set_unified(resources)

    def _controller(self, name: str) -> Controller:
        return Controller(name, self.path, self._before)

    def _refuse_v1_only(self, resources: Resources) -> None:
        """What v2 has no file for is an error, as in crun; runc passes over it. Zero, false and -1 ask for nothing."""
        for group, *names in _V1_ONLY:
            for name, value in zip(names, given(resources, group, *names)):
                if value and value not in UNLIMITED:
                    raise CgroupError(f"set {RESOURCES}.{group}.{name}: this host has cgroup v2, which has no such limit")

    def _set_devices(self, resources: Resources, devices: Sequence[Mapping[str, Any]] | None) -> None:
        from aiorun.cgroups.device_program import assemble
        from aiorun.cgroups.devices import device_list, device_rules
        from aiorun.linux import bpf

        program = assemble(device_list(device_rules(resources, devices)))
        try:
            directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                bpf.set_device_program(directory, program)
            finally:
                os.close(directory)
        except OSError as error:
            raise CgroupError(f"set linux.resources.devices on cgroup {self.path} (bpf): {reason(error)}") from None

    def _set_memory(self, resources: Resources) -> None:
        limit, swap, reservation = given(resources, "memory", "limit", "swap", "reservation")
        memory = self._controller("memory")
        if (resources.get("memory") or {}).get("checkBeforeUpdate"):
            self._refuse_below_usage(limit, swap)
        swap_only = swap_max(limit or (self._memory_limit() if swap else None), swap)
        if swap_only is not None:
            # A kernel without swap accounting has no such file, and nothing to limit.
            missing = (2,) if swap_only in ("max", "0") and memory.has("memory.max") else ()
            memory.set("memory.swap", swap or limit, "memory.swap.max", swap_only, ignore=missing)
        if limit:
            memory.set("memory.limit", limit, "memory.max", _number(limit))
        if reservation:
            memory.set("memory.reservation", reservation, "memory.low", _number(reservation))

    def _memory_limit(self) -> int | None:
        """The limit that an update of memory.swap alone counts from; None for none."""
        limit = files.read_or(f"{self.path}/memory.max", "max").strip()
        return None if limit == "max" else int(limit)

    def _refuse_below_usage(self, limit: int | None, swap: int | None) -> None:
        used = int(files.read_or(f"{self.path}/memory.current", "0"))
        for name, value in (("swap", swap), ("limit", limit)):
            if value and 0 < value <= used:
                raise CgroupError(f"set linux.resources.memory.{name} to {value}: {used} are in use")

    def _set_cpu(self, resources: Resources) -> None:
        cpu = self._controller("cpu")
        shares, quota, period = given(resources, "cpu", "shares", "quota", "period")
        group = resources.get("cpu") or {}
        burst, idle = group.get("burst"), group.get("idle")
        if idle == 0 and cpu.has("cpu.idle"):
            cpu.set("cpu.idle", idle, "cpu.idle")  # first: an idle cgroup takes no weight
        if shares:
            cpu.set("cpu.shares", shares, "cpu.weight", str(weight(shares)))
        # A burst may only be valid beside the new quota: again, after it.
        later = (_EINVAL,) if quota else ()
        burst_set = burst is None or cpu.set("cpu.burst", burst, "cpu.max.burst", ignore=later)
        if quota or period:
            value = _number(quota) if quota and quota > 0 else "max" if quota else self._current_quota()
            name = "cpu.quota" if quota else "cpu.period"
            cpu.set(name, quota or period, "cpu.max", f"{value} {period}" if period else value)
        if not burst_set:
            cpu.set("cpu.burst", burst, "cpu.max.burst")
        if idle:
            cpu.set("cpu.idle", idle, "cpu.idle")

    def _current_quota(self) -> str:
        return files.read_or(f"{self.path}/cpu.max", "max").split()[0]

    def _set_unified(self, resources: Resources) -> None:
        for file, value in (resources.get("unified") or {}).items():
            property = f'unified["{file}"]'
            name, dot, _ = file.partition(".")
            if "/" in file or not dot:
                raise CgroupError(f"linux.resources.{property}: it must be the name of a file, such as memory.high")
            self._controller(name).set(property, value.replace("\n", " "), file, *(line for line in value.split("\n") if line))

    # --- processes, freezer, usage

    def _processes_path(self) -> str:
        return self.path

    async def _kill_all(self, waiter: Waiter) -> None:
        try:
            files.write(f"{self.path}/cgroup.kill", "1")  # Linux 5.14; in a frozen cgroup too
        except FileNotFoundError:
            await super()._kill_all(waiter)  # an older kernel, or no such cgroup any more
        except OSError as error:
            if error.errno not in (19, 95):  # ENODEV: it's gone. EOPNOTSUPP: it's threaded
                raise CgroupError(f"kill cgroup {self.path}: {reason(error)}") from None
            await super()._kill_all(waiter)

    def _freezer(self) -> str:
        return self.path

    def thaw(self) -> None:
        self._toggle("cgroup.freeze", "0")

    def frozen(self) -> bool:
        return files.read_or(f"{self.path}/cgroup.freeze", "0").strip() == "1"

    def _request_freeze(self) -> None:
        self._toggle("cgroup.freeze", "1")

    def _has_stopped(self) -> bool:
        return files.counter(files.read_or(f"{self.path}/cgroup.events", "frozen 1"), "frozen") == 1

    def oom_kills(self) -> int:
        return files.counter(files.read_or(f"{self.path}/memory.events", ""), "oom_kill")

    def usage(self) -> Usage:
        stat = files.read_or(f"{self.path}/cpu.stat", "")
        peak = files.read_or(f"{self.path}/memory.peak", "")  # Linux 5.19
        return Usage(files.counter(stat, "usage_usec") / 1e6 if stat else None, int(peak) if peak else None)


def _is_cgroup(path: str) -> bool:
    return os.path.exists(f"{path}/cgroup.controllers")


def _hand_down(path: str) -> None:
    """Enable all controllers that the cgroup `path` has for its children, as many as it may."""
    wanted = set(files.read(f"{path}/cgroup.controllers").split())
    wanted -= set(files.read(f"{path}/cgroup.subtree_control").split())
    if not wanted:
        return
    try:
        files.write(f"{path}/cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(wanted)))
    except OSError as error:
        if error.errno == 16:  # EBUSY: `path` has processes. cpu and pids alone would be had, at the price of making it and
            return  # all below it threaded, so that no domain controller works there and the container's joining fails
        for name in sorted(wanted):  # one that can't be had must not cost the others
            try:
                files.write(f"{path}/cgroup.subtree_control", f"+{name}")
            except OSError:
                pass  # who asks for its limit hears that there is no such controller


def _number(value: int) -> str:
    return "max" if value == -1 else str(value)


def swap_max(limit: int | None, swap: int | None) -> str | None:
    """What memory.swap.max takes for these (memory.limit, memory.swap): swap alone, where config.json has memory and swap.

    None leaves the file alone. Raises CgroupError where the two don't go together.
    """
    property = f"set linux.resources.memory.swap to {swap}"
    if not swap:
        return "max" if limit == -1 else None  # as v1, where unlimited memory makes the sum unlimited
    if swap == -1 or limit == -1:
        return _number(swap)
    if not limit:
        raise CgroupError(f"{property}: it needs linux.resources.memory.limit beside it")
    if swap < limit:
        raise CgroupError(f"{property}: it holds memory and swap, and is less than linux.resources.memory.limit ({limit})")
    return str(swap - limit)


def weight(shares: int) -> int:
    """The cpu.weight (1 to 10000) for v1's cpu.shares (2 to 262144): runc's curve since 1.3.2, crun's since 1.23.

    It takes least, default (1024 and 100) and most to each other.
    """
    from math import ceil, log2

    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))
