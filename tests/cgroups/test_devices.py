"""Device rules come to what the kernel's v1 devices cgroup makes of them, and the BPF program says the same. Pure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorun.cgroups.device_program import assemble
from aiorun.cgroups.devices import ANY, DeviceList, DeviceRule, device_list, device_rules
from aiorun.errors import CgroupError

KINDS = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}
DEFAULTS = "b *:* m|c *:* m|c 1:3 rwm|c 1:5 rwm|c 1:7 rwm|c 1:8 rwm|c 1:9 rwm|c 5:0 rwm|c 5:2 rwm|c 10:200 rwm|c 136:* rwm"


def run(program: bytes, kind: str, major: int, minor: int, access: int) -> bool:
    """Interpret a program: what the kernel would answer. Any instruction that the assembler has no business with is an error."""
    context = {0: KINDS[kind] | access << 16, 4: major, 8: minor}
    registers: dict[int, int] = {}
    at = 0
    for _ in range(len(program)):
        opcode, operands = program[at * 8], program[at * 8 + 1]
        offset = int.from_bytes(program[at * 8 + 2 : at * 8 + 4], "little", signed=True)
        value = int.from_bytes(program[at * 8 + 4 : at * 8 + 8], "little", signed=True)
        target, source = operands & 15, operands >> 4
        at += 1
        match opcode:
            case 0x61:
                assert source == 1
                assert 1 not in registers, "r1 was overwritten before the context was read"
                registers[target] = context[offset]
            case 0x54:
                registers[target] &= value
            case 0x74:
                registers[target] >>= value
            case 0xB4:
                registers[target] = value
            case 0xBC:
                registers[target] = registers[source]
            case 0x55:
                at += offset if registers[target] != value else 0
            case 0x5D:
                at += offset if registers[target] != registers[source] else 0
            case 0x15:
                at += offset if registers[target] == value else 0
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"unknown opcode {opcode:#x}")
    raise AssertionError("the program doesn't end")


def kernel_says(devices: DeviceList, kind: str, major: int, minor: int, access: int) -> bool:
    """devcgroup_legacy_check_permission: an allowing exception covers all of it, a denying one touches any of it."""
    for rule in devices.exceptions:
        if rule.kind != kind or rule.major not in (ANY, major) or rule.minor not in (ANY, minor):
            continue
        has = sum(ACCESS[letter] for letter in rule.access)
        if (not access & ~has) if rule.allow else bool(access & has):
            return rule.allow
    return devices.allow


numbers = st.sampled_from([ANY, 0, 1, 2, 300])
accesses = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
rules = st.builds(DeviceRule, st.booleans(), st.sampled_from("bc"), numbers, numbers, accesses)


@given(st.booleans(), st.lists(rules, max_size=6))
def test_the_program_answers_as_v1_would_for_every_device_and_access(allow: bool, found: list[DeviceRule]) -> None:
    exceptions = tuple(DeviceRule(not allow, rule.kind, rule.major, rule.minor, rule.access) for rule in found)
    devices = DeviceList(allow, exceptions)
    program = assemble(devices)
    for kind in "bc":
        for major in (0, 1, 2, 300, 4095):
            for minor in (0, 1, 300, 1 << 19):
                for access in range(1, 8):
                    wanted = kernel_says(devices, kind, major, minor, access)
                    assert run(program, kind, major, minor, access) == wanted, (kind, major, minor, access)


def test_a_program_without_exceptions_says_the_default() -> None:
    assert run(assemble(DeviceList(True, ())), "c", 1, 3, 7)
    assert not run(assemble(DeviceList(False, ())), "c", 1, 3, 1)


def listed(*found: dict[str, Any], devices: list[dict[str, Any]] | None = None) -> tuple[bool, str]:
    made = device_list(device_rules({"devices": list(found)}, devices))
    return made.allow, "|".join(map(str, made.exceptions))


def test_the_default_document_allows_the_default_devices_alone() -> None:
    assert listed({"allow": False, "access": "rwm"}) == (False, DEFAULTS)
    assert listed() == (False, DEFAULTS)


def test_a_privileged_container_may_use_every_device() -> None:
    assert listed({"allow": True, "access": "rwm"}) == (True, "")


def test_access_to_one_device_adds_up_and_is_taken_back_in_order() -> None:
    fuse = {"type": "c", "major": 10, "minor": 229}
    read, write = {"allow": True, "access": "r", **fuse}, {"allow": True, "access": "mw", **fuse}
    assert "c 10:229 rwm" in listed(read, write)[1].split("|")
    assert "c 10:229 wm" in listed(read, write, {"allow": False, "access": "r", **fuse})[1].split("|")
    assert "10:229" not in listed(read, write, {"allow": False, "access": "rwm", **fuse})[1]


def test_a_deny_all_forgets_what_was_allowed_before() -> None:
    assert listed({"allow": True, "type": "b", "access": "r"}, {"allow": False, "access": "rwm"}) == (False, DEFAULTS)


def test_a_hole_in_a_wildcard_is_refused_and_not_ignored() -> None:
    hole = {"allow": False, "type": "c", "major": 1, "minor": 1, "access": "r"}
    with pytest.raises(CgroupError, match=r"deny c 1:1 r \(linux.resources.devices\[1\]\)"):
        listed({"allow": True, "type": "c", "access": "rw"}, hole)


def test_a_default_device_that_the_document_has_itself_gets_no_rule() -> None:
    null = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}
    assert "c 1:3" not in listed(devices=[null])[1]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"type": "p", "access": "r"}, r"linux.resources.devices\[0\].type"),
        ({"type": "c", "access": "x"}, r"linux.resources.devices\[0\].access"),
        ({"type": "c"}, r"linux.resources.devices\[0\].access"),
        ({"type": "c", "access": "r", "major": 1 << 31}, r"linux.resources.devices\[0\].major"),
        ({"type": "c", "access": "r", "minor": -2}, r"linux.resources.devices\[0\].minor"),
    ],
)
def test_a_rule_that_no_cgroup_can_have_names_its_place(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(CgroupError, match=message):
        listed(rule)
