"""What is said to systemd, without one: the bytes of D-Bus, the names of units, limits as properties, annotations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import low_level as jeepney

from aiorun.cgroups import systemd
from aiorun.cgroups.systemd import message as messages
from aiorun.cgroups.systemd import properties
from aiorun.cgroups.systemd.annotations import parse
from aiorun.cgroups.systemd.annotations import properties as annotated
from aiorun.cgroups.systemd.message import Message
from aiorun.errors import CgroupError, InvalidSpec

# --- bytes

TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)
SIMPLE = {
    "y": st.integers(0, 2**8 - 1),
    "b": st.booleans(),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": TEXT,
    "o": st.just("/org/freedesktop/systemd1"),
    "g": st.sampled_from(["", "s", "a(sv)"]),
}


def values(kind: str) -> st.SearchStrategy[Any]:
    """Values of one complete type."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    if kind == "v":
        return KINDS.filter(lambda inner: inner.count("v") == 0).flatmap(lambda inner: st.tuples(st.just(inner), values(inner)))
    if kind == "ay":
        return st.binary(max_size=9)
    if kind[0] == "a":
        return st.lists(values(kind[1:]), max_size=3)
    return st.tuples(*map(values, messages.types(kind[1:-1])))


KINDS = st.recursive(
    st.sampled_from([*SIMPLE, "v", "ay"]),
    lambda inner: st.one_of(
        inner.filter(lambda kind: kind != "y").map("a{}".format),
        st.lists(inner, min_size=1, max_size=3).map(lambda kinds: f"({''.join(kinds)})"),
    ),
    max_leaves=5,
)
BODIES = st.lists(KINDS, max_size=3).flatmap(
    lambda kinds: st.tuples(st.just("".join(kinds)), st.tuples(*map(values, kinds)) if kinds else st.just(()))
)


def plain(value: Any) -> Any:
    """Whether lists or tuples stand for structs makes no difference here."""
    return [plain(member) for member in value] if isinstance(value, list | tuple) else value


@given(BODIES)
def test_a_message_is_the_same_bytes_as_another_implementation_makes(made: tuple[str, tuple[Any, ...]]) -> None:
    signature, body = made
    ours = Message(
        kind=messages.METHOD_CALL,
        path="/org/x",
        interface="org.x",
        member="Do",
        destination="org.y",
        signature=signature,
        body=body,
    )
    fields = jeepney.HeaderFields
    header = jeepney.Header(
        jeepney.Endianness.little,
        jeepney.MessageType.method_call,
        0,
        1,
        0,
        7,
        {fields.path: "/org/x", fields.interface: "org.x", fields.member: "Do", fields.destination: "org.y"},
    )
    if signature:
        header.fields[fields.signature] = signature
    theirs = jeepney.Parser()
    theirs.add_data(messages.encode(ours, 7))
    parsed = theirs.get_next_message()
    assert parsed is not None
    assert (plain(parsed.body), parsed.header.fields) == (plain(body), header.fields)

    said = jeepney.Message(header, body).serialise()
    assert messages.length(said[: messages.HEADER]) == len(said)
    found = messages.decode(said)
    assert plain(found.body) == plain(body)
    assert (found.path, found.member, found.signature) == ("/org/x", "Do", signature)


@given(BODIES, st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_a_spoilt_message_is_a_value_error_or_another_message(made: tuple[str, tuple[Any, ...]], at: int, rubbish: bytes) -> None:
    whole = messages.encode(Message(kind=messages.SIGNAL, path="/x", member="M", signature=made[0], body=made[1]), 1)
    for spoilt in (whole[:at], whole[:at] + rubbish + whole[at + len(rubbish) :]):
        try:
            messages.decode(spoilt)
        except ValueError:
            pass


@pytest.mark.parametrize("signature", ["(", "a", "z", "(s", "{s", "a" * 70 + "s", "(" * 70 + "s" + ")" * 70])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(ValueError):
        messages.types(signature)


def test_a_message_that_claims_to_be_huge_is_refused() -> None:
    start = bytearray(messages.encode(Message(kind=messages.SIGNAL, path="/x", member="M"), 1)[: messages.HEADER])
    start[4:8] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(ValueError, match="bytes"):
        messages.length(bytes(start))


# --- names


@pytest.mark.parametrize(
    ("path", "user", "expected"),
    [
        (None, False, ("aiorun-c1.scope", "system.slice")),
        (None, True, ("aiorun-c1.scope", "user.slice")),
        ("machine.slice:libpod:0af", False, ("libpod-0af.scope", "machine.slice")),
        (":docker:0af", False, ("docker-0af.scope", "system.slice")),
        ("a-b.slice::x", False, ("-x.scope", "a-b.slice")),
    ],
)
def test_the_path_names_slice_and_scope(path: str | None, user: bool, expected: tuple[str, str]) -> None:
    unit = systemd.parse(path, "c1", user=user)
    assert (unit.name, unit.slice) == expected


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/b", 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/a/b" instead'),
        ("a:b:c:d", 'expected cgroupsPath to be of format "slice:prefix:name"'),
        ("a:b:c", "invalid slice name: a"),
        ("a/b.slice:b:c", "invalid slice name: a/b.slice"),
        ("a--b.slice:b:c", "invalid slice name: a--b.slice"),
        ("-a.slice:b:c", "invalid slice name: -a.slice"),
        (".slice:b:c", "invalid slice name: .slice"),
        ("system.slice:b:../../x", '"b-../../x.scope" can\'t be the name of a systemd unit'),
        ("system.slice:b:x.slice", "a container is a scope, and can't be the slice"),
        (f"system.slice:b:{'x' * 260}", "can't be the name of a systemd unit"),
    ],
)
def test_what_is_no_path_is_told_in_runcs_words(path: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=r"linux\.cgroupsPath") as raised:
        systemd.parse(path, "c1", user=False)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("slice", "path"),
    [("a.slice", "/a.slice"), ("test-a-b.slice", "/test.slice/test-a.slice/test-a-b.slice"), ("-.slice", "")],
)
def test_a_slice_lies_in_the_slices_that_its_name_begins_with(slice: str, path: str) -> None:
    assert systemd.expand(slice) == path


# --- limits

NEW, INFINITY = 252, 2**64 - 1


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {}),
        ({"memory": {"limit": 1 << 20}}, {"MemoryMax": 1 << 20}),
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        ({"memory": {"limit": 100, "swap": 300, "reservation": 50}}, {"MemoryMax": 100, "MemorySwapMax": 200, "MemoryLow": 50}),
        ({"memory": {"limit": 0}, "cpu": {"shares": 0, "quota": 0}}, {}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"quota": 50000}}, {"CPUQuotaPerSecUSec": 500000}),
        ({"cpu": {"quota": 30001, "period": 70000}}, {"CPUQuotaPerSecUSec": 430000, "CPUQuotaPeriodUSec": 70000}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": INFINITY}),
        ({"cpu": {"period": 50000}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 50000}),
        ({"cpu": {"cpus": "0-2, 9", "mems": "0"}}, {"AllowedCPUs": b"\x07\x02", "AllowedMemoryNodes": b"\x01"}),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
        ({"pids": {"limit": 0}}, {"TasksMax": 1}),
        ({"blockIO": {"weight": 1000}}, {"IOWeight": 10000}),
        (
            {"unified": {"memory.max": "max", "memory.high": " 5 ", "pids.max": "3"}},
            {"MemoryMax": INFINITY, "MemoryHigh": 5, "TasksMax": 3},
        ),
        ({"unified": {"cpu.max": "20000"}}, {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 200000}),
        ({"unified": {"cpu.max": "max 50000"}}, {"CPUQuotaPeriodUSec": 50000, "CPUQuotaPerSecUSec": INFINITY}),
        ({"unified": {"cpuset.cpus": "8"}}, {"AllowedCPUs": b"\x00\x01"}),
        ({"unified": {"cpu.weight": "7", "cpu.idle": "1"}}, {"CPUWeight": 0}),
        ({"unified": {"hugetlb.2MB.max": "1", "io.max": "8:0 rbps=1"}}, {}),
        ({"memory": {"limit": 5}, "unified": {"memory.max": "6"}}, {"MemoryMax": 6}),
    ],
)
def test_limits_are_properties_on_v2(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {name: value for name, (_, value) in properties.v2(resources, NEW).items()} == expected


def test_limits_are_properties_on_v1() -> None:
    resources = {"memory": {"limit": 5}, "cpu": {"shares": 700, "quota": 1000}, "pids": {"limit": 3}, "blockIO": {"weight": 300}}
    assert {name: value for name, (_, value) in properties.v1(resources, NEW).items()} == {
        "MemoryLimit": 5,
        "CPUShares": 700,
        "CPUQuotaPerSecUSec": 10000,
        "TasksMax": 3,
        "BlockIOWeight": 300,
    }


def test_an_old_systemd_is_told_nothing_that_it_refuses() -> None:
    resources = {
        "cpu": {"quota": 1000, "period": 10000, "cpus": "0", "idle": 1},
        "unified": {"cpuset.mems": "0", "memory.oom.group": "1"},
    }
    assert set(properties.v2(resources, 241)) == {"CPUQuotaPerSecUSec"}
    assert properties.oom_policy(resources, 252) == {}
    assert properties.oom_policy(resources, 253) == {"OOMPolicy": ("s", "kill")}


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"cpu": {"cpus": "2-1"}}, 'linux.resources.cpu.cpus: "2-1" is not a list'),
        ({"cpu": {"mems": "x"}}, 'linux.resources.cpu.mems: "x" is not a list'),
        ({"cpu": {"cpus": "0-99999999999"}}, "is not a list"),
        ({"cpu": {"cpus": ","}}, "is an empty list"),
        ({"unified": {"memory.max": "lots"}}, 'linux.resources.unified["memory.max"]: the kernel takes no "lots" there'),
        ({"unified": {"cpu.max": ""}}, 'linux.resources.unified["cpu.max"]: the kernel takes no "" there'),
        ({"unified": {"cpu.max": "1 2 3"}}, 'the kernel takes no "1 2 3" there'),
    ],
)
def test_a_limit_that_is_none_is_named(resources: dict[str, Any], words: str) -> None:
    with pytest.raises(CgroupError) as raised:
        properties.v2(resources, NEW)
    assert words in str(raised.value)


DENY = {"allow": False, "access": "rwm"}


def test_device_rules_are_a_strict_list() -> None:
    rules = [
        DENY,
        {"allow": True, "type": "b", "major": 8, "access": "r"},
        {"allow": True, "type": "c", "minor": 3, "access": "w"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
    ]
    found = properties.devices({"devices": rules}, None)
    assert found["DevicePolicy"] == ("s", "strict")
    allowed = found["DeviceAllow"][1]
    assert ["block-8", "r"] in allowed
    assert ["/dev/char/10:229", "rw"] in allowed
    assert ["char-*", "m"] in allowed
    assert ["block-*", "m"] in allowed
    assert ["char-136", "rwm"] in allowed
    assert ["/dev/char/1:3", "rwm"] in allowed
    assert not any("*:3" in path or access == "w" for path, access in allowed), "systemd can't say that"


@pytest.mark.parametrize("more", [[], [{"allow": False, "type": "c", "major": 1, "minor": 11, "access": "r"}]])
def test_where_nearly_all_devices_are_allowed_systemd_forbids_none(more: list[Any]) -> None:
    found = properties.devices({"devices": [{"allow": True, "access": "rwm"}, *more]}, None)
    assert found == {"DevicePolicy": ("s", "auto"), "DeviceAllow": ("a(ss)", [])}


# --- annotations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", ("b", True)),
        ("5", ("i", 5)),
        ("-0x10", ("i", -16)),
        ("1.5", ("d", 1.5)),
        ("uint64 123456789", ("t", 123456789)),
        ("@t 7", ("t", 7)),
        ("double 3", ("d", 3.0)),
        ("'inactive-or-failed'", ("s", "inactive-or-failed")),
        ('"it\\"s\\u0021\\n"', ("s", 'it"s!\n')),
        ("objectpath '/a'", ("o", "/a")),
        ("['a.target', 'b.target']", ("as", ["a.target", "b.target"])),
        ("[byte 1, 2]", ("ay", [1, 2])),
        ("@as []", ("as", [])),
        ("@a(ss) [('/dev/null', 'rw')]", ("a(ss)", [["/dev/null", "rw"]])),
        ("('a', uint32 1)", ("(su)", ["a", 1])),
        (" [ true , false ] ", ("ab", [True, False])),
        ("<@y 3>", ("v", ("y", 3))),
    ],
)
def test_an_annotations_value_is_gvariant_text(text: str, expected: tuple[str, Any]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "frob",
        "'a",
        "[1, 'a']",
        "[]",
        "1 2",
        "@t 'x'",
        "@t -1",
        "uint16 70000",
        "@z 1",
        "@ss 1",
        "(1, 2",
        "[" * 40 + "]" * 40,
        "@t 1.5",
        "'\\u12",
    ],
)
def test_what_is_no_gvariant_text_is_told(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r'annotations\["org.systemd.property.Frob"\]: read '):
        annotated({"org.systemd.property.Frob": text})


@given(TEXT)
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    try:
        annotated({"org.systemd.property.Frob": text})
    except InvalidSpec:
        pass


def test_seconds_become_microseconds_as_systemd_wants_them() -> None:
    found = annotated(
        {
            "org.systemd.property.TimeoutStopSec": "uint64 5",
            "org.systemd.property.RestartSec": "0.25",
            "org.systemd.property.TimeoutStopUSec": "uint64 1",
            "io.podman.x": "y",
        }
    )
    assert found == {"TimeoutStopUSec": ("t", 1), "RestartUSec": ("t", 250000)}


@pytest.mark.parametrize("name", ["", "ab", "a.b", "Foo1", "Fo o"])
def test_a_property_has_a_name_of_letters(name: str) -> None:
    with pytest.raises(InvalidSpec, match="is not the name of a property"):
        annotated({f"org.systemd.property.{name}": "true"})
