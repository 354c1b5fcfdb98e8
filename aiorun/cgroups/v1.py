"""cgroup v1, and hybrid: a directory in each controller's hierarchy, in name=systemd and in hybrid's v2 tree."""

from __future__ import annotations

import os

from aiorun.cgroups import files
from aiorun.cgroups.cgroup import Cgroup, Usage
from aiorun.cgroups.limits import UNLIMITED, Controller, given, set_cpuset, set_hugetlb, set_pids, set_rdma
from aiorun.errors import CgroupError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aiorun.cgroups.limits import Resources
    from aiorun.undo import Undo

_EBUSY, _EINVAL = 16, 22
_SHARES = range(2, 262144 + 1)  # MIN_SHARES and MAX_SHARES in kernel/sched/core.c, which clamps in silence
_ALWAYS = ("devices", "pids", "freezer", "memory")  # each has all processes; runc lists those of devices


class CgroupV1(Cgroup):
    # --- life

    def _make(self, name: str, path: str, undo: Undo) -> None:
        new = self._mkdir(path, undo)
        if name == "cpuset":
            self._inherit(path, new)
        if not new:
            self._refuse_used(path)

    def _inherit(self, path: str, new: bool) -> None:
        """A new cpuset is empty, and takes no process until it has CPUs and memory nodes: the parent's. cpuset(7)."""
        try:
            for file in ("cpuset.cpus", "cpuset.mems"):
                if new or not files.read(f"{path}/{file}").strip():
                    files.write(f"{path}/{file}", self._inherited(os.path.dirname(path), file))
        except OSError as error:
            raise CgroupError(f"copy the parent's cpus and mems to cgroup {path}: {reason(error)}") from None

    def _inherited(self, path: str, file: str) -> str:
        value = files.read(f"{path}/{file}")
        if not value.strip():  # a parent that nobody has set up: from its parent; the root has all
            value = self._inherited(os.path.dirname(path), file)
            files.write(f"{path}/{file}", value)
        return value

    # --- limits

    def _apply(self, resources: Resources, devices: Sequence[Mapping[str, Any]] | None, *, update: bool) -> None:
        if resources.get("unified"):
            raise CgroupError("set linux.resources.unified: this host has cgroup v1, and unified is for v2")
        set_cpuset(self._controller("cpuset"), resources)
        if not update:
            self._set_devices(resources, devices)
        self._set_memory(resources)
        self._set_cpu(resources)
        set_pids(self._controller("pids"), resources, update=update)
        if resources.get("blockIO"):
            from aiorun.cgroups.block_io import set_v1

            set_v1(self._controller("blkio"), resources)
        set_hugetlb(self._controller("hugetlb"), resources, "limit_in_bytes")
        self._set_network(resources)
        set_rdma(self._controller("rdma"), resources)

    def _controller(self, name: str) -> Controller:
        return Controller(name, self.paths.get(name), self._before)

    def _set_devices(self, resources: Resources, devices: Sequence[Mapping[str, Any]] | None) -> None:
        from aiorun.cgroups.devices import DeviceRule, device_list, device_rules

        controller = self._controller("devices")
        if controller.directory is None and not resources.get("devices"):
            return  # nothing was asked for: the default rules alone are no reason to fail
        wanted = device_list(device_rules(resources, devices))
        default = str(DeviceRule(wanted.allow, "a"))
        exceptions = [str(rule) for rule in wanted.exceptions]
        allow, deny = ("devices.allow", "devices.deny") if wanted.allow else ("devices.deny", "devices.allow")
        controller.set("devices", default, allow)
        if exceptions:
            controller.set("devices", f"{len(exceptions)} rules", deny, *exceptions)

    def _set_memory(self, resources: Resources) -> None:
        limit, swap, reservation = given(resources, "memory", "limit", "swap", "reservation")
        memory = self._controller("memory")
        limit_file, swap_file = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
        if limit == -1 and not swap and memory.has(swap_file):
            swap = -1  # unlimited memory with the old limit of memory and swap would stay limited
        writes = [("limit", limit, limit_file), ("swap", swap, swap_file)]
        if limit and swap and (swap == -1 or self._current_limit() < swap):
            writes.reverse()  # the kernel wants limit <= memory+swap all the time, so what grows goes first
        for name, value, file in [*writes, ("reservation", reservation, "memory.soft_limit_in_bytes")]:
            if value and not memory.set(f"memory.{name}", value, file, ignore=(_EBUSY,)):
                used = files.read_or(f"{memory.directory}/{file.replace('limit', 'usage')}", "more").strip()
                raise CgroupError(f"set linux.resources.memory.{name} to {value}: {used} are in use")
        group = resources.get("memory") or {}
        if group.get("disableOOMKiller"):
            memory.set("memory.disableOOMKiller", "true", "memory.oom_control", "1")
        swappiness = group.get("swappiness")
        if swappiness is not None and swappiness not in UNLIMITED:  # -1 is unset here
            if not 0 <= swappiness <= 100:
                raise CgroupError(f"set linux.resources.memory.swappiness to {swappiness}: it goes from 0 to 100")
            memory.set("memory.swappiness", swappiness, "memory.swappiness")
        (kernel,) = given(resources, "memory", "kernel")
        if kernel and kernel not in UNLIMITED:  # kernels take the number since 5.16, and don't keep to it
            raise CgroupError("set linux.resources.memory.kernel: Linux has no such limit any more")
        (kernel_tcp,) = given(resources, "memory", "kernelTCP")
        if kernel_tcp:
            memory.set("memory.kernelTCP", kernel_tcp, "memory.kmem.tcp.limit_in_bytes")

    def _current_limit(self) -> int:
        return int(files.read_or(f"{self.paths.get('memory')}/memory.limit_in_bytes", "0"))

    def _set_cpu(self, resources: Resources) -> None:
        cpu = self._controller("cpu")
        shares, quota, period = given(resources, "cpu", "shares", "quota", "period")
        rt_period, rt_runtime = given(resources, "cpu", "realtimePeriod", "realtimeRuntime")
        group = resources.get("cpu") or {}
        burst, idle = group.get("burst"), group.get("idle")
        if rt_period:
            cpu.set("cpu.realtimePeriod", rt_period, "cpu.rt_period_us")
        if rt_runtime:
            if cpu.directory is not None:
                self._realtime_above(os.path.dirname(cpu.directory), rt_period, rt_runtime)
            cpu.set("cpu.realtimeRuntime", rt_runtime, "cpu.rt_runtime_us")
        if idle == 0 and cpu.has("cpu.idle"):
            cpu.set("cpu.idle", idle, "cpu.idle")  # first: an idle cgroup takes no shares
        if shares and shares not in _SHARES:
            raise CgroupError(f"set linux.resources.cpu.shares to {shares}: the kernel takes {_SHARES[0]} to {_SHARES[-1]}")
        if shares:
            cpu.set("cpu.shares", shares, "cpu.shares")
        # Each of burst, period and quota may only be valid beside the new value of another: again, after it.
        later = (_EINVAL,) if quota else ()
        burst_set = burst is None or cpu.set("cpu.burst", burst, "cpu.cfs_burst_us", ignore=later)
        period_set = not period or cpu.set("cpu.period", period, "cpu.cfs_period_us", ignore=later)
        if quota:
            cpu.set("cpu.quota", quota, "cpu.cfs_quota_us")
        if not period_set:
            cpu.set("cpu.period", period, "cpu.cfs_period_us")
        if not burst_set:
            cpu.set("cpu.burst", burst, "cpu.cfs_burst_us")
        if idle:
            cpu.set("cpu.idle", idle, "cpu.idle")

    def _realtime_above(self, path: str, period: int | None, runtime: int) -> None:
        """A cgroup without realtime has none for its children: one above that nobody has set up gets as much as the container.

        Documentation/scheduler/sched-rt-group.rst
        """
        if files.read_or(f"{path}/cpu.rt_runtime_us", "").strip() != "0":
            return  # it has some, or is above the mount
        self._realtime_above(os.path.dirname(path), period, runtime)
        parent = Controller("cpu", path, self._before)
        if period:
            parent.set("cpu.realtimePeriod", period, "cpu.rt_period_us")
        parent.set("cpu.realtimeRuntime", runtime, "cpu.rt_runtime_us")

    def _set_network(self, resources: Resources) -> None:
        network = resources.get("network") or {}
        if network.get("classID"):
            self._controller("net_cls").set("network.classID", network["classID"], "net_cls.classid")
        for index, interface in enumerate(network.get("priorities") or ()):
            value = f"{interface['name']} {interface['priority']}"
            self._controller("net_prio").set(f"network.priorities[{index}]", value, "net_prio.ifpriomap")

    # --- processes, freezer, usage

    def _processes_path(self) -> str:
        return next((self.paths[name] for name in _ALWAYS if name in self.paths), next(iter(self.paths.values()), ""))

    def _freezer(self) -> str:
        path = self.paths.get("freezer")
        if path is None:
            raise CgroupError("freeze or thaw the cgroup: there is no freezer controller")
        return path

    def thaw(self) -> None:
        self._toggle("freezer.state", "THAWED")

    def frozen(self) -> bool:
        path = self.paths.get("freezer")
        return path is not None and files.read_or(f"{path}/freezer.state", "").strip() in ("FROZEN", "FREEZING")

    def _request_freeze(self) -> None:
        self._toggle("freezer.state", "FROZEN")

    def _has_stopped(self) -> bool:
        if files.read_or(f"{self._freezer()}/freezer.state", "FROZEN").strip() == "FROZEN":
            return True
        # A process that was forked or moved here meanwhile may keep it FREEZING for ever: asking again reaches it too.
        self._request_freeze()
        return False

    def oom_kills(self) -> int:
        directories = files.tree(self.paths["memory"]) if "memory" in self.paths else ()  # each counts its own alone
        return sum(files.counter(files.read_or(f"{path}/memory.oom_control", ""), "oom_kill") for path in directories)

    def usage(self) -> Usage:
        nanoseconds = files.read_or(f"{self.paths.get('cpuacct', '')}/cpuacct.usage", "")
        peak = files.read_or(f"{self.paths.get('memory', '')}/memory.max_usage_in_bytes", "")
        return Usage(int(nanoseconds) / 1e9 if nanoseconds else None, int(peak) if peak else None)
