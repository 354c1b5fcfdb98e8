"""linux.resources as properties of a systemd unit. systemd.resource-control(5).

systemd writes its properties into the same files that `aiorun.cgroups.v1` and `v2` write, and writes them again when it
likes (`systemctl daemon-reload`): so whatever it knows it has to be told, or it would take the limits away. What it doesn't
know is left to those files.
"""

from __future__ import annotations

from aiorun.cgroups.block_io import io_weight
from aiorun.cgroups.devices import ANY, device_list, device_rules
from aiorun.cgroups.limits import RESOURCES, given
from aiorun.cgroups.v2 import swap_max, weight
from aiorun.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from aiorun.cgroups.limits import Resources

    Value = tuple[str, Any]  # a D-Bus variant: signature and value
    Properties = dict[str, Value]

INFINITY = 2**64 - 1
_PERIOD = 100_000  # microseconds, the kernel's default
_SECOND = 1_000_000
_CPU_STEP = 10_000  # systemd keeps a quota as whole percents of a CPU
# The first systemd that knows a property. Older ones refuse the whole call.
_QUOTA_PERIOD, _CPUSET, _CPU_IDLE, _OOM_POLICY = 242, 244, 252, 253


def v2(resources: Resources, version: int) -> Properties:
    """The properties for cgroup v2 that a systemd of this version knows. Raises CgroupError, as the files would."""
    found: Properties = {}
    limit, swap, reservation = given(resources, "memory", "limit", "swap", "reservation")
    if limit:
        found["MemoryMax"] = ("t", limit % 2**64)
    if reservation:
        found["MemoryLow"] = ("t", reservation % 2**64)
    swap_only = swap_max(limit, swap)
    if swap_only is not None:
        found["MemorySwapMax"] = ("t", _number(swap_only))
    shares, quota, period, idle = given(resources, "cpu", "shares", "quota", "period", "idle")
    if shares:
        found["CPUWeight"] = ("t", weight(shares))
    if idle == 1 and version >= _CPU_IDLE:
        found["CPUWeight"] = ("t", 0)  # "idle" in a unit's file
    found |= _cpu_quota(quota, period, version)
    found |= _tasks(resources) | _cpuset(resources, version)
    (block_weight,) = given(resources, "blockIO", "weight")
    if block_weight:
        found["IOWeight"] = ("t", io_weight(block_weight))
    return found | _unified(resources.get("unified") or {}, version)


def v1(resources: Resources, version: int) -> Properties:
    """The same for cgroup v1 and hybrid."""
    found: Properties = {}
    (limit,) = given(resources, "memory", "limit")
    if limit:
        found["MemoryLimit"] = ("t", limit % 2**64)
    shares, quota, period = given(resources, "cpu", "shares", "quota", "period")
    if shares:
        found["CPUShares"] = ("t", shares)
    found |= _cpu_quota(quota, period, version)
    (block_weight,) = given(resources, "blockIO", "weight")
    if block_weight:
        found["BlockIOWeight"] = ("t", block_weight)
    return found | _tasks(resources) | _cpuset(resources, version)


def _number(text: str) -> int:
    return INFINITY if text == "max" else int(text)


def _tasks(resources: Resources) -> Properties:
    limit = (resources.get("pids") or {}).get("limit")
    if limit is None:
        return {}
    return {"TasksMax": ("t", INFINITY if limit < 0 else limit or 1)}  # zero: as aiorun.cgroups.limits.set_pids


def _cpu_quota(quota: int | None, period: int | None, version: int) -> Properties:
    """systemd has no quota in a period, but CPU time in a second of real time, rounded up so that nobody gets less."""
    found: Properties = {}
    if period and version >= _QUOTA_PERIOD:
        found["CPUQuotaPeriodUSec"] = ("t", period)
    if quota or period:
        per_second = INFINITY
        if quota and quota > 0:
            per_second = -(-(quota * _SECOND // (period or _PERIOD)) // _CPU_STEP) * _CPU_STEP
        found["CPUQuotaPerSecUSec"] = ("t", per_second)
    return found


def _cpuset(resources: Resources, version: int) -> Properties:
    found: Properties = {}
    cpus, mems = given(resources, "cpu", "cpus", "mems")
    for name, text, at in (("AllowedCPUs", cpus, "cpu.cpus"), ("AllowedMemoryNodes", mems, "cpu.mems")):
        if text and version >= _CPUSET:
            found[name] = ("ay", bits(text, f"{RESOURCES}.{at}"))
    return found


def bits(text: str, at: str) -> bytes:
    """A list such as "0-2,7" as systemd has it: one bit each, the lowest in the first byte. Raises CgroupError. cpuset(7)."""
    mask = 0
    for part in filter(None, map(str.strip, text.split(","))):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            low, high = 0, -1
        if not 0 <= low <= high < 2**16:
            raise CgroupError(f'{at}: "{text}" is not a list such as 0-2,7')
        mask |= (1 << high + 1) - (1 << low)
    if not mask:
        raise CgroupError(f'{at}: "{text}" is an empty list')
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


# --- linux.resources.unified -----------------------------------------------------------------------------------

_UNIFIED_NUMBERS = {
    "cpu.weight": "CPUWeight",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.max": "MemoryMax",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
_UNIFIED_LISTS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def _unified(files: Mapping[str, str], version: int) -> Properties:
    """What systemd knows of the files of v2. It writes the others off, and so do we: they are written in any case."""
    found: Properties = {}
    for file, text in files.items():
        at, value = f'{RESOURCES}.unified["{file}"]', text.strip()
        if file in _UNIFIED_NUMBERS:
            found[_UNIFIED_NUMBERS[file]] = ("t", _read(_number, value, at))
        elif file in _UNIFIED_LISTS and version >= _CPUSET:
            found[_UNIFIED_LISTS[file]] = ("ay", bits(value, at))
        elif file == "cpu.max":
            found |= _read(lambda value: _cpu_max(value, version), value, at)
    if (files.get("cpu.idle") or "").strip() == "1" and version >= _CPU_IDLE:
        found["CPUWeight"] = ("t", 0)
    return found


def _cpu_max(value: str, version: int) -> Properties:
    quota, period = f"{value} {_PERIOD}".split()[:2] if " " not in value else value.split()
    return _cpu_quota(-1 if quota == "max" else int(quota), int(period), version)


def _read(parse: Callable[[str], Any], value: str, at: str) -> Any:
    try:
        return parse(value)
    except (ValueError, TypeError):
        raise CgroupError(f'{at}: the kernel takes no "{value}" there') from None


def oom_policy(resources: Resources, version: int) -> Properties:
    """memory.oom.group, which is decided when the unit starts."""
    policy = {"0": "continue", "1": "kill"}.get(((resources.get("unified") or {}).get("memory.oom.group") or "").strip())
    return {"OOMPolicy": ("s", policy)} if policy and version >= _OOM_POLICY else {}


# --- devices ---------------------------------------------------------------------------------------------------


def devices(resources: Resources, own: Iterable[Mapping[str, Any]] | None) -> Properties:
    """The device rules; `own` is linux.devices. Where all devices but some are allowed systemd, which can't say that, allows all.

    Ours are in force, whatever systemd's are: but these come back at a time of its own, and must not forbid then what ours allow.
    """
    wanted = device_list(device_rules(resources, own))
    if wanted.allow:
        return {"DevicePolicy": ("s", "auto"), "DeviceAllow": ("a(ss)", [])}
    allowed = []
    for rule in wanted.exceptions:
        name = {"b": "block", "c": "char"}[rule.kind]
        if rule.major == ANY and rule.minor == ANY:
            path = f"{name}-*"
        elif rule.minor == ANY:
            path = f"{name}-{rule.major}"  # since systemd 240
        elif rule.major == ANY:
            continue  # "*:3" is nothing that systemd can say
        else:
            path = f"/dev/{name}/{rule.major}:{rule.minor}"
        allowed.append([path, rule.access])
    return {"DevicePolicy": ("s", "strict"), "DeviceAllow": ("a(ss)", allowed)}
