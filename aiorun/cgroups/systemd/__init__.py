"""The systemd driver: systemd makes a container's cgroup, as that of a scope, and keeps its limits.

Nobody else may make cgroups below systemd's slices, or it would count them wrong, or remove them. So with `--systemd-cgroup`
the container is a unit: it shows in `systemctl status`, and `systemctl stop` ends it. docs.kernel.org, cgroup-v2, "Delegation";
systemd.io/CGROUP_DELEGATION.
"""

from __future__ import annotations

from aiorun.cgroups.systemd.bus import Refused, connect
from aiorun.errors import CgroupError, InvalidSpec
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cgroups.systemd.bus import Bus
    from aiorun.cgroups.systemd.properties import Properties
    from aiorun.waiter import Waiter

_NO_SUCH_UNIT, _UNIT_EXISTS = "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.UnitExists"
_LONGEST = 255  # of a unit's name
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
_PREFIX = "aiorun"  # of the scopes whose config.json has no cgroupsPath
_AT = "linux.cgroupsPath"
_EMPTY: list[object] = []


class NotStarted(CgroupError):
    """systemd refused to start the unit: if there is one of this name, it's somebody else's."""


class Unit(Record):
    """The scope of one container: of the host's systemd, or of the `user`'s."""

    name: str
    slice: str
    user: bool = False


def parse(cgroups_path: str | None, id: str, *, user: bool) -> Unit:
    """The unit that `slice:prefix:name`, or nothing at all, means for the container `id`. Raises InvalidSpec."""
    default = "user.slice" if user else "system.slice"
    if not cgroups_path:
        slice, name = default, f"{_PREFIX}-{id}.scope"
    else:
        parts = cgroups_path.split(":")
        if len(parts) != 3:
            wrong = f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{cgroups_path}" instead'
            raise InvalidSpec(_AT, wrong)
        slice, name = parts[0] or default, f"{parts[1]}-{parts[2]}.scope"
        if parts[2].endswith(".slice"):
            raise InvalidSpec(_AT, f'a container is a scope, and can\'t be the slice "{parts[2]}"')
    if len(name) > _LONGEST or not _CHARACTERS.issuperset(name):
        raise InvalidSpec(_AT, f'"{name}" can\'t be the name of a systemd unit')
    expand(slice)
    return Unit(name, slice, user)


def expand(slice: str) -> str:
    """The path of a slice's cgroup: "a-b.slice" is "/a.slice/a-b.slice", "-.slice" the root. systemd.slice(5)

    Raises InvalidSpec.
    """
    stem = slice.removesuffix(".slice")
    if stem == "-" and slice != stem:
        return ""
    parts = stem.split("-")
    if slice == stem or "" in parts or not _CHARACTERS.issuperset(slice) or len(slice) > _LONGEST:
        raise InvalidSpec(_AT, f"invalid slice name: {slice}")
    return "".join(f"/{'-'.join(parts[: number + 1])}.slice" for number in range(len(parts)))


async def manager_cgroup(waiter: Waiter) -> str:
    """The cgroup of the user's systemd, below which his units are. Raises CgroupError."""
    bus = await connect(waiter, user=True)
    try:
        return str(await bus.manager_property("ControlGroup")).rstrip("/")
    finally:
        bus.close()


async def version(bus: Bus) -> int:
    """The systemd's version: 252 for "252.39-1~deb12u1". 0 where it can't be told."""
    text = str(await bus.manager_property("Version")).lstrip("v")
    digits = text[: next((at for at, character in enumerate(text) if not character.isdigit()), len(text))]
    return int(digits or 0)


async def start(bus: Bus, unit: Unit, pid: int, properties: Properties) -> None:
    """Make the scope around the process `pid`, with its slice if that isn't there; returns once the process is in it.

    Raises NotStarted, CgroupError.
    """
    made = {
        "Description": ("s", f"aiorun container {unit.name.removesuffix('.scope')}"),
        "Delegate": ("b", True),
        "DefaultDependencies": ("b", False),
        **properties,
        "Slice": ("s", unit.slice),
        "PIDs": ("au", [pid]),
    }
    arguments = (unit.name, "replace", [list(pair) for pair in made.items()], _EMPTY)
    try:
        result = await _start(bus, unit, arguments)
    except Refused as refused:
        raise NotStarted(f'start the systemd unit "{unit.name}": {refused}') from None
    if result != "done":
        await reset_failed(bus, unit)
        raise CgroupError(f'start the systemd unit "{unit.name}": {result}')


async def _start(bus: Bus, unit: Unit, arguments: tuple[object, ...]) -> str:
    try:
        return await bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", *arguments)
    except Refused as refused:
        if refused.name != _UNIT_EXISTS:
            raise
    await reset_failed(bus, unit)  # what is left of one that failed, which systemd keeps to show it
    return await bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", *arguments)


async def set_properties(bus: Bus, unit: Unit, properties: Properties) -> None:
    """Change properties of a unit that runs. Raises CgroupError."""
    pairs = [list(pair) for pair in properties.items()]
    try:
        await bus.call("SetUnitProperties", "sba(sv)", unit.name, True, pairs)
    except Refused as refused:
        raise CgroupError(f'set properties of the systemd unit "{unit.name}": {refused}') from None


async def stop(bus: Bus, unit: Unit) -> None:
    """Stop the unit, and have it forgotten; returns once its cgroup is gone. Not there (any more) is fine. Raises CgroupError."""
    try:
        await bus.job("StopUnit", "ss", unit.name, "replace")
    except Refused as refused:
        if refused.name != _NO_SUCH_UNIT:
            raise CgroupError(f'stop the systemd unit "{unit.name}": {refused}') from None
    await reset_failed(bus, unit)


async def reset_failed(bus: Bus, unit: Unit) -> None:
    """systemd keeps a unit that failed, as one whose process was killed for memory, until it's told to forget it."""
    try:
        await bus.call("ResetFailedUnit", "s", unit.name)
    except Refused:
        pass  # it isn't there any more
