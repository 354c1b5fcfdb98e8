"""What a cgroup used, as runc tells it of the same cgroup; and a file that tells when something in it was killed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiorun.cgroups import Cgroup, layout, locate
from aiorun.cgroups import oom as ooms
from aiorun.cgroups.layout import V2
from aiorun.cgroups.stats import stats
from tests.cgroups.test_cgroup import Make, host, make
from tests.conftest import Bundles, CommandLine
from tests.waiting import until

__all__ = ["host", "make"]

BUSY = """
dd if=/dev/zero of=/dev/null bs=1M count=2000 2>/dev/null; echo done > /said; exec sleep 1000
"""


def test_a_cgroups_stats_are_runcs(bundle: Bundles, runc: CommandLine) -> None:
    """Of a container that is paused. The kernel still moves a page's account now and then: looks that saw that don't count."""
    resources = {"cpu": {"quota": 20000, "period": 100000}, "memory": {"limit": 1 << 28}, "pids": {"limit": 33}}
    made = bundle({"root": {"readonly": False}, "linux": {"resources": resources}}, args=["sh", "-c", BUSY])
    runc("create", "--bundle", made, "x", check=True)
    try:
        runc("start", "x", check=True)
        until((made / "rootfs" / "said").exists, "the program")
        runc("pause", "x", check=True)
        paths = locate(layout(), Bundles.read(made)["linux"]["cgroupsPath"], "").paths
        looks: list[tuple[Any, Any, Any]] = []

        def nothing_moved() -> bool:
            looks.append((of_runc(runc), json.loads(json.dumps(stats(paths))), of_runc(runc)))
            return bool(looks[-1][0] == looks[-1][2])

        until(nothing_moved, "two equal looks")
        said, ours, _ = looks[-1]
    finally:
        runc("delete", "--force", "x", check=True)
    assert said["cpu"]["throttling"]["throttledPeriods"] > 0 and said["pids"] == {"current": 1, "limit": 33}
    if layout().version == V2:
        newer(ours, said)
    assert list(ours) == list(said)
    assert ours == said


def of_runc(runc: CommandLine) -> Any:
    return json.loads(runc("events", "--stats", "x", check=True).stdout)["data"]


def newer(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Take out what runc tells since 1.2 alone: Debian's is older."""
    for group in ("cpu", "memory", "blkio"):
        if "psi" not in theirs[group]:
            pressure = ours[group].pop("psi", {})
            assert set(pressure) <= {"some", "full"}
            assert all(set(line) == {"avg10", "avg60", "avg300", "total"} for line in pressure.values())
    if "max" not in theirs["memory"]["usage"]:
        ours["memory"]["usage"].pop("max", None)


def test_the_stats_of_a_cgroup_that_is_gone_are_zeros(make: Make) -> None:
    told = stats({name: f"{path}/nosuch" for name, path in make().paths.items()})
    assert told["pids"] == {}
    assert told["memory"]["usage"] == {"limit": 0, "failcnt": 0}


def hog(cgroup: Cgroup) -> None:
    """A process in the cgroup that needs more memory than it may have."""
    script = "import os\nos.read(0, 1)\nhog = b'x' * (1 << 28)\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    cgroup.add(process.pid)
    process.communicate(b"x")
    assert process.returncode == -9


@pytest.fixture
def small(make: Make) -> Cgroup:
    """A cgroup with little memory."""
    cgroup = make()
    cgroup.apply({"memory": {"limit": 1 << 25, "swap": 1 << 25}, "devices": [{"allow": True, "access": "rwm"}]})
    return cgroup


def test_a_watch_is_ready_when_something_was_killed_for_want_of_memory_and_only_then(small: Cgroup) -> None:
    watch = ooms.watch(small.paths)
    assert watch is not None
    try:
        poll = select.poll()
        poll.register(watch.fd, watch.events)
        for _ in range(2):
            assert (poll.poll(0), watch.take()) == ([], 0)
            hog(small)
            assert poll.poll(10_000)
            until(watch.take, "the kernel's count")
            watch.take()  # v1 may tell of one again while it is dying
    finally:
        watch.close()


def test_kills_before_the_watch_and_the_cgroups_end_count_for_nothing(small: Cgroup, leaves_nothing: None) -> None:
    hog(small)
    watch = ooms.watch(small.paths)
    assert watch is not None
    try:
        assert watch.take() == 0
        for path in small.paths.values():
            os.rmdir(path)

        def sees_it() -> bool:
            assert watch.take() == 0
            return watch.gone

        until(sees_it, "the watch to see the removal")
    finally:
        watch.close()


def test_without_a_memory_controller_there_is_no_watch(make: Make) -> None:
    paths = make().paths
    assert ooms.watch({name: f"{path}/nosuch" for name, path in paths.items()}) is None
    if set(paths) != {""}:
        assert ooms.watch({name: path for name, path in paths.items() if name != "memory"}) is None


def test_a_kill_in_a_child_cgroup_counts_for_the_container(make: Make, small: Cgroup, cgroup_parent: str) -> None:
    child: Callable[[], Cgroup] = lambda: locate(layout(), _inner(small), "")  # noqa: E731
    inner = child()
    inner.create()
    inner.apply({"memory": {"limit": 1 << 24, "swap": 1 << 24}, "devices": [{"allow": True, "access": "rwm"}]})
    before = small.oom_kills()
    hog(inner)
    assert small.oom_kills() == before + 1


def _inner(cgroup: Cgroup) -> str:
    """The cgroupsPath of a child of `cgroup`."""
    path = Path(next(iter(cgroup.paths.values())))
    mount = next(parent for parent in path.parents if parent.name in ("cgroup", "cpuset"))
    return f"/{path.relative_to(mount)}/inner"
