"""mounts[]: sources, destinations and file systems, in a container that runs. config.md, "Mounts"."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.conftest import Change, Config
from tests.container.configs import both, mounting, writable
from tests.container.conftest import Mounts, Sandbox


def make_sources(bundle: Path) -> None:
    """What the mounts below take from the bundle, and links in the root file system that lead here and there."""
    (bundle / "src").mkdir()
    (bundle / "src" / "f").write_text("of the directory\n")
    (bundle / "file").write_text("of the file\n")
    rootfs = bundle / "rootfs"
    (rootfs / "mnt").mkdir()
    (rootfs / "mnt").chmod(0o1750)
    (rootfs / "inside").symlink_to("mnt")
    (rootfs / "dangling").symlink_to("/mnt/deep")
    (rootfs / "outside").symlink_to("../../../../opt/new")
    (rootfs / "far").symlink_to("/dangling/deeper")
    (rootfs / "loop").symlink_to("/loop")


def run(sandbox: Sandbox, change: Change, script: str) -> CompletedProcess[str]:
    bundle = sandbox.bundle(change, args=["sh", "-c", script])
    make_sources(bundle)
    return sandbox.run_bundle(bundle)


def printed(sandbox: Sandbox, change: Change, script: str) -> str:
    ended = run(sandbox, change, script)
    assert ended.returncode == 0, ended
    return ended.stdout


def refused(sandbox: Sandbox, change: Change) -> str:
    ended = run(sandbox, change, "echo the program ran")
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    return ended.stderr.replace('\\"', '"')


# what is bound, where → where it is found
BOUND: dict[str, tuple[str, str, str]] = {
    "a directory on a directory": ("src", "/mnt", "/mnt/f"),
    "a directory on a missing one": ("src", "/new/deep/er", "/new/deep/er/f"),
    "a file on a file": ("file", "/etc/passwd", "/etc/passwd"),
    "a file on a missing one": ("file", "/new/deep/file", "/new/deep/file"),
    "an absolute source": ("/etc/hostname", "/etc/name", "/etc/name"),
    "a source with dots": ("./src/../src", "/mnt", "/mnt/f"),
    "by a link": ("src", "/inside", "/mnt/f"),
    "by a dangling link": ("src", "/dangling", "/mnt/deep/f"),
    "below a dangling link": ("src", "/dangling/x", "/mnt/deep/x/f"),
    "by a link that leads out of the root": ("src", "/outside", "/opt/new/f"),
    "by a link to a link": ("src", "/far", "/mnt/deep/deeper/f"),
    "a destination that climbs out of the root": ("src", "/../../up/../mnt", "/mnt/f"),
    "a relative destination": ("src", "mnt/relative", "/mnt/relative/f"),
    "a destination with spaces": ("src", "/a b\tc\\d", "/a b\tc\\d/f"),
    "a destination in UTF-8": ("src", "/größe", "/größe/f"),
    "a destination with slashes": ("src", "//mnt///x//", "/mnt/x/f"),
}


@pytest.mark.parametrize("case", BOUND)
def test_a_bind_is_found_where_its_destination_resolves_inside_the_root(sandbox: Sandbox, case: str) -> None:
    source, destination, found = BOUND[case]
    expected = Path(source).read_text() if source.startswith("/") else f"of the {'file' if source == 'file' else 'directory'}\n"
    host_before = set(os.listdir("/opt"))
    assert printed(sandbox, mounting(destination, kind="bind", source=source, options="bind"), f"cat '{found}'") == expected
    assert set(os.listdir("/opt")) == host_before


def test_directories_and_files_that_are_made_to_be_mounted_on_are_0755(ours: Sandbox) -> None:
    """Whatever the caller's umask, which runc 1.1.5 lets through."""
    change = mounting("/new/deep/er", kind="bind", source="file", options="bind")
    old = os.umask(0o077)
    try:
        assert printed(ours, change, "stat -c '%a %F' /new /new/deep").splitlines() == ["755 directory", "755 directory"]
    finally:
        os.umask(old)


def test_a_bind_may_be_read_only_in_one_place_and_writable_in_another(sandbox: Sandbox) -> None:
    change = both(
        mounting("/mnt", kind="bind", source="src", options="bind"), mounting("/ro", kind="bind", source="src", options="bind,ro")
    )
    ended = run(sandbox, change, "touch /mnt/x; ls /ro; touch /ro/y")
    assert ended.stdout.split() == ["f", "x"]
    assert "Read-only file system" in ended.stderr


REFUSED: dict[str, tuple[Change, str]] = {
    "a missing source": (mounting("/mnt", kind="bind", source="nosuch", options="bind"), "no such file or directory"),
    "a directory on a file": (mounting("/bin/busybox", kind="bind", source="src", options="bind"), "not a directory"),
    "a file on a directory": (mounting("/mnt", kind="bind", source="file", options="bind"), "not a directory"),
    "through a file": (mounting("/etc/passwd/x", kind="bind", source="file", options="bind"), "not a directory"),
    "a loop of links": (mounting("/loop/x", kind="bind", source="file", options="bind"), "too many levels of symbolic links"),
    "an unknown file system": (mounting("/mnt", kind="nosuchfs"), "no such device"),
    "proc by a link": (mounting("/inside", kind="proc", source="proc"), "must be mounted on ordinary directory"),
    "sysfs by a link": (mounting("/inside", kind="sysfs", source="sysfs"), "must be mounted on ordinary directory"),
    "a part of proc": (mounting("/proc/self/environ", kind="bind", source="file", options="bind"), "inside /proc"),
    "a directory of proc": (mounting("/proc/sys/kernel", kind="bind", source="src", options="bind"), "inside /proc"),
    "proc covered by a bind": (mounting("/proc", kind="bind", source="src", options="bind"), "proc"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mount_that_cannot_be_is_refused_with_a_reason(sandbox: Sandbox, case: str) -> None:
    change, reason = REFUSED[case]
    assert reason in refused(sandbox, change)


REFUSED_BY_US: dict[str, tuple[Change, str]] = {
    "a tmpfs in proc": (mounting("/proc/sys/fs"), "inside /proc"),
    "a tmpfs on proc": (mounting("/proc"), 'mounts[7]: "/proc" cannot be covered by something that is not proc'),
    "the root": (
        mounting("/", kind="bind", source="src", options="bind"),
        "mounts[7].destination: must not be the root directory",
    ),
    "nothing": (lambda config: config["mounts"].append({"destination": "/mnt"}), "(mounts[7]): no such device"),
}


@pytest.mark.parametrize("case", REFUSED_BY_US)
def test_a_mount_that_makes_no_sense_is_refused_with_its_place(ours: Sandbox, case: str) -> None:
    change, reason = REFUSED_BY_US[case]
    assert reason in refused(ours, change)


@pytest.mark.parametrize(("destination", "index"), [("proc", 0), ("sys", 5)])
@pytest.mark.parametrize("what", ["a link", "a file"])
def test_an_image_whose_proc_or_sys_is_no_directory_is_refused(sandbox: Sandbox, destination: str, index: int, what: str) -> None:
    """CVE-2019-19921: what is mounted would be found elsewhere than where masks and labels look for it."""
    bundle = sandbox.bundle(args=["echo", "ran"])
    place = bundle / "rootfs" / destination
    place.rmdir()
    if what == "a link":
        place.symlink_to("tmp")
    else:
        place.write_text("")
    ended = sandbox.run_bundle(bundle)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "must be mounted on ordinary directory" in ended.stderr
    assert f"(mounts[{index}])" in ended.stderr or "runc" in sandbox.command_line.command


@pytest.mark.parametrize("name", ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg"])
def test_files_of_proc_that_lxcfs_and_its_kind_cover_may_be_covered(sandbox: Sandbox, name: str) -> None:
    assert (
        printed(sandbox, mounting(f"/proc/{name}", kind="bind", source="file", options="bind"), f"cat /proc/{name}")
        == "of the file\n"
    )


def test_a_procfs_of_the_host_may_be_bound(sandbox: Sandbox) -> None:
    def change(config: Config) -> None:
        config["mounts"][0] = {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}

    here = str(os.getpid())
    assert printed(sandbox, change, f"test -d /proc/{here} && echo seen") == "seen\n"


@pytest.mark.parametrize(("options", "mode"), [("", "1750"), ("size=1m", "1750")])
def test_a_tmpfs_takes_the_mode_of_the_directory_that_it_covers(sandbox: Sandbox, options: str, mode: str) -> None:
    assert printed(sandbox, mounting("/mnt", options=options), "stat -c %a /mnt") == f"{mode}\n"


def test_a_tmpfs_on_a_directory_that_was_not_there_has_its_own_mode(sandbox: Sandbox) -> None:
    assert printed(sandbox, mounting("/new"), "stat -c %a /new") == "1777\n"


def test_the_mode_of_a_tmpfs_may_be_given(ours: Sandbox) -> None:
    """runc 1.1.5 changes it to that of the directory; since 1.2 it doesn't."""
    assert printed(ours, mounting("/mnt", options="mode=0711"), "stat -c %a /mnt") == "711\n"


def test_a_read_only_tmpfs_takes_later_mounts_in(sandbox: Sandbox) -> None:
    change = both(mounting("/mnt", options="ro"), mounting("/mnt/in/side", kind="bind", source="src", options="bind"))
    ended = run(sandbox, change, "cat /mnt/in/side/f; touch /mnt/in/side/y && echo writable; touch /mnt/x")
    assert ended.stdout == "of the directory\nwritable\n"
    assert "Read-only file system" in ended.stderr


@pytest.mark.parametrize("covered", ["/mnt", "/mnt/in"])
def test_a_read_only_tmpfs_that_is_covered_seals_nothing_else(ours: Sandbox, covered: str) -> None:
    """runc seals whatever has the name at the end."""
    assert printed(ours, both(mounting(covered, options="ro"), mounting("/mnt")), "touch /mnt/x && echo writable") == "writable\n"


@pytest.mark.parametrize("options", ["noatime", "nodiratime", "strictatime", "noatime,ro"])
def test_a_cgroup_mount_takes_the_flags_of_any(ours: Sandbox, options: str) -> None:
    def change(config: Config) -> None:
        writable(config)
        (mount,) = (mount for mount in config["mounts"] if mount["type"] == "cgroup")
        mount["options"] = ["nosuid", "noexec", "nodev", "rslave", *options.split(",")]

    script = "awk '$5 ~ /^\\/sys\\/fs\\/cgroup/ { print $6 }' /proc/self/mountinfo"
    wanted = {option for option in options.split(",") if option != "strictatime"} | {"nosuid", "nodev", "noexec"}
    seen = printed(ours, change, script).split()
    assert seen
    for flags in seen:
        assert wanted <= set(flags.split(","))
        assert ("relatime" in flags) == ("noatime" not in options and "strictatime" not in options)


def test_a_mount_of_dev_itself_may_be_read_only(sandbox: Sandbox) -> None:
    def change(config: Config) -> None:
        config["mounts"][1]["options"].append("ro")

    ended = run(sandbox, change, "ls -d /dev/null /dev/fd; touch /dev/x")
    assert ended.stdout == "/dev/fd\n/dev/null\n"
    assert "Read-only file system" in ended.stderr


def test_mqueue_and_devpts_take_their_options(sandbox: Sandbox) -> None:
    change = both(
        mounting("/mq", kind="mqueue", source="mqueue", options="nosuid,noexec,nodev"),
        mounting("/pts", kind="devpts", source="devpts", options="newinstance,ptmxmode=0640,mode=0600,gid=7"),
    )
    script = "awk '$5 ~ /^\\/(mq|pts)$/ { sub(/^.* - /, \"\"); print }' /proc/self/mountinfo; stat -c %a /pts/ptmx"
    assert printed(sandbox, change, script).splitlines() == [
        "mqueue mqueue rw",
        "devpts devpts rw,gid=7,mode=600,ptmxmode=640",
        "640",
    ]


def test_proc_and_sysfs_may_be_mounted_on_any_ordinary_directory(sandbox: Sandbox) -> None:
    change = both(mounting("/mnt/p", kind="proc", source="proc"), mounting("/mnt/s", kind="sysfs", source="sysfs"))
    assert printed(sandbox, change, "ls -d /mnt/p/self /mnt/s/kernel") == "/mnt/p/self\n/mnt/s/kernel\n"


@pytest.fixture
def layers(mounted: Mounts, tmp_path: Path) -> str:
    """The options of an overlay whose lower directories have long names and a file each, on a tmpfs for what is written."""
    lower = []
    for number in range(4):
        directory = tmp_path / f"layer-{number}-{'x' * 100}"
        directory.mkdir()
        (directory / f"f{number}").write_text(f"{number}\n")
        lower.append(str(directory))
    upper = mounted("writes", "-t", "tmpfs", "tmpfs")
    (upper / "up").mkdir()
    (upper / "work").mkdir()
    return f"lowerdir={':'.join(lower)},upperdir={upper}/up,workdir={upper}/work"


def test_an_overlay_of_layers_too_long_for_fsconfig_can_be_mounted(sandbox: Sandbox, layers: str, tmp_path: Path) -> None:
    change = mounting("/mnt", kind="overlay", source="overlay", options=f"nosuid,{layers}")
    script = "cat /mnt/f?; echo new > /mnt/new; awk '$5 == \"/mnt\" { print $6 }' /proc/self/mountinfo"
    assert printed(sandbox, change, script) == "0\n1\n2\n3\nrw,nosuid,relatime\n"
    assert (tmp_path / "writes" / "up" / "new").read_text() == "new\n"


@pytest.mark.parametrize(
    ("options", "seen"),
    [("ro", "ro,relatime"), ("noatime,noexec", "rw,noexec,noatime"), ("nosymfollow", "rw,relatime,nosymfollow")],
)
def test_flags_reach_a_mount_that_is_too_long_for_fsconfig(sandbox: Sandbox, layers: str, options: str, seen: str) -> None:
    change = mounting("/mnt", kind="overlay", source="overlay", options=f"{options},{layers}")
    assert printed(sandbox, change, "awk '$5 == \"/mnt\" { print $6 }' /proc/self/mountinfo") == f"{seen}\n"


def test_mounts_are_made_in_the_order_given(sandbox: Sandbox) -> None:
    change = both(
        mounting("/mnt", kind="bind", source="src", options="bind"),
        mounting("/mnt"),
        mounting("/mnt/over", kind="bind", source="file", options="bind"),
    )
    assert printed(sandbox, change, "ls /mnt; cat /mnt/over") == "over\nof the file\n"


def test_the_dummy_type_of_a_bind_is_ignored(sandbox: Sandbox) -> None:
    for kind in ("none", "xfs", ""):
        assert printed(sandbox, mounting("/mnt", kind=kind, source="src", options="bind"), "cat /mnt/f") == "of the directory\n"


def test_a_bind_needs_no_option_where_the_type_says_it(ours: Sandbox) -> None:
    for kind in ("bind", "rbind"):
        assert printed(ours, mounting("/mnt", kind=kind, source="src"), "cat /mnt/f") == "of the directory\n"


def test_the_hosts_dev_may_be_bound_and_is_left_as_it_is(sandbox: Sandbox) -> None:
    before = sorted(os.listdir("/dev"))
    change = writable(
        lambda config: config["mounts"].__setitem__(
            slice(1, 5), [{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rslave"]}]
        )
    )
    seen = printed(sandbox, change, "ls /dev").split()
    assert sorted(seen) == sorted(os.listdir("/dev")) == before
