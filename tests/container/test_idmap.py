"""Mounts whose ids are mapped: uidMappings and gidMappings of a mount, idmap and ridmap. config.md, "Mounts"; mount_setattr(2).

runc has them since 1.2, so that the tests are of aiorun alone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, Bundles, Change, CommandLine, Config, need_root
from tests.container.configs import both, writable
from tests.container.conftest import Mounts, Sandbox
from tests.container.users import FIRST, MappedBundles, joining

OWN = {
    "uidMappings": [{"containerID": 0, "hostID": 7000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 8000, "size": 5}, {"containerID": 5, "hostID": 9000, "size": 5}],
}
SHOW = "stat -c '%u %g' "


@pytest.fixture
def source(mounted: Mounts) -> Path:
    """A file system with one below it, in each a file of user 1 and group 6."""
    outer = mounted("source", "-t", "tmpfs", "tmpfs")
    inner = mounted("source/inner", "-t", "tmpfs", "tmpfs")
    for directory in (outer, inner):
        (directory / "file").write_text("text")
        os.chown(directory / "file", 1, 6)
        directory.chmod(0o777)
    return outer


def bound(source: Path, options: str, **members: object) -> Change:
    def apply(config: Config) -> None:
        mount = {"destination": "/mnt", "type": "none", "source": str(source), "options": options.split(",")}
        config["mounts"].append({**mount, **members})

    return writable(apply)


def test_a_mounts_own_maps_show_its_files_as_others_and_their_makers_too(ours: Sandbox, source: Path) -> None:
    script = f"{SHOW} /mnt/file; cd /mnt; echo x > new; {SHOW} new; echo $?"
    user = {"process": {"user": {"uid": 7002, "gid": 8001}}}
    assert ours(both(bound(source, "bind,idmap", **OWN), user), script).split() == ["7001", "9001", "7002", "8001", "0"]
    assert (os.stat(source / "new").st_uid, os.stat(source / "new").st_gid) == (2, 1)


@pytest.mark.parametrize(
    ("options", "inner"), [("rbind,idmap", "1 6"), ("rbind,ridmap", "7001 9001"), ("rbind", "1 6"), ("bind,ridmap", "")]
)
def test_idmap_is_for_the_mount_itself_and_ridmap_for_all_below_it(ours: Sandbox, source: Path, options: str, inner: str) -> None:
    """Maps without either option are as idmap."""
    shown = ours(bound(source, options, **OWN), f"{SHOW} /mnt/file; {SHOW} /mnt/inner/file 2>/dev/null || true").splitlines()
    assert shown == ["7001 9001", *([inner] if inner else [])]


def test_the_other_options_hold_too(ours: Sandbox, source: Path) -> None:
    options = "rbind,ridmap,ro,rnoexec,nosuid"
    flags = "grep ' /mnt' /proc/self/mountinfo | cut -d ' ' -f 6"
    outer, inner = ours(bound(source, options, **OWN), flags).splitlines()
    assert {"ro", "nosuid", "noexec"} <= {*outer.split(",")}
    assert "noexec" in inner.split(",") and "nosuid" not in inner.split(",")


def test_a_file_is_mapped_as_well(ours: Sandbox, source: Path) -> None:
    assert ours(bound(source / "file", "bind", **OWN), f"{SHOW} /mnt; cat /mnt") == "7001 9001\ntext"


def test_two_mounts_have_different_maps(ours: Sandbox, source: Path) -> None:
    second = {name: [{"containerID": 0, "hostID": 500, "size": 10}] for name in OWN}

    def change(config: Config) -> None:
        for number, maps in enumerate((OWN, second)):
            mount = {"destination": f"/mnt{number}", "source": str(source), "options": ["bind"]}
            config["mounts"].append({**mount, **maps})

    assert ours(writable(change), f"{SHOW} /mnt0/file /mnt1/file").splitlines() == ["7001 9001", "501 506"]


# --- with a user namespace


@pytest.fixture
def users(aiorun: CommandLine, cgroup_parent: str, tmp_path: Path) -> Sandbox:
    """Containers with a user namespace, whose root is FIRST."""
    need_root()
    return Sandbox(aiorun, MappedBundles(tmp_path, cgroup_parent))


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_without_maps_of_its_own_it_has_the_containers(users: Sandbox, source: Path, option: str) -> None:
    """So the host's root's files are the container's root's, and what it makes is the host's."""
    os.chown(source / "file", 0, 3)
    assert users(bound(source, f"rbind,{option}"), f"{SHOW} /mnt/file; echo x > /mnt/new; {SHOW} /mnt/new") == "0 3\n0 0"
    assert os.stat(source / "new").st_uid == 0


def test_maps_of_its_own_count_more_than_the_containers(users: Sandbox, source: Path) -> None:
    maps = {name: [{"containerID": 0, "hostID": FIRST + 40, "size": 10}] for name in OWN}
    assert users(bound(source, "bind,idmap", **maps), f"{SHOW} /mnt/file") == "41 46"


def test_it_has_the_maps_of_a_user_namespace_that_is_joined(
    users: Sandbox, source: Path, aiorun: CommandLine, container: Callable[..., str]
) -> None:
    pod = container(users.bundle(args=["sleep", "1000"]))
    aiorun("start", pod, check=True)
    change = both(joining(aiorun.state(pod)["pid"]), bound(source, "bind,idmap"))
    assert users(change, f"{SHOW} /mnt/file") == "1 6"


# --- what can't be


def test_it_takes_maps_or_a_user_namespace(ours: Sandbox, source: Path) -> None:
    error = ours.refuses(bound(source, "bind,idmap"))
    assert "mounts[7]: id-mapped mounts need uidMappings and gidMappings, or a user namespace" in error
    only = {"uidMappings": OWN["uidMappings"]}
    assert "mounts[7].gidMappings: is required" in ours.refuses(bound(source, "bind,idmap", **only))


@pytest.mark.parametrize("options", ["idmap", "remount,bind,idmap"])
def test_only_bind_mounts_have_it(ours: Sandbox, source: Path, options: str) -> None:
    def change(config: Config) -> None:
        config["mounts"].append({"destination": "/mnt", "type": "tmpfs", "source": "x", "options": options.split(","), **OWN})

    assert "mounts[7]: id-mapped mounts are only supported for bind mounts" in ours.refuses(writable(change))


def test_a_file_system_that_cannot_is_named_and_nothing_is_left(ours: Sandbox) -> None:
    error = ours.refuses(bound(Path("/proc"), "bind,idmap", **OWN))
    assert 'map the ids of the mount "/proc" (mounts[7]) (not every file system' in error
    assert "invalid argument" in error
    missing = ours.refuses(bound(Path("/no/such"), "bind,idmap", **OWN))
    assert 'mount "/no/such" (mounts[7]): no such file or directory' in missing


def test_maps_that_the_kernel_does_not_take_are_an_error(ours: Sandbox, source: Path) -> None:
    twice = {name: maps[:1] * 2 for name, maps in OWN.items()}
    assert f'map the ids of the mount "{source}" (mounts[7])' in ours.refuses(bound(source, "bind", **twice))


def test_the_library_has_them(ours: Sandbox, bundle: Bundles, source: Path, tmp_path: Path) -> None:
    """There it is the launcher that maps."""
    made = bundle(bound(source, "rbind,ridmap", **OWN), args=["sh", "-c", f"{SHOW} /mnt/inner/file"])
    script = tmp_path / "supervisor.py"
    script.write_text(
        "import sys, trio, aiorun\n"
        "async def main():\n"
        "    async with aiorun.Runtime(root=sys.argv[1]) as runtime:\n"
        "        for _ in range(3):\n"
        "            async with runtime.container('job', bundle=sys.argv[2], stdout=aiorun.PIPE) as job:\n"
        "                await job.start()\n"
        "                print((await job.stdout.receive_some()).decode(), (await job.wait()).code)\n"
        "trio.run(main)\n"
    )
    argv = [str(CHECKOUT / ".venv/bin/python"), str(script), str(tmp_path / "supervised"), str(made)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert ended.stdout.split() == ["7001", "9001", "0"] * 3, ended.stderr
