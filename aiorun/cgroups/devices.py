"""Which devices a container may use: rules of linux.resources.devices and the defaults, reduced to a plain list.

v1 writes the list into devices.deny and devices.allow; v2 makes a BPF program of it (`device_program`). Both
follow the kernel's v1 rules: a rule that names type "a" says what holds by default and forgets all before it, any
other is an exception, and taking back a part of a wildcard's exception isn't possible.
"""

from __future__ import annotations

from aiorun.errors import CgroupError
from aiorun.wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

ANY = -1  # any major, any minor

# What runc allows every container after all rules of its own: making any node, and using these.
_DEFAULTS = (
    ("", "c", ANY, ANY, "m"),
    ("", "b", ANY, ANY, "m"),
    ("/dev/null", "c", 1, 3, "rwm"),
    ("/dev/random", "c", 1, 8, "rwm"),
    ("/dev/full", "c", 1, 7, "rwm"),
    ("/dev/tty", "c", 5, 0, "rwm"),
    ("/dev/zero", "c", 1, 5, "rwm"),
    ("/dev/urandom", "c", 1, 9, "rwm"),
    ("", "c", 136, ANY, "rwm"),  # /dev/pts
    ("", "c", 5, 2, "rwm"),  # /dev/ptmx
    ("", "c", 10, 200, "rwm"),  # /dev/net/tun
)


class DeviceRule(Record):
    """One rule: allow or deny `access` (of "rwm") to `kind` (a, b, c) `major`:`minor`. `path` is where config.json has it."""

    allow: bool
    kind: str
    major: int = ANY
    minor: int = ANY
    access: str = "rwm"
    path: str = ""

    def __str__(self) -> str:
        major, minor = ("*" if number == ANY else str(number) for number in (self.major, self.minor))
        return f"{self.kind} {major}:{minor} {self.access}"


class DeviceList(Record):
    """What holds in the end: `allow` is the default, `exceptions` (sorted, no two for one device) say otherwise."""

    allow: bool
    exceptions: tuple[DeviceRule, ...]


def device_rules(resources: Mapping[str, Any], devices: Iterable[Mapping[str, Any]] | None = None) -> list[DeviceRule]:
    """The rules of linux.resources.devices, in order, and after them runc's default ones.

    A default device that linux.devices has too, by its path, gets no rule here, as in runc. Raises CgroupError
    for a rule that no cgroup can have.
    """
    rules = [_rule(rule, f"linux.resources.devices[{index}]") for index, rule in enumerate(resources.get("devices") or ())]
    own = {device.get("path") for device in devices or ()}
    for path, kind, major, minor, access in _DEFAULTS:
        if not path or path not in own:
            rules.append(DeviceRule(True, kind, major, minor, access))
    return rules


def _rule(rule: Mapping[str, Any], path: str) -> DeviceRule:
    kind, access = rule.get("type") or "a", rule.get("access") or ""
    if kind not in ("a", "b", "c"):
        raise CgroupError(f'{path}.type: a device rule is for "a", "b" or "c", not "{kind}"')
    if not access or set(access) - set("rwm"):
        raise CgroupError(f'{path}.access: "{access}" is not made of r, w and m')
    numbers = []
    for name in ("major", "minor"):
        number = rule.get(name)
        numbers.append(ANY if number is None else int(number))
        if not ANY <= numbers[-1] < 2**31:
            raise CgroupError(f"{path}.{name}: {number} is not a device number")
    ordered = "".join(letter for letter in "rwm" if letter in access)
    return DeviceRule(bool(rule.get("allow")), kind, numbers[0], numbers[1], ordered, path)


def device_list(rules: Iterable[DeviceRule]) -> DeviceList:
    """What these rules come to, applied in order to a cgroup that allows nothing.

    Raises CgroupError for a rule that takes back a part of what a wildcard gave: v1 would ignore it in silence.
    """
    allow = False
    access: dict[tuple[int, int, str], set[str]] = {}  # exceptions to `allow`
    for rule in rules:
        key = (rule.major, rule.minor, rule.kind)
        if rule.kind == "a":
            allow = rule.allow
            access.clear()
        elif rule.allow != allow:
            access.setdefault(key, set()).update(rule.access)
        else:
            _refuse_hole(rule, access)
            left = access.get(key, set()) - set(rule.access)
            access.pop(key, None)
            if left:
                access[key] = left
    exceptions = [
        DeviceRule(not allow, kind, major, minor, "".join(letter for letter in "rwm" if letter in access[major, minor, kind]))
        for major, minor, kind in sorted(access)
    ]
    return DeviceList(allow, tuple(exceptions))


def _refuse_hole(rule: DeviceRule, access: Mapping[tuple[int, int, str], set[str]]) -> None:
    for major, minor in ((ANY, rule.minor), (rule.major, ANY), (ANY, ANY)):
        wider = access.get((major, minor, rule.kind), set())
        if (major, minor) != (rule.major, rule.minor) and wider & set(rule.access):
            verb = "allow" if rule.allow else "deny"
            raise CgroupError(f"{verb} {rule} ({rule.path}): an earlier rule for a wildcard covers it and can't have a hole")
