"""The systemd driver on a real systemd. `scripts/test-vm tests/cgroups/test_systemd.py` has one: docs/development.md."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import aiorun as aiorun_library
from aiorun import cgroups
from aiorun.cgroups import Cgroup
from aiorun.errors import CgroupError
from aiorun.launch.spawn import HereSpawner
from aiorun.runtime.create import Options, create
from aiorun.runtime.delete import delete
from aiorun.spec import read
from aiorun.store import Store
from aiorun.waiter import PollWaiter, drive
from tests.cgroups.test_runc_parity import limits
from tests.conftest import CHECKOUT, Bundles, CommandLine, Config, make_root_file_system, need, need_root
from tests.engines.test_podman import Podman
from tests.runtime.test_cancelled import MANY, Cancelled, CancellingWaiter
from tests.waiting import until

DENY = {"allow": False, "access": "rwm"}
_numbers = itertools.count(1)


def need_systemd() -> None:
    if not os.path.isdir("/run/systemd/system"):
        pytest.skip("this host's init isn't systemd")


def systemctl(*arguments: str, check: bool = True) -> str:
    manager = [] if os.geteuid() == 0 else ["--user"]
    ended = subprocess.run(["systemctl", *manager, *arguments], capture_output=True, text=True, check=False)
    if check and ended.returncode:
        pytest.fail(f"systemctl {' '.join(arguments)}: {ended.stderr}")
    return ended.stdout


def show(unit: str) -> dict[str, str]:
    """All properties of a unit, as systemctl shows them; one that has several lines is sorted."""
    found: dict[str, list[str]] = {}
    for line in systemctl("show", unit).splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found.setdefault(name, []).append(value)
    return {name: "\n".join(sorted(values)) for name, values in found.items()}


def compared(unit: dict[str, str]) -> dict[str, str]:
    """What is the same with every runc: 1.1.5 names groups of devices, and leaves out devices that the host doesn't have."""
    groups, kind = {}, ""
    for line in Path("/proc/devices").read_text().splitlines():
        number, _, name = line.strip().partition(" ")
        if number.isdigit():
            groups[f"{kind}-{name}"] = f"{kind}-{number}"
        elif line:
            kind = {"Character": "char", "Block": "block"}[number]
    shown = {name: value for name, value in unit.items() if name in SHOWN}
    devices = []
    for line in shown.get("DeviceAllow", "").splitlines():
        path, access = line.split()
        if not path.startswith("/dev/") or os.path.exists(f"/sys{path}"):
            devices.append(f"{groups.get(path, path)} {access}")
    return {**shown, "DeviceAllow": "\n".join(sorted(devices))}


@pytest.fixture
def slice(leaves_nothing: None) -> Iterator[str]:
    """A slice of the test's own. Fails the test that leaves a unit in it, also one that failed."""
    need_systemd()
    name = f"aioruntest{os.getpid()}n{next(_numbers)}.slice"
    yield name
    stem = name.removesuffix(".slice")
    left = [line.split()[0] for line in systemctl("list-units", "--all", "--plain", "--no-legend", f"{stem}*.scope").splitlines()]
    for unit in left:
        systemctl("stop", unit, check=False)
        systemctl("reset-failed", unit, check=False)
    systemctl("stop", name, check=False)
    assert not left


@pytest.fixture
def systemd_bundle(bundle: Bundles, slice: str) -> Any:
    """`systemd_bundle(resources, name="x")`: a bundle whose container is the scope SLICESTEM-x.scope in the test's slice."""

    def make(resources: Config | None = None, *, name: str = "x", args: list[str] | None = None, **more: Any) -> Path:
        made = bundle(args=args or ["sleep", "1000"])
        config = bundle.read(made)
        config["linux"]["cgroupsPath"] = f"{slice}:{slice.removesuffix('.slice')}:{name}"
        config["linux"]["resources"] = {"devices": [DENY]} if resources is None else resources
        config |= more
        bundle.write(made, config)
        return made

    return make


def scope(slice: str, name: str = "x") -> str:
    return f"{slice.removesuffix('.slice')}-{name}.scope"


def cgroup_of(pid: int) -> str:
    """The path of a process in the hierarchy that systemd keeps."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers == "name=systemd" or number == "0":
            found = path
            if controllers:
                break
    return found


@pytest.mark.parametrize("command", ["create", "run"])
def test_without_systemd_there_is_one_clear_error(command: str, aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("this host's init is systemd")
    made = bundle({"linux": {"cgroupsPath": "system.slice:aiorun:test"}})
    said = [runtime("--systemd-cgroup", command, "--bundle", made, "x") for runtime in (runc, aiorun)]
    for ended in said:
        words = f"{command} failed: systemd not running on this host, cannot use systemd cgroups manager"
        assert (ended.returncode, words in ended.stderr) == (1, True), ended.stderr
    assert not (aiorun.root / "x").exists()


# --- beside runc

SHOWN = (
    "Slice", "Delegate", "DefaultDependencies", "ActiveState", "SubState", "KillMode", "CollectMode", "MemoryAccounting",
    "CPUAccounting", "IOAccounting", "TasksAccounting", "MemoryMax", "MemoryLow", "MemoryMin", "MemoryHigh", "MemorySwapMax",
    "MemoryLimit", "CPUWeight", "CPUShares", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "TasksMax", "AllowedCPUs",
    "AllowedMemoryNodes", "DevicePolicy", "DeviceAllow", "TimeoutStopUSec",
)  # fmt: skip
CASES: dict[str, Config] = {
    "default": {"devices": [DENY]},
    "nothing": {},
    "privileged": {"devices": [{"allow": True, "access": "rwm"}]},
    "memory": {"memory": {"limit": 1 << 27, "swap": 1 << 28, "reservation": 1 << 26}},
    "unlimited": {"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}},
    "pids": {"pids": {"limit": 100}},
    "cpu": {"cpu": {"quota": 35000, "period": 70000}},
    "odd quota": {"cpu": {"quota": 30500}},
    "cpuset": {"cpu": {"cpus": "0-1", "mems": "0"}},
    "rules": {
        "devices": [
            DENY,
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "wr"},
            {"allow": True, "type": "b", "major": 7, "access": "r"},
            {"allow": True, "type": "c", "access": "m"},
        ]
    },
}
UNIFIED: dict[str, Config] = {
    "unified": {"unified": {"memory.high": "1000000000", "memory.low": "4096", "pids.max": "77", "cpu.weight": "33"}},
    "unified cpu": {"unified": {"cpu.max": "20000 50000", "cpuset.cpus": "0", "memory.swap.max": "max"}},
}


def settings(paths: dict[str, str]) -> dict[str, list[str]]:
    """The files of limits; the lines of v1's lists of devices have no order, and `prioidx` is a number of its own for each."""
    found = limits(paths)
    kept = [name for name in found if ("cgroup." not in name or "controllers" in name) and "prioidx" not in name]
    return {name: sorted(found[name].splitlines()) for name in kept}


def need_controllers(*names: str) -> None:
    """Kernels that were built for v2 lack some of v1's."""
    host = cgroups.layout()
    for name in names:
        if host.version == cgroups.V1 and name not in host.hierarchies:
            pytest.skip(f"this host has cgroup v1 without {name}")


@pytest.mark.parametrize("case", [*CASES, *UNIFIED])
def test_the_unit_and_its_files_are_those_that_runc_makes(
    case: str, aiorun: CommandLine, runc: CommandLine, systemd_bundle: Any, slice: str
) -> None:
    if case in UNIFIED and cgroups.layout().version == cgroups.V1:
        pytest.skip("unified is for cgroup v2")
    resources = {**CASES, **UNIFIED}[case]
    need_controllers(*[name for name in ("memory", "cpuset") if name == case or (name == "memory" and case == "unlimited")])
    shown, files = [], []
    for runtime, name in ((runc, "theirs"), (aiorun, "ours")):
        made = systemd_bundle(resources, name=name)
        runtime("--systemd-cgroup", "create", "--bundle", made, name, check=True)
        try:
            unit = show(scope(slice, name))
            paths = json.loads((runtime.root / name / "state.json").read_text())["cgroup_paths"]
            shown.append(compared(unit))
            files.append(settings(paths))
        finally:
            runtime("delete", "--force", name, check=True)
    assert shown[1] == shown[0]
    assert {name: files[1][name] for name in files[0]} == files[0]


def test_what_is_no_path_for_systemd_is_refused_in_runcs_words(aiorun: CommandLine, runc: CommandLine, bundle: Bundles) -> None:
    made = bundle({"linux": {"cgroupsPath": "/a/b"}})
    said = [runtime("--systemd-cgroup", "create", "--bundle", made, "x") for runtime in (runc, aiorun)]
    words = 'expected cgroupsPath to be of format \\"slice:prefix:name\\" for systemd cgroups, got \\"/a/b\\" instead'
    for ended in said:
        assert (ended.returncode, words in ended.stderr) == (1, True), ended.stderr
    assert not (aiorun.root / "x").exists()


# --- life


def test_a_container_is_a_scope_until_it_is_deleted(aiorun: CommandLine, systemd_bundle: Any, slice: str) -> None:
    aiorun("--systemd-cgroup", "create", "--bundle", systemd_bundle(), "x", check=True)
    state = aiorun.state("x")
    unit = show(scope(slice))
    assert unit["ActiveState"] == "active"
    assert unit["Slice"] == slice
    assert cgroup_of(state["pid"]) == unit["ControlGroup"] == f"/{slice}/{scope(slice)}"
    aiorun("start", "x", check=True)
    aiorun("kill", "x", "KILL", check=True)
    until(lambda: aiorun.state("x")["status"] == "stopped", "the end of the program")
    aiorun("delete", "x", check=True)
    assert show(scope(slice))["LoadState"] == "not-found"
    assert not any(path.exists() for path in directories(unit["ControlGroup"]))


def directories(path: str) -> list[Path]:
    return [Path(hierarchy.mount_point + path) for hierarchy in cgroups.layout().hierarchies.values()]


def test_run_leaves_no_unit(aiorun: CommandLine, systemd_bundle: Any, slice: str) -> None:
    made = systemd_bundle(args=["sh", "-c", "cat /proc/self/cgroup; exit 3"])
    ended = aiorun("--systemd-cgroup", "run", "--bundle", made, "x")
    assert (ended.returncode, ended.stderr) == (3, "")
    assert show(scope(slice))["LoadState"] == "not-found"


def test_without_a_path_it_is_a_scope_of_the_system(aiorun: CommandLine, systemd_bundle: Any, bundle: Bundles) -> None:
    made = systemd_bundle()
    config = bundle.read(made)
    del config["linux"]["cgroupsPath"]
    bundle.write(made, config)
    id = f"test-{os.getpid()}"
    aiorun("--systemd-cgroup", "create", "--bundle", made, id, check=True)
    try:
        assert show(f"aiorun-{id}.scope")["Slice"] == "system.slice"
    finally:
        aiorun("delete", "--force", id, check=True)


def test_a_slice_in_slices_is_made(aiorun: CommandLine, systemd_bundle: Any, bundle: Bundles, slice: str) -> None:
    made = systemd_bundle()
    inner = slice.replace(".slice", "-a-b.slice")
    config = bundle.read(made)
    config["linux"]["cgroupsPath"] = f"{inner}:{slice.removesuffix('.slice')}:x"
    bundle.write(made, config)
    aiorun("--systemd-cgroup", "create", "--bundle", made, "x", check=True)
    try:
        middle = slice.replace(".slice", "-a.slice")
        assert show(scope(slice))["ControlGroup"] == f"/{slice}/{middle}/{inner}/{scope(slice)}"
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_annotations_are_properties_of_the_unit(aiorun: CommandLine, runc: CommandLine, systemd_bundle: Any, slice: str) -> None:
    annotations = {
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.Before": "['multi-user.target']",
        "io.podman.frob": "1",
    }
    shown = []
    for runtime, name in ((runc, "theirs"), (aiorun, "ours")):
        made = systemd_bundle(name=name, annotations=annotations)
        runtime("--systemd-cgroup", "create", "--bundle", made, name, check=True)
        try:
            unit = show(scope(slice, name))
            shown.append({key: unit[key] for key in ("TimeoutStopUSec", "CollectMode", "Before")})
        finally:
            runtime("delete", "--force", name, check=True)
    assert shown[1] == shown[0]
    assert shown[1]["TimeoutStopUSec"] == "7s"


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"Frob": "true"}, "start the systemd unit"),
        (
            {"TimeoutStopSec": "'x'"},
            'annotations[\\"org.systemd.property.TimeoutStopSec\\"]: read \\"\'x\'\\": it is not a number',
        ),
    ],
)
def test_a_property_that_systemd_refuses_is_an_error_that_leaves_nothing(
    annotation: dict[str, str], words: str, aiorun: CommandLine, systemd_bundle: Any, slice: str
) -> None:
    annotations = {f"org.systemd.property.{name}": value for name, value in annotation.items()}
    ended = aiorun("--systemd-cgroup", "create", "--bundle", systemd_bundle(annotations=annotations), "x")
    assert ended.returncode == 1
    assert words in ended.stderr
    assert not (aiorun.root / "x").exists()
    assert show(scope(slice))["LoadState"] == "not-found"


def test_limits_outlive_a_reload_of_systemd(aiorun: CommandLine, systemd_bundle: Any, slice: str) -> None:
    """systemd writes what it knows of a unit anew. Were it not told of a limit, the limit would be gone."""
    need_controllers("memory", "cpuset")
    resources = {"memory": {"limit": 1 << 27}, "pids": {"limit": 77}, "cpu": {"quota": 30000, "cpus": "0"}, "devices": [DENY]}
    aiorun("--systemd-cgroup", "create", "--bundle", systemd_bundle(resources), "x", check=True)
    try:
        paths = json.loads((aiorun.root / "x" / "state.json").read_text())["cgroup_paths"]
        before = limits(paths)
        systemctl("daemon-reload")
        # A change of another property has systemd write all of the unit's.
        systemctl("set-property", "--runtime", scope(slice), "CPUWeight=33")
        after = limits(paths)
        assert {name: value for name, value in after.items() if "weight" not in name and "shares" not in name} == {
            name: value for name, value in before.items() if "weight" not in name and "shares" not in name
        }
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_a_unit_that_failed_goes_with_the_container(aiorun: CommandLine, systemd_bundle: Any, slice: str) -> None:
    """systemd keeps a failed unit to show it, and then its name can't be used again."""
    made = systemd_bundle()
    for _ in range(2):
        aiorun("--systemd-cgroup", "create", "--bundle", made, "x", check=True)
        aiorun("start", "x", check=True)
        systemctl("kill", "--signal=KILL", scope(slice))
        until(lambda: aiorun.state("x")["status"] == "stopped", "the end of the program")
        aiorun("delete", "x", check=True)
        assert show(scope(slice))["LoadState"] == "not-found"


def test_stopping_the_unit_stops_the_container(aiorun: CommandLine, systemd_bundle: Any, slice: str) -> None:
    aiorun("--systemd-cgroup", "create", "--bundle", systemd_bundle(), "x", check=True)
    aiorun("start", "x", check=True)
    aiorun("kill", "x", "STOP", check=True)  # PID 1 of a pid namespace doesn't hear of TERM
    systemctl("set-property", "--runtime", scope(slice), "SendSIGKILL=yes", check=False)
    systemctl("kill", "--signal=KILL", scope(slice))
    systemctl("stop", scope(slice), check=False)
    until(lambda: aiorun.state("x")["status"] == "stopped", "the end of the program")
    aiorun("delete", "x", check=True)


def test_somebody_elses_unit_of_that_name_lives_on(aiorun: CommandLine, systemd_bundle: Any, slice: str) -> None:
    other = f"{need('sleep')} 1000"
    systemd_run = [need("systemd-run"), "--scope", "--quiet", f"--slice={slice}", f"--unit={scope(slice)}", *other.split()]
    sleeper = subprocess.Popen(systemd_run)
    try:
        until(lambda: show(scope(slice))["ActiveState"] == "active", "the unit")
        ended = aiorun("--systemd-cgroup", "create", "--bundle", systemd_bundle(), "x")
        assert ended.returncode == 1
        assert "container's cgroup is not empty" in ended.stderr
        assert not (aiorun.root / "x").exists()
        assert sleeper.poll() is None
        assert show(scope(slice))["ActiveState"] == "active"
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_unit_that_appears_meanwhile_is_none_of_ours(systemd_bundle: Any, slice: str) -> None:
    """Between the look and the start. What we then undo must not be the other one's."""
    name = f"{slice}:{slice.removesuffix('.slice')}:x"
    ours, other = located(name), subprocess.Popen([need("sleep"), "1000"])
    init = subprocess.Popen([need("sleep"), "1000"])
    try:
        ours.create()
        theirs = located(name)
        enclose(theirs, other.pid)
        with pytest.raises(CgroupError, match=r"^start the systemd unit "):
            enclose(ours, init.pid)
        drive(ours.kill(signal.SIGKILL, PollWaiter()))
        drive(ours.remove(PollWaiter()))
        assert other.poll() is None
        assert show(scope(slice))["ActiveState"] == "active"
        drive(theirs.kill(signal.SIGKILL, PollWaiter()))
        other.wait()
        drive(theirs.remove(PollWaiter()))
    finally:
        for process in (init, other):
            process.kill()
            process.wait()


def located(cgroups_path: str) -> Cgroup:
    return drive(cgroups.locate_unit(cgroups.layout(), cgroups_path, "x", PollWaiter()))


def enclose(cgroup: Cgroup, pid: int, resources: Config | None = None, annotations: dict[str, str] | None = None) -> None:
    drive(cgroup.enclose(pid, resources or {}, [], annotations or {}, PollWaiter()))
    cgroup.complete()


def test_an_update_reaches_systemd_and_the_files(aiorun: CommandLine, runc: CommandLine, systemd_bundle: Any, slice: str) -> None:
    """Without --systemd-cgroup, as engines call it: the state knows."""
    need_controllers("memory", "cpuset")
    flags = ["--pids-limit", "9", "--memory", "128M", "--cpu-period", "50000", "--cpu-quota", "30500", "--cpuset-cpus", "0"]
    shown, files = [], []
    for runtime, name in ((runc, "theirs"), (aiorun, "ours")):
        made = systemd_bundle({"devices": [DENY], "cpu": {"quota": 50000}, "pids": {"limit": 7}}, name=name)
        runtime("--systemd-cgroup", "create", "--bundle", made, name, check=True)
        try:
            runtime("update", *flags, name, check=True)
            unit = show(scope(slice, name))
            paths = json.loads((runtime.root / name / "state.json").read_text())["cgroup_paths"]
            shown.append(compared(unit))
            files.append(settings(paths))
            systemctl("set-property", "--runtime", scope(slice, name), "TasksMax=11")
            assert settings(paths) != files[-1], "systemd writes the limits of this unit"
        finally:
            runtime("delete", "--force", name, check=True)
    assert shown[1] == shown[0]
    assert {name: files[1][name] for name in files[0]} == files[0]


def test_a_new_period_keeps_the_quota(aiorun: CommandLine, systemd_bundle: Any, slice: str) -> None:
    """systemd takes a period without a quota for no limit at all."""
    made = systemd_bundle({"devices": [DENY], "cpu": {"quota": 50000}})
    aiorun("--systemd-cgroup", "create", "--bundle", made, "x", check=True)
    try:
        aiorun("update", "--cpu-period", "50000", "x", check=True)
        assert show(scope(slice))["CPUQuotaPerSecUSec"] == "1s"
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_an_update_that_fails_changes_nothing(aiorun: CommandLine, systemd_bundle: Any, slice: str) -> None:
    aiorun("--systemd-cgroup", "create", "--bundle", systemd_bundle({"devices": [DENY], "pids": {"limit": 7}}), "x", check=True)
    try:
        paths = json.loads((aiorun.root / "x" / "state.json").read_text())["cgroup_paths"]
        before = show(scope(slice))["TasksMax"], limits(paths)
        assert aiorun("update", "--pids-limit", "9", "--cpuset-cpus", "4000", "x").returncode == 1
        assert (show(scope(slice))["TasksMax"], limits(paths)) == before
    finally:
        aiorun("delete", "--force", "x", check=True)


def test_a_process_that_died_makes_no_unit(slice: str) -> None:
    cgroup = located(f"{slice}:{slice.removesuffix('.slice')}:x")
    dead = subprocess.Popen([need("true")])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    try:
        with pytest.raises(CgroupError, match=r"^start the systemd unit "):
            enclose(cgroup, dead.pid)
    finally:
        dead.wait()
        drive(cgroup.remove(PollWaiter()))
    assert show(scope(slice))["LoadState"] == "not-found"


def test_a_scope_whose_cgroup_has_another_name_is_refused(slice: str) -> None:
    """systemd puts a `_` before some names: limits would go to a cgroup that nobody is in."""
    if os.geteuid():
        pytest.skip("the same as root")
    cgroup = located(f"{slice}:_{slice.removesuffix('.slice')}:x")
    sleeper = subprocess.Popen([need("sleep"), "1000"])
    try:
        with pytest.raises(CgroupError, match=r"process \d+ is not in "):
            enclose(cgroup, sleeper.pid)
    finally:
        sleeper.kill()
        sleeper.wait()
        drive(cgroup.remove(PollWaiter()))


# --- engines


def test_podman_with_the_systemd_manager(slice: str) -> None:
    need_root()
    need("conmon")
    with tempfile.TemporaryDirectory(prefix="aiorun-") as where:  # podman wants a run root of 50 characters at most
        podman = Podman(Path(where), slice, manager="systemd")
        flags = ("--pids-limit", "55", "--memory", "64m")
        made = podman("run", "--detach", *flags, "--", "sleep", "1000")
        unit = show(f"libpod-{made.stdout.strip()}.scope")
        removed = podman("rm", "--force", "--time", "0", made.stdout.strip())
        left = systemctl("list-units", "--all", "--plain", "--no-legend", "libpod-*.scope")
        podman.close()
    assert (made.returncode, removed.returncode) == (0, 0), made.stderr + removed.stderr
    assert (unit["Slice"], unit["TasksMax"], unit["ActiveState"]) == (slice, "55", "active")
    assert not [line for line in left.splitlines() if "libpod-conmon-" not in line]


# --- the library


async def test_a_supervisors_containers_are_scopes(slice: str, root_dir: Path, systemd_bundle: Any) -> None:
    need_root()
    names = [f"x{number}" for number in range(3)]
    async with aiorun_library.Runtime(root_dir, systemd_cgroup=True) as runtime:

        async def live(name: str) -> None:
            async with runtime.container(name, bundle=systemd_bundle(name=name)) as job:
                await job.start()
                assert show(scope(slice, name))["ActiveState"] == "active"

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(live, name)
    assert {show(scope(slice, name))["LoadState"] for name in names} == {"not-found"}


def test_a_cancelled_create_leaves_no_unit(slice: str, root_dir: Path, systemd_bundle: Any) -> None:
    need_root()
    bundle = str(systemd_bundle())
    spec, store, options = read(bundle), Store(str(root_dir)), Options(systemd_cgroup=True)
    for waits in range(MANY):
        waiter = CancellingWaiter(waits)
        try:
            made = drive(create(store, "x", spec, bundle, options, waiter=waiter, spawner=HereSpawner()))
        except Cancelled:
            assert show(scope(slice))["LoadState"] == "not-found"
            assert not (root_dir / "x").exists()
            continue
        os.close(made.pidfd)
        drive(delete(store, "x", waiter=PollWaiter(), force=True))
        break
    assert waits > 3, "systemd is waited for"


# --- a user's own systemd: VM_FLAGS=--user scripts/test-vm …


def users_bundle(where: Path, command: CommandLine, cgroups_path: str) -> Path:
    """What `aiorun spec --rootless` writes, on a root file system of busybox, with limits that a user's systemd may set."""
    make_root_file_system(where / "rootfs")
    command("spec", "--rootless", "--bundle", where, check=True)
    config = Bundles.read(where)
    config["process"] |= {"terminal": False, "args": ["sleep", "1000"]}
    config["linux"] |= {"cgroupsPath": cgroups_path, "resources": {"pids": {"limit": 33}, "memory": {"limit": 1 << 27}}}
    Bundles.write(where, config)
    return where


def test_a_users_container_is_a_scope_of_his_own_systemd(slice: str, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root")
    ours = CommandLine(str(CHECKOUT / ".venv" / "bin" / "aiorun"), tmp_path / "root")
    theirs = CommandLine(need("runc"), tmp_path / "runc-root")
    shown = []
    for runtime, name in ((theirs, "theirs"), (ours, "ours")):
        made = users_bundle(tmp_path / name, ours, f"user.slice:{slice.removesuffix('.slice')}:{name}")
        runtime("--systemd-cgroup", "run", "--detach", "--bundle", made, name, check=True)
        try:
            unit = show(scope(slice, name))
            pid = runtime.state(name)["pid"]
            assert cgroup_of(pid) == unit["ControlGroup"]
            assert f"/user@{os.geteuid()}.service/user.slice/" in unit["ControlGroup"]
            runtime("exec", name, "true", check=True)
            runtime("update", "--pids-limit", "44", name, check=True)
            shown.append(compared(show(scope(slice, name))))
            assert Path(f"/sys/fs/cgroup{unit['ControlGroup']}/pids.max").read_text() == "44\n"
        finally:
            runtime("delete", "--force", name, check=True)
        assert show(scope(slice, name))["LoadState"] == "not-found"
    assert shown[1] == shown[0]


def test_a_users_container_without_a_path_is_in_his_user_slice(slice: str, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root")
    aiorun = CommandLine(str(CHECKOUT / ".venv" / "bin" / "aiorun"), tmp_path / "root")
    made = users_bundle(tmp_path / "bundle", aiorun, "")
    id = f"test-{os.getpid()}"
    aiorun("--systemd-cgroup", "create", "--bundle", made, id, check=True)
    try:
        assert show(f"aiorun-{id}.scope")["Slice"] == "user.slice"
    finally:
        aiorun("delete", id, check=True)
