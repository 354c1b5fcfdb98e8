"""update: the limits that are named are changed and recorded, all or none, as runc does it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiorun.cgroups import layout, locate
from aiorun.cgroups.layout import V2
from aiorun.errors import InvalidState
from aiorun.runtime.update import update
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from tests.cgroups.test_runc_parity import limits
from tests.conftest import Bundles, CommandLine, Config, need_root
from tests.runtime.life import await_death, refused
from tests.runtime.steps import steps_of
from tests.runtime.test_meanwhile import create, first, nothing_left, standing

Containers = Callable[..., str]
START: Config = {
    "memory": {"limit": 1 << 27, "swap": 1 << 28, "reservation": 1 << 26},
    "pids": {"limit": 100},
    "cpu": {"quota": 30000, "period": 60000, "cpus": "0-1"},
    "blockIO": {"weight": 300},
    "devices": [{"allow": False, "access": "rwm"}],
}
BY_FLAGS = {
    "nothing": "",
    "memory": "--memory 64M",
    "memory and swap": "--memory 300000k --memory-swap 0.5g",
    "less of both": "--memory 33554432 --memory-swap 64MiB",
    "swap alone, unlimited": "--memory-swap -1",
    "no limit of memory": "--memory -1",
    "reservation": "--memory-reservation 32m",
    "pids": "--pids-limit 17",
    "no limit of pids": "--pids-limit -1",
    "zeros": "--pids-limit 0 --blkio-weight 0 --memory 0 --cpu-quota 0 --cpu-period 0",
    "cpu": "--cpu-quota 20000 --cpu-period 40000 --cpuset-cpus 1 --cpuset-mems 0",
    "quota": "--cpu-quota 10000",
    "period": "--cpu-period 70000",
    "no quota": "--cpu-quota -1",
    "weight": "--blkio-weight 500",
    "share": "--cpu-share 700",
}
BY_FILE: dict[str, Any] = {
    "nothing": {},
    "null": None,
    "all": {**START, "pids": {"limit": 5}},
    "podman's": {"memory": {"limit": 1 << 26, "swap": 1 << 27}, "cpu": {}, "blockIO": {}, "pids": {"limit": 50}},
    "docker's zeros": {
        "memory": {"limit": 1 << 26, "reservation": 0, "swap": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0},
        "pids": {"limit": 0},
    },
    "a device rule as CRI sends it": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 9}},
    "what nobody knows": {"nosuch": 1, "pids": {"limit": 9}},
}
FAULTS = {
    "--memory": ["abc", "-5", "", "1.5.5m"],
    "--memory-swap": ["xM"],
    "--memory-reservation": ["m"],
    "--cpu-period": ["x", "-5", "1_000", "99999999999999999999"],
    "--cpu-quota": ["x", "9999999999999999999", "0x10"],
    "--cpu-share": ["1.5"],
    "--cpu-rt-period": ["x"],
    "--cpu-rt-runtime": ["x"],
    "--l3-cache-schema": ["L3:0=f"],
    "--mem-bw-schema": ["MB:0=70"],
    "--resources": ["/nosuch/file"],
}


def directories(bundle: Path) -> dict[str, str]:
    return locate(layout(), Bundles.read(bundle)["linux"]["cgroupsPath"], "").paths


def after(program: CommandLine, bundle: Bundles, *arguments: str, input: str = "") -> dict[str, str]:
    """The container's limits after an update."""
    made = bundle({"linux": {"resources": START}}, args=["sleep", "1000"])
    program("create", "--bundle", made, "x", check=True)
    try:
        ended = program("update", *arguments, "x", input=input, check=True)
        assert (ended.stdout, ended.stderr) == ("", "")
        return limits(directories(made))
    finally:
        program("delete", "--force", "x", check=True)


@pytest.mark.parametrize("case", BY_FLAGS)
def test_flags_come_to_the_same_limits_as_with_runc(case: str, aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    arguments = BY_FLAGS[case].split()
    if "--memory-swap" in arguments and "--memory" not in arguments and layout().version == V2:
        pytest.skip("runc 1.1.5 refuses it on v2")
    if case == "share" and layout().version == V2:
        pytest.skip("on v2 the formula has changed between the runcs")
    assert after(aiorun, bundle, *arguments) == after(runc, bundle, *arguments)


@pytest.mark.parametrize("case", BY_FILE)
def test_resources_come_to_the_same_limits_as_with_runc(
    case: str, aiorun: CommandLine, runc: CommandLine, bundle: Bundles, tmp_path: Path
) -> None:
    text = json.dumps(BY_FILE[case])
    file = tmp_path / "resources.json"
    file.write_text(text)
    theirs = after(runc, bundle, "--resources", "-", input=text)
    assert after(aiorun, bundle, "--resources=-", input=text) == theirs
    assert after(aiorun, bundle, "-r", str(file), "--pids-limit", "3") == theirs


@pytest.mark.parametrize("flag", FAULTS)
def test_a_value_that_is_none_is_refused_in_runcs_words(
    flag: str, aiorun: CommandLine, runc: CommandLine, bundle: Bundles
) -> None:
    said = []
    for program in (aiorun, runc):
        program("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
        ended = [program("update", f"{flag}={value}", "x") for value in FAULTS[flag]]
        said.append([(one.returncode, refused(one) if one.returncode else "") for one in ended])
        program("delete", "x", check=True)
    assert said[0] == said[1]


def test_only_what_lives_is_updated(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    for program in (aiorun, runc):
        program("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
        program("pause", "x", check=True)
        program("update", "--pids-limit", "5", "x", check=True)
        program("resume", "x", check=True)
        pid = program.state("x")["pid"]
        program("kill", "x", "KILL", check=True)
        await_death(pid)
        assert refused(program("update", "--pids-limit", "5", "x")) == "container not running"
        program("delete", "x", check=True)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"cpu": {"cpus": "4000"}}, "linux.resources.cpu.cpus to 4000"),
        ({"cpu": {"quota": 5000, "period": 10000, "shares": 700, "mems": "77"}}, "linux.resources.cpu.mems to 77"),
        ({"cpu": {"quota": 5000}, "hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "hugepageLimits[0].limit"),
        ({"memory": {"limit": 1 << 30, "swap": 1 << 31}, "cpu": {"quota": 1}}, "linux.resources.cpu.quota to 1"),
        ({"memory": {"limit": 1 << 25, "swap": 1 << 25}, "rdma": {"nosuch": {"hcaHandles": 1}}}, "resources.rdma["),
    ],
)  # fmt: skip
def test_an_update_that_fails_changes_nothing(
    aiorun: CommandLine, bundle: Bundles, container: Containers, change: Config, error: str
) -> None:
    made = bundle({"linux": {"resources": START}}, args=["sleep", "1000"])
    id = container(made)
    before = limits(directories(made)), (aiorun.root / id / "state.json").read_text()
    everything = {"pids": {"limit": 5}, "blockIO": {"weight": 100}, **change}
    assert error in refused(aiorun("update", "-r", "-", id, input=json.dumps(everything)))
    assert (limits(directories(made)), (aiorun.root / id / "state.json").read_text()) == before


def test_settings_of_v1_are_put_back_too(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    if layout().version == V2:
        pytest.skip("this host has cgroup v2")
    made = bundle({"linux": {"resources": START}}, args=["sleep", "1000"])
    id = container(made)
    before = limits(directories(made))
    change = {"memory": {"disableOOMKiller": True, "swappiness": 10, "reservation": 1 << 25}, "cpu": {"quota": 1}}
    assert "linux.resources.cpu.quota to 1" in refused(aiorun("update", "-r", "-", id, input=json.dumps(change)))
    assert limits(directories(made)) == before
    assert "oom_kill_disable 0\n" in before["memory: memory.oom_control"]
    del change["cpu"]
    aiorun("update", "-r", "-", id, input=json.dumps(change), check=True)
    assert "oom_kill_disable 1\n" in limits(directories(made))["memory: memory.oom_control"]


def test_an_update_that_is_late_for_a_delete_changes_nothing(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path
) -> None:
    made = bundle({"linux": {"resources": START}}, args=["sleep", "1000"])
    create(aiorun, made)
    steps = steps_of(aiorun, "delete", "x", after=f'{aiorun.root}/x"', log=tmp_path / "log")
    create(aiorun, made)
    before = limits(directories(made))
    with standing(aiorun, first(steps, "flock", "LOCK_UN"), "delete", "x", where=tmp_path) as delete:
        assert refused(aiorun("update", "--pids-limit", "5", "x")) == "the container is being deleted"
        assert limits(directories(made)) == before
        assert delete.go_on().returncode == 0
    assert nothing_left(aiorun, cgroup_parent)


def test_an_update_is_recorded_with_those_before_it(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    id = container(bundle({"linux": {"resources": START}}, args=["sleep", "1000"]))
    for change in (
        {"memory": {"limit": 1 << 26, "swap": 0}, "pids": {"limit": 9}, "devices": [{"allow": True, "access": "rwm"}]},
        {"memory": {"reservation": 1 << 25}, "cpu": {"cpus": "", "idle": 0}, "pids": {"limit": 8}},
    ):
        aiorun("update", "-r", "-", id, input=json.dumps(change), check=True)
    state = json.loads((aiorun.root / id / "state.json").read_text())
    assert state["updated"] == {
        "memory": {"limit": 1 << 26, "reservation": 1 << 25},
        "pids": {"limit": 8},
        "cpu": {},
    }


def test_a_limit_that_is_recorded_nowhere_is_taken_back(aiorun: CommandLine, bundle: Bundles, container: Containers) -> None:
    """The state couldn't be written: a directory stands where its next version is to go."""
    need_root()
    made = bundle({"linux": {"resources": START}}, args=["sleep", "1000"])
    id = container(made)
    before = limits(directories(made))
    os.mkdir(aiorun.root / id / ".state.json")
    try:
        assert "is a directory" in refused(aiorun("update", "--pids-limit", "5", id))
        assert limits(directories(made)) == before
    finally:
        os.rmdir(aiorun.root / id / ".state.json")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", "the resources must be a JSON object"),
        ('{"memory": {"limit": "64M"}}', "memory.limit: must be an integer, not a string"),
        ('{"pids": {"limit": 5}} x', "read the resources from standard input: extra data: line 1 column 24 (char 23)"),
        ("", "read the resources from standard input: expecting value: line 1 column 1 (char 0)"),
        ('{"unified": {"x/y": "1"}}', 'unified["x/y"]: '),
    ],
)
def test_resources_that_are_none_are_refused(
    aiorun: CommandLine, bundle: Bundles, container: Containers, text: str, error: str
) -> None:
    id = container(bundle(args=["sleep", "1000"]))
    assert refused(aiorun("update", "-r", "-", id, input=text)).startswith(error)


def test_schemata_are_changed_in_the_containers_group(
    aiorun: CommandLine, bundle: Bundles, container: Containers, tmp_path: Path
) -> None:
    """In a directory that looks like resctrl: no processor with Intel RDT was at hand."""
    id = container(bundle(args=["sleep", "1000"]))
    store = Store(str(aiorun.root))
    with pytest.raises(InvalidState, match=r"^the container has no group of its own in resctrl: "):
        drive(update(store, id, {"pids": {"limit": 5}}, waiter=PollWaiter(), rdt={"memBwSchema": "MB:0=20"}))
    with store.open(id) as directory, directory.locked():
        state = directory.read()
        assert state.updated == {}
        group = {"root": str(tmp_path), "path": str(tmp_path / "group"), "monitor": "", "own": ""}
        directory.write(state.replace(resctrl=group))
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "schemata").write_text("L3:0=f\nMB:0=100\n")
    drive(update(store, id, {}, waiter=PollWaiter(), rdt={"l3CacheSchema": "L3:0=3", "memBwSchema": "MB:0=20"}))
    assert (tmp_path / "group" / "schemata").read_text().startswith("L3:0=3\nMB:0=20\n")
