"""linux.intelRdt, on directories made to look like resctrl: no machine with the hardware was at hand (docs/spec.md says so).

What needs the kernel isn't shown here: that a new directory gets its files, and what a group does to its processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiorun.cgroups import resctrl
from aiorun.errors import AiorunError, InvalidSpec, UnsupportedSpec
from tests.conftest import Bundles, CommandLine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with the default group, a group "gold", and one "x" as a container's own, the files of which nobody makes here."""
    root = tmp_path / "resctrl"
    for group in (root, root / "gold", root / "x", root / "gold" / "mon_groups" / "x", root / "x" / "mon_groups" / "x"):
        group.mkdir(parents=True, exist_ok=True)
        for name in ("schemata", "tasks"):
            (group / name).touch()
    (root / "info").mkdir()
    (root / "info" / "last_cmd_status").write_text("ok\n")
    return root


def test_the_mount_is_found_wherever_it_is() -> None:
    line = "30 25 0:27 / {} rw,relatime shared:9 - resctrl resctrl rw\n"
    other = "29 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert resctrl.mount_point(other + line.format("/sys/fs/resctrl")) == "/sys/fs/resctrl"
    assert resctrl.mount_point(line.format("/a\\040b")) == "/a b"
    with pytest.raises(UnsupportedSpec, match=r"linux\.intelRdt: no resctrl file system is mounted on this host"):
        resctrl.mount_point(other)


@pytest.mark.parametrize(
    ("rdt", "path", "monitor", "own"),
    [
        ({"schemata": ["MB:0=20"]}, "/x", "", "/x"),
        ({"closID": "gold"}, "/gold", "", ""),
        ({"closID": "/"}, "", "", ""),
        ({"enableMonitoring": True}, "/x", "/x/mon_groups/x", "/x"),
        ({"closID": "gold", "enableMonitoring": True}, "/gold", "/gold/mon_groups/x", "/gold/mon_groups/x"),
        ({"closID": "/", "enableMonitoring": True}, "", "/mon_groups/x", "/mon_groups/x"),
    ],
)
def test_the_group_is_the_class_that_is_named_or_the_containers_own(
    rdt: dict[str, Any], path: str, monitor: str, own: str
) -> None:
    group = resctrl.group(rdt, "x", "/r")
    assert (group.path, group.monitor, group.own) == (f"/r{path}", monitor and f"/r{monitor}", own and f"/r{own}")


@pytest.mark.parametrize("closid", ["a/b", "..", ".", "/gold"])
def test_a_class_is_the_name_of_a_directory(closid: str) -> None:
    with pytest.raises(InvalidSpec, match=r"linux\.intelRdt\.closID: must be a file name, or / for the default group"):
        resctrl.group({"closID": closid}, "x", "/r")


@pytest.mark.parametrize(
    ("rdt", "requests"),
    [
        ({"closID": "gold"}, []),
        ({"l3CacheSchema": "L3:0=f;1=f"}, ["L3:0=f;1=f\n"]),
        ({"memBwSchema": "MB:0=20"}, ["MB:0=20\n"]),
        ({"l3CacheSchema": "L3:0=f\nL2:0=3", "memBwSchema": "MB:0=20"}, ["L3:0=f\nL2:0=3\nMB:0=20\n"]),
        ({"l3CacheSchema": "MB:0=90\nL3:0=f", "memBwSchema": "MB:0=20"}, ["L3:0=f\nMB:0=20\n"]),
        ({"l3CacheSchema": "MB:0=90\nL3:0=f"}, ["MB:0=90\nL3:0=f\n"]),
        ({"schemata": ["L3:0=f", "MB:0=20"]}, ["L3:0=f\nMB:0=20\n"]),
        ({"schemata": ["L3:0=3"], "l3CacheSchema": "L3:0=f"}, ["L3:0=f\n", "L3:0=3\n"]),
    ],
)
def test_the_old_members_are_written_together_and_the_new_one_last(rdt: dict[str, Any], requests: list[str]) -> None:
    assert resctrl.requests(rdt) == requests


def test_schemata_are_written_and_the_process_is_put_into_the_group(root: Path) -> None:
    rdt = {"schemata": ["L3:0=f", "MB:0=20"], "enableMonitoring": True}
    group = resctrl.group(rdt, "x", str(root))
    resctrl.make(rdt, group)
    resctrl.add(group, 4711)
    assert (root / "x" / "schemata").read_text() == "L3:0=f\nMB:0=20\n"
    assert (root / "x" / "tasks").read_text() == (root / "x" / "mon_groups" / "x" / "tasks").read_text() == "4711"
    assert (root / "gold" / "tasks").read_text() == (root / "tasks").read_text() == ""


def test_a_class_that_is_named_alone_has_to_be_there_and_is_not_written_to(root: Path) -> None:
    for closid, directory in (("gold", root / "gold"), ("/", root)):
        group = resctrl.group({"closID": closid}, "x", str(root))
        resctrl.make({"closID": closid}, group)
        resctrl.add(group, 4711)
        assert ((directory / "schemata").read_text(), (directory / "tasks").read_text()) == ("", "4711")
    with pytest.raises(
        AiorunError, match=r'find the resctrl group ".*/silver" \(linux.intelRdt.closID\): no such file or directory'
    ):
        resctrl.make({"closID": "silver"}, resctrl.group({"closID": "silver"}, "x", str(root)))


def test_a_class_that_is_named_with_schemata_is_made(root: Path) -> None:
    rdt = {"closID": "silver", "memBwSchema": "MB:0=20"}
    with pytest.raises(AiorunError, match="set the schemata of"):  # the kernel would have put the file there
        resctrl.make(rdt, resctrl.group(rdt, "x", str(root)))
    assert (root / "silver").is_dir()


def test_the_kernels_own_words_are_told(root: Path) -> None:
    (root / "x" / "schemata").unlink()
    (root / "info" / "last_cmd_status").write_text("Mask f0000 has non-consecutive 1-bits\n")
    rdt = {"schemata": ["L3:0=5"]}
    with pytest.raises(AiorunError) as failure:
        resctrl.make(rdt, resctrl.group(rdt, "x", str(root)))
    assert str(failure.value) == (
        f'set the schemata of the resctrl group "{root}/x" (linux.intelRdt): no such file or directory '
        "(Mask f0000 has non-consecutive 1-bits)"
    )


def test_only_what_is_the_containers_own_is_removed(tmp_path: Path) -> None:
    """On resctrl a directory goes with the files that the kernel has put into it."""
    for name in ("x", "gold/mon_groups/x"):
        (tmp_path / name).mkdir(parents=True)
    for rdt in ({"closID": "gold"}, {"closID": "/"}):
        resctrl.remove(resctrl.group(rdt, "x", str(tmp_path)))
    assert (tmp_path / "gold" / "mon_groups" / "x").is_dir()
    own = resctrl.group({}, "x", str(tmp_path))
    resctrl.remove(own)
    resctrl.remove(own)  # by a delete that is done again
    resctrl.remove(resctrl.group({"closID": "gold", "enableMonitoring": True}, "x", str(tmp_path)))
    assert not (tmp_path / "x").exists()
    assert list((tmp_path / "gold" / "mon_groups").iterdir()) == []


def test_without_resctrl_a_container_that_wants_it_is_refused(aiorun: CommandLine, bundle: Bundles) -> None:
    if " - resctrl " in Path("/proc/self/mountinfo").read_text():
        pytest.skip("this host has resctrl")
    ended = aiorun("run", "--bundle", bundle({"linux": {"intelRdt": {"closID": "/"}}}, args=["echo", "ran"]), "x")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "linux.intelRdt: no resctrl file system is mounted on this host" in ended.stderr
    assert "container does not exist" in aiorun("state", "x").stderr
    assert aiorun("run", "--bundle", bundle({"linux": {"intelRdt": {}}}, args=["echo", "ran"]), "x", check=True).stdout == "ran\n"
