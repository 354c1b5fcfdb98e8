"""Whatever a checked document holds, it comes to a plan that survives the wire, or to InvalidSpec."""

from __future__ import annotations

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from aiorun.errors import InvalidSpec
from aiorun.plan import Hierarchy, Plan, Request, compile_plan
from aiorun.plan.options import ATTRIBUTES, NO_EFFECT, PROPAGATION, SUPERBLOCK
from aiorun.spec import check
from aiorun.spec.shapes import NAMESPACE_TYPES, PROPAGATIONS
from aiorun.wire import json, ops
from aiorun.wire.plan import decode, encode
from tests.plan.plans import document
from tests.spec.documents import FULL, changed, places

REQUEST = Request(
    id="x",
    bundle="/bundle",
    hierarchies=(Hierarchy("cpu,cpuacct", "cpu,cpuacct", "/cg/cpu/x"), Hierarchy("systemd", "name=systemd", "/cg/systemd/x")),
    console=True,
    preserve=2,
)


# FULL asks for what isn't there yet, and its namespaces don't fit its names: made so that the whole of it compiles
COMPLETE = changed(
    changed(
        FULL, ("linux", "namespaces"), [{"type": kind} for kind in ("mount", "uts", "ipc", "pid", "network", "user", "time")]
    ),
    ("mounts", 7, "options"),
    ["rbind"],
)


def compile_or_refuse(made: Any, request: Request = REQUEST) -> Plan | None:
    try:
        spec = check(made)
    except InvalidSpec:
        return None
    if "process" not in spec or "args" not in spec["process"]:
        return None  # the caller has seen to it: require_process
    try:
        return compile_plan(spec, request)
    except InvalidSpec as fault:
        assert fault.path
        return None


def assert_whole(plan: Plan) -> None:
    """It has one beginning and one end, says what each step does, and is the same after the wire."""
    assert type(plan.operations[-1]) is ops.Execute
    assert sum(type(step) is ops.Execute for step in plan.operations) == 1
    for step in plan.operations:
        assert "\n" not in step.describe().replace(repr(step), "") or "\n" in repr(step.__dict__.values()).encode().decode(
            "unicode_escape"
        )
        assert step.describe()
    again = decode(json.loads(json.dumps(encode(plan))))
    assert again.operations == plan.operations
    assert (again.clone_flags, again.join_pid, again.preserve) == (plan.clone_flags, plan.join_pid, plan.preserve)


NAMES = st.sampled_from(
    ["/", "/proc", "/sys", "/dev", "/mnt", "mnt", "/a/../b", "/..", "/dev/x", "/sys/fs/cgroup", "/größe", "/ "]
)
OPTIONS = st.lists(
    st.sampled_from(
        [
            *(*ATTRIBUTES, *(f"r{name}" for name in ATTRIBUTES), *PROPAGATION, *SUPERBLOCK, *NO_EFFECT),
            *("bind", "rbind", "remount", "tmpcopyup", "size=1m", "mode=755", "x", "=", "a=", ""),
        ]
    ),
    max_size=5,
)
MOUNTS = st.lists(
    st.fixed_dictionaries(
        {"destination": NAMES},
        optional={
            "type": st.sampled_from(
                ["tmpfs", "proc", "sysfs", "cgroup", "cgroup2", "bind", "rbind", "none", "", "overlay", "devpts"]
            ),
            "source": st.sampled_from(["/src", "src", "tmpfs", "", "none"]),
            "options": OPTIONS,
        },
    ),
    max_size=4,
)
NAMESPACES = st.lists(
    st.builds(
        lambda kind, path: {"type": kind, **({} if path is None else {"path": path})},
        st.sampled_from(NAMESPACE_TYPES),
        st.sampled_from([None, "", "/proc/1/ns/x"]),
    ),
    unique_by=lambda entry: entry["type"],
)
SYSCTLS = st.dictionaries(
    st.sampled_from(
        [
            "net.ipv4.ip_forward",
            "net/a.b/c",
            "kernel.sem",
            "kernel.hostname",
            "kernel.domainname",
            "fs.mqueue.x",
            "net",
            ".",
            "net..x",
        ]
    ),
    st.sampled_from(["1", "", "a b"]),
)
LINUX = st.fixed_dictionaries(
    {"namespaces": NAMESPACES},
    optional={
        "sysctl": SYSCTLS,
        "rootfsPropagation": st.sampled_from(PROPAGATIONS),
        "maskedPaths": st.lists(NAMES.filter(lambda name: name.startswith("/"))),
        "readonlyPaths": st.lists(NAMES.filter(lambda name: name.startswith("/"))),
    },
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(mounts=MOUNTS, linux=LINUX, readonly=st.booleans(), names=st.sets(st.sampled_from(["hostname", "domainname"])))
def test_every_mixture_of_mounts_and_namespaces_compiles_or_is_refused(
    mounts: list[dict[str, Any]], linux: dict[str, Any], readonly: bool, names: set[str]
) -> None:
    made = document() | {"mounts": mounts, "linux": linux, "root": {"path": "rootfs", "readonly": readonly}}
    made.pop("hostname")
    made |= dict.fromkeys(names, "x")
    plan = compile_or_refuse(made)
    if plan is not None:
        assert_whole(plan)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(["/", "/x", "0", "a=b", "bind", "rprivate", "CAP_KILL", "RLIMIT_CPU"]),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


@hypothesis.settings(max_examples=300, deadline=None, suppress_health_check=[hypothesis.HealthCheck.filter_too_much])
@hypothesis.given(data=st.data())
def test_a_document_with_any_value_anywhere_compiles_or_is_refused(data: st.DataObject) -> None:
    made = COMPLETE
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(made))))
        made = changed(made, place, *data.draw(st.one_of(st.just(()), st.tuples(VALUES))))
    plan = compile_or_refuse(made)
    if plan is not None:
        assert_whole(plan)


@pytest.mark.parametrize("place", list(places(COMPLETE)), ids=lambda place: ".".join(map(str, place)))
def test_a_document_without_any_one_of_its_members_compiles_or_is_refused(place: tuple[str | int, ...]) -> None:
    plan = compile_or_refuse(changed(COMPLETE, place))
    if plan is not None:
        assert_whole(plan)


def test_the_document_that_has_everything_compiles() -> None:
    """So that the tests above don't all end at a refusal."""
    plan = compile_or_refuse(COMPLETE)
    assert plan is not None
    assert_whole(plan)
    assert {type(step) for step in plan.operations} >= {ops.Mount, ops.Bind, ops.RunHook, ops.WriteSysctl, ops.MakeDevice}
