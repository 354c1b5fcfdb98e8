"""What a container's cgroup used so far, as the `data` of a "stats" event: runc's names and units, on v1 and on v2.

Members whose number is zero are left out where runc leaves them out (Go's omitempty), so that the keys are runc's.
CPU time is in nanoseconds, memory in bytes.
"""

from __future__ import annotations

import os

from aiorun.cgroups import files
from aiorun.cgroups.layout import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Json = dict[str, Any]

_TICK = 10**9 // os.sysconf("SC_CLK_TCK")  # nanoseconds; cpuacct.stat counts in ticks
_MOST = 2**64 - 1
_NOWHERE = "/dev/null"  # no directory: whatever is read below it is missing
_CPUSET_FLAGS = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
    "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip
# The first of these sets that the kernel fills, as in runc: BFQ with debugging, BFQ, CFQ, what is throttled.
_BLKIO = (
    ("bfq.", "sectors io_service_time io_wait_time io_merged io_queued time io_serviced io_service_bytes", "_recursive"),
    ("bfq.", "io_serviced io_service_bytes", "_recursive"),
    ("", "sectors io_service_time io_wait_time io_merged io_queued time io_serviced io_service_bytes", "_recursive"),
    ("throttle.", "io_serviced io_service_bytes", "_recursive"),
    ("throttle.", "io_serviced io_service_bytes", ""),
)
_BLKIO_NAMES = {
    "io_service_bytes": "ioServiceBytesRecursive",
    "io_serviced": "ioServicedRecursive",
    "io_queued": "ioQueueRecursive",
    "io_service_time": "ioServiceTimeRecursive",
    "io_wait_time": "ioWaitTimeRecursive",
    "io_merged": "ioMergedRecursive",
    "time": "ioTimeRecursive",
    "sectors": "sectorsRecursive",
}


def stats(paths: Mapping[str, str]) -> Json:
    """The `data` of a "stats" event of the cgroup with these `paths`. A controller that isn't there has zeros."""
    return _v2(paths[UNIFIED]) if set(paths) == {UNIFIED} else _v1(paths)


def _v1(paths: Mapping[str, str]) -> Json:
    def at(name: str) -> str:
        return paths.get(name, _NOWHERE)

    return {
        "cpu": {"usage": _cpu_usage(at("cpuacct")), "throttling": _throttling(at("cpu"), "throttled_time", 1)},
        "cpuset": _cpuset(at("cpuset")),
        "memory": _memory(at("memory")),
        "pids": _pids(at("pids")),
        "blkio": _blkio(at("blkio")),
        "hugetlb": _hugetlb(at("hugetlb"), "limit_in_bytes"),
        **_elsewhere(),
    }


def _v2(path: str) -> Json:
    cpu = _counters(path, "cpu.stat")
    usage = {
        **_filled(total=cpu.get("usage_usec", 0) * 1000),
        "kernel": cpu.get("system_usec", 0) * 1000,
        "user": cpu.get("user_usec", 0) * 1000,
    }
    return {
        "cpu": {
            "usage": usage,
            "throttling": _throttling(path, "throttled_usec", 1000),
            **_filled(psi=_pressure(path, "cpu")),
        },
        "cpuset": dict.fromkeys(_CPUSET_FLAGS, 0),
        "memory": _memory_v2(path),
        "pids": _pids(path),
        "blkio": {**_io(path), **_filled(psi=_pressure(path, "io"))},
        "hugetlb": _hugetlb(path, "max"),
        **_elsewhere(),
    }


def _elsewhere() -> Json:
    """What runc has there too: nothing, without a resctrl group, and of interfaces only those that it made itself."""
    return {"intel_rdt": {}, "network_interfaces": None}


def _filled(**members: Any) -> Json:
    """The members that aren't zero or empty."""
    return {name: value for name, value in members.items() if value}


def _number(directory: str, file: str) -> int:
    """The one number in a file; 0 without the file, and the most there is for "max"."""
    text = files.read_or(f"{directory}/{file}", "0").strip()
    return _MOST if text == "max" else int(text or 0)


def _counters(directory: str, file: str) -> dict[str, int]:
    """The numbers of a file of "key number" lines, by their keys."""
    lines = (line.split() for line in files.read_or(f"{directory}/{file}", "").splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2}


def _throttling(directory: str, time: str, unit: int) -> Json:
    cpu = _counters(directory, "cpu.stat")
    throttled = cpu.get(time, 0) * unit
    return _filled(periods=cpu.get("nr_periods", 0), throttledPeriods=cpu.get("nr_throttled", 0), throttledTime=throttled)


def _pids(directory: str) -> Json:
    limit = _number(directory, "pids.max")
    return _filled(current=_number(directory, "pids.current"), limit=0 if limit == _MOST else limit)


def _hugetlb(directory: str, limit: str) -> Json:
    """By page size. What is reserved, where the kernel tells, as in runc since 1.1.10."""
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    sizes = [name.split(".")[1] for name in names if name.startswith("hugetlb.") and name.count(".") == 2]
    found = {}
    for size in dict.fromkeys(sizes):
        if f"hugetlb.{size}.{limit}" not in names:
            continue
        files_of = f"hugetlb.{size}.rsvd" if f"hugetlb.{size}.rsvd.{limit}" in names else f"hugetlb.{size}"
        if limit == "max":
            failed = _counters(directory, f"hugetlb.{size}.events").get("max", 0)
            found[size] = {**_filled(usage=_number(directory, f"{files_of}.current")), "failcnt": failed}
        else:
            usage, most = (_number(directory, f"{files_of}.{name}_in_bytes") for name in ("usage", "max_usage"))
            found[size] = {**_filled(usage=usage, max=most), "failcnt": _number(directory, f"{files_of}.failcnt")}
    return found


# --- v1


def _cpu_usage(directory: str) -> Json:
    percpu = [int(word) for word in files.read_or(f"{directory}/cpuacct.usage_percpu", "").split()]
    by_mode = [line.split() for line in files.read_or(f"{directory}/cpuacct.usage_all", "").splitlines()[1:]]
    ticks = _counters(directory, "cpuacct.stat")
    return {
        **_filled(
            total=_number(directory, "cpuacct.usage"),
            percpu=percpu,
            percpu_kernel=[int(system) for _, _, system in by_mode],
            percpu_user=[int(user) for _, user, _ in by_mode],
        ),
        "kernel": ticks.get("system", 0) * _TICK,
        "user": ticks.get("user", 0) * _TICK,
    }


def _cpuset(directory: str) -> Json:
    def listed(file: str) -> list[int]:
        return list(_members(files.read_or(f"{directory}/{file}", "").strip()))

    flags = {name: _number(directory, f"cpuset.{name}") for name in _CPUSET_FLAGS}
    return {
        **_filled(cpus=listed("cpuset.cpus")),
        "cpu_exclusive": flags.pop("cpu_exclusive"),
        **_filled(mems=listed("cpuset.mems")),
        **flags,
    }


def _members(text: str) -> Iterator[int]:
    """The numbers of a list such as 0-2,7. cpuset(7), "List format"."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _memory(directory: str) -> Json:
    raw = dict(sorted(_counters(directory, "memory.stat").items()))

    def entry(kind: str) -> Json:
        file = f"memory.{kind}"
        usage, most = (_number(directory, f"{file}{name}_in_bytes") for name in ("usage", "max_usage"))
        limit = _number(directory, f"{file}limit_in_bytes")
        return {"limit": limit, **_filled(usage=usage, max=most), "failcnt": _number(directory, f"{file}failcnt")}

    return {
        **_filled(cache=raw.get("cache")),
        "usage": entry(""),
        "swap": entry("memsw."),
        "kernel": entry("kmem."),
        "kernelTCP": entry("kmem.tcp."),
        **_filled(raw=raw),
    }


def _blkio(directory: str) -> Json:
    found: Json = {}
    for prefix, names, suffix in _BLKIO:
        for name in names.split():
            text = files.read_or(f"{directory}/blkio.{prefix}{name}{suffix}", "")
            entries = [_device_entry(line) for line in text.splitlines() if ":" in line]
            if not entries:
                break  # the kernel doesn't fill this set
            found[_BLKIO_NAMES[name]] = entries
        else:
            break
    return {name: found[name] for name in _BLKIO_NAMES.values() if name in found}


def _device_entry(line: str) -> Json:
    """From "8:0 Read 4096" or "8:0 4096"."""
    device, *operation, value = line.split()
    major, minor = device.split(":")
    return _filled(major=int(major), minor=int(minor), op="".join(operation), value=int(value))


# --- v2


def _memory_v2(path: str) -> Json:
    raw = dict(sorted(_counters(path, "memory.stat").items()))
    usage, limit, most = (_number(path, f"memory.{file}") for file in ("current", "max", "peak"))
    swap, swap_limit = _number(path, "memory.swap.current"), _number(path, "memory.swap.max")
    if os.path.exists(f"{path}/memory.swap.max"):  # memory and swap together, as v1 has it
        swap, swap_limit = swap + usage, min(swap_limit + limit, _MOST)
    nothing = {"limit": 0, "failcnt": 0}
    return {
        **_filled(cache=raw.get("file")),
        "usage": {"limit": limit, **_filled(usage=usage, max=most), "failcnt": 0},
        "swap": {"limit": swap_limit, **_filled(usage=swap), "failcnt": 0},
        "kernel": nothing,
        "kernelTCP": nothing,
        **_filled(raw=raw, psi=_pressure(path, "memory")),
    }


def _io(path: str) -> Json:
    """io.stat under v1's names."""
    served: list[Json] = []
    moved: list[Json] = []
    for line in files.read_or(f"{path}/io.stat", "").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        for key, _, value in (pair.partition("=") for pair in pairs):
            operation = {"r": "Read", "w": "Write"}.get(key[:1])
            if operation and key[1:] in ("bytes", "ios"):
                entry = _filled(major=int(major), minor=int(minor), op=operation, value=int(value))
                (moved if key[1:] == "bytes" else served).append(entry)
    return _filled(ioServiceBytesRecursive=moved, ioServicedRecursive=served)


def _pressure(path: str, controller: str) -> Json:
    """Pressure stall information, as runc has it since 1.2; empty where the kernel keeps none."""
    try:
        text = files.read_or(f"{path}/{controller}.pressure", "")
    except OSError:
        return {}  # EOPNOTSUPP: psi=0
    found: Json = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=") for pair in pairs)
        found[kind] = {name: float(values[name]) for name in ("avg10", "avg60", "avg300")} | {"total": int(values["total"])}
    return found
