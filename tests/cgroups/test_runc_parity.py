"""The same resources come to the same numbers in the same files as with runc."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from aiorun.cgroups import layout, locate
from aiorun.cgroups.layout import V2
from aiorun.waiter import PollWaiter, drive
from tests.conftest import Bundles, CommandLine, Config, need_root

DENY = {"allow": False, "access": "rwm"}
CASES: dict[str, Config] = {
    "default": {"devices": [DENY]},
    "nothing": {},
    "privileged": {"devices": [{"allow": True, "access": "rwm"}]},
    "zeros": {"memory": {"limit": 0, "swap": 0, "reservation": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0}},
    "memory": {"memory": {"limit": 1 << 27, "swap": 1 << 28, "reservation": 1 << 26}},
    "unlimited": {"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}},
    "no swap": {"memory": {"limit": 1 << 27, "swap": 1 << 27}},
    "pids": {"pids": {"limit": 100}},
    "cpu": {"cpu": {"quota": 30000, "period": 70000}},
    "period": {"cpu": {"period": 70000}},
    "cpuset": {"cpu": {"cpus": "0-1", "mems": "0"}},
    "one cpu": {"cpu": {"cpus": "1"}},
    "block io": {"blockIO": {"weight": 300}},
    "rules": {
        "devices": [
            {"allow": True, "access": "rwm"},
            DENY,
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "wr"},
            {"allow": True, "type": "b", "major": 8, "access": "r"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "m"},
            {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "w"},
        ]
    },
    "denied one": {
        "devices": [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    },
}
V1_ONLY: dict[str, Config] = {
    "shares": {"cpu": {"shares": 700}},  # on v2 the formula has changed between the runcs
    "swappiness": {"memory": {"limit": 1 << 27, "swappiness": 10}},
    "no oom killer": {"memory": {"limit": 1 << 27, "disableOOMKiller": True}},
}
# Not limits but counts, states and what a kernel may lack; and the knobs that differ by who is inside.
IGNORED = (
    "stat",
    "usage",
    "events",
    "procs",
    "tasks",
    "threads",
    "pressure",
    "numa",
    "failcnt",
    "current",
    "peak",
    "io_serv",
    "kill",
)


def limits(paths: dict[str, str]) -> dict[str, str]:
    """The content of every file of limits in these directories."""
    found = {}
    for name, path in paths.items():
        for file in sorted(os.listdir(path)):
            whole = Path(path, file)
            if whole.is_dir() or any(part in file for part in IGNORED):
                continue
            try:
                found[f"{name}: {file}"] = whole.read_text()
            except OSError:
                continue  # files that are for writing alone
    return found


@pytest.mark.parametrize("case", [*CASES, *V1_ONLY])
def test_the_same_resources_come_to_the_same_files_as_with_runc(
    case: str, bundle: Bundles, runc: CommandLine, cgroup_parent: str
) -> None:
    need_root()
    host = layout()
    if case in V1_ONLY and host.version == V2:
        pytest.skip("this host has cgroup v2")
    resources: dict[str, Any] = {**CASES, **V1_ONLY}[case]
    path = f"{cgroup_parent}/container"
    made = bundle({"process": {"args": ["sleep", "1000"]}})
    config = bundle.read(made)
    config["linux"] |= {"cgroupsPath": path, "resources": resources}
    bundle.write(made, config)

    theirs = _of_runc(runc, made, locate(host, path, "container").paths)

    ours = locate(host, path, "container")
    ours.create()
    try:
        ours.apply(resources)
        assert limits(ours.paths) == theirs
    finally:
        drive(ours.remove(PollWaiter()))


def _of_runc(runc: CommandLine, bundle: Path, paths: dict[str, str]) -> dict[str, str]:
    runc("create", "--bundle", str(bundle), "parity", check=True)
    try:
        assert all(map(os.path.isdir, paths.values())), "runc makes the directories where locate finds them"
        return limits(paths)
    finally:
        runc("delete", "--force", "parity", check=True)


@pytest.mark.parametrize("cgroups_path", [None, "relative", "../../out"])
def test_a_cgroup_lies_where_runc_puts_it(
    cgroups_path: str | None, bundle: Bundles, runc: CommandLine, leaves_nothing: None
) -> None:
    need_root()
    id = f"aiorun-parity-{os.getpid()}"
    path = f"{cgroups_path}-{id}" if cgroups_path else None
    made = bundle({"process": {"args": ["sleep", "1000"]}})
    config = bundle.read(made)
    config["linux"].pop("cgroupsPath")
    if path:
        config["linux"]["cgroupsPath"] = path
    bundle.write(made, config)
    runc("create", "--bundle", str(made), id, check=True)
    try:
        state = json.loads((runc.root / id / "state.json").read_text())
        assert locate(layout(), path, id).paths == state["cgroup_paths"]
    finally:
        runc("delete", "--force", id, check=True)
