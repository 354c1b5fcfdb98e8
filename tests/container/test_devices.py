"""/dev: default devices, links, linux.devices. config-linux.md, "Devices" and "Default Devices"."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Config
from tests.container.configs import writable
from tests.container.conftest import Sandbox

SHOW = "stat -c '%A %u %g %t %T' "


def device(**members: object) -> Config:
    """linux.devices with this one alone, and access to all devices."""
    return {"linux": {"devices": [members], "resources": {"devices": [{"allow": True, "access": "rwm"}]}}}


def test_the_default_devices_and_links_are_there_and_nothing_else(sandbox: Sandbox) -> None:
    script = "cd /dev; for name in *; do readlink $name || stat -c '%A %u %g %t:%T' $name; done | paste -s -d '|'; echo *"
    *shown, names = sandbox(writable(), script).split("\n")
    seen = dict(zip(names.split(), shown[0].split("|")))
    seen.pop("core", None)  # ours, crun's and podman's: a link to /proc/kcore
    assert seen == {
        "fd": "/proc/self/fd",
        "full": "crw-rw-rw- 0 0 1:7",
        "mqueue": "drwxrwxrwt 0 0 0:0",
        "null": "crw-rw-rw- 0 0 1:3",
        "ptmx": "pts/ptmx",
        "pts": "drwxr-xr-x 0 0 0:0",
        "random": "crw-rw-rw- 0 0 1:8",
        "shm": "drwxrwxrwt 0 0 0:0",
        "stderr": "/proc/self/fd/2",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "tty": "crw-rw-rw- 0 0 5:0",
        "urandom": "crw-rw-rw- 0 0 1:9",
        "zero": "crw-rw-rw- 0 0 1:5",
    }


def test_the_default_devices_work_for_a_user_too(sandbox: Sandbox) -> None:
    script = """
        echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 5 /dev/urandom | wc -c && head -c 7 /dev/random | wc -c
        cat /dev/null | wc -c
        (echo y > /dev/full) 2>/dev/null || echo full
        test -r /dev/ptmx && echo ptmx
    """
    assert sandbox({"process": {"user": {"uid": 1000, "gid": 1000}}}, script).split() == ["3", "5", "7", "0", "full", "ptmx"]


def test_a_device_that_no_rule_allows_cannot_be_used(sandbox: Sandbox) -> None:
    names = ("bounding", "permitted", "effective")
    change = writable({"process": {"capabilities": {name: ["CAP_MKNOD"] for name in names}}})
    assert sandbox(change, "mknod /tmp/kmsg c 1 11; cat /tmp/kmsg || echo refused") == "refused"


MADE: dict[str, tuple[Config, str]] = {
    "a character device": (
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o660, "uid": 5, "gid": 6},
        "crw-rw---- 5 6 a e5",
    ),
    "an unbuffered one": ({"type": "u", "path": "/dev/fuse", "major": 10, "minor": 229}, "crw-rw-rw- 0 0 a e5"),
    "a block device": ({"type": "b", "path": "/dev/blk", "major": 7, "minor": 99, "fileMode": 0o600}, "brw------- 0 0 7 63"),
    "a fifo": ({"type": "p", "path": "/dev/pipe", "fileMode": 0o622}, "prw--w--w- 0 0 0 0"),
    "a fifo with numbers": ({"type": "p", "path": "/dev/pipe", "fileMode": 0o622, "major": 3, "minor": 4}, "prw--w--w- 0 0 0 0"),
    "outside of /dev": ({"type": "c", "path": "/opt/null", "major": 1, "minor": 3}, "crw-rw-rw- 0 0 1 3"),
    "a great minor": ({"type": "c", "path": "/dev/x", "major": 300, "minor": 70000}, "crw-rw-rw- 0 0 12c 11170"),
    "a mode of podman's": (
        {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o20660},
        "crw-rw---- 0 0 a e5",
    ),
    "a mode of nothing": ({"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 0}, "c--------- 0 0 1 3"),
    "a default one": ({"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600}, "crw------- 0 0 1 3"),
    "a path with dots": ({"type": "c", "path": "/dev/../dev/./x", "major": 1, "minor": 3}, "crw-rw-rw- 0 0 1 3"),
    "in a missing directory": ({"type": "c", "path": "/dev/a/b/x", "major": 1, "minor": 3}, "crw-rw-rw- 0 0 1 3"),
}


@pytest.mark.parametrize("case", MADE)
def test_a_device_is_made_with_its_type_numbers_mode_and_owner(sandbox: Sandbox, case: str) -> None:
    members, expected = MADE[case]
    old = os.umask(0o077)
    try:
        assert sandbox(writable(device(**members)), SHOW + str(members["path"])) == expected
    finally:
        os.umask(old)


def test_a_directory_made_for_a_device_is_0755(ours: Sandbox) -> None:
    change = writable(device(type="p", path="/dev/a/b/pipe"))
    assert ours(change, "stat -c %a /dev/a /dev/a/b") == "755\n755"


def test_a_device_that_is_there_already_is_left_as_it_is(sandbox: Sandbox) -> None:
    bundle = sandbox.bundle(device(type="c", path="/node", major=1, minor=3, fileMode=0o666), args=["stat", "-c", "%a", "/node"])
    node = bundle / "rootfs" / "node"
    os.mknod(node, 0o20600, os.makedev(1, 3))
    assert sandbox.run_bundle(bundle).stdout == "600\n"


@pytest.mark.parametrize("what", ["another device", "a file", "a directory", "a link"])
def test_something_else_in_a_devices_place_is_an_error(ours: Sandbox, what: str) -> None:
    """As config-linux.md wants it; runc takes what is there."""
    bundle = ours.bundle(device(type="c", path="/node", major=1, minor=5), args=["echo", "ran"])
    node = bundle / "rootfs" / "node"
    if what == "another device":
        os.mknod(node, 0o20600, os.makedev(1, 3))
    elif what == "a file":
        node.write_text("")
    elif what == "a directory":
        node.mkdir()
    else:
        node.symlink_to("/dev/zero")  # whatever it leads to
    ended = ours.run_bundle(bundle)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "(linux.devices[0]): a different file is there already" in ended.stderr


def test_the_rules_of_listed_devices_are_the_authors_affair(sandbox: Sandbox) -> None:
    """linux.devices makes the node, and with it the right to use it only where a rule says so."""
    config = device(type="c", path="/dev/kmsg2", major=1, minor=11)
    rules = config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    opening = ": > /dev/kmsg2 && echo opened"
    assert "Operation not permitted" in sandbox.run(writable(config), opening).stderr
    rules.append({"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"})
    assert sandbox(writable(config), opening) == "opened"


def test_ptmx_is_replaced_where_the_image_has_one_of_its_own(sandbox: Sandbox) -> None:
    def without_dev(config: Config) -> None:
        config["root"]["readonly"] = False
        config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
        config["mounts"].append({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]})

    bundle = sandbox.bundle(without_dev, args=["readlink", "/dev/ptmx", "/dev/fd"])
    (bundle / "rootfs" / "dev" / "ptmx").write_text("the image's")
    sandbox.run_bundle(bundle)
    dev = bundle / "rootfs" / "dev"
    assert os.readlink(dev / "ptmx") == "pts/ptmx"
    assert os.readlink(dev / "fd") == "/proc/self/fd"
    assert sorted(path.name for path in dev.iterdir() if path.name != "core") == sorted(
        "fd full null ptmx pts random stderr stdin stdout tty urandom zero".split()
    )


def test_a_link_of_the_images_own_is_left_alone(sandbox: Sandbox) -> None:
    def without_dev(config: Config) -> None:
        config["root"]["readonly"] = False
        config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]

    bundle = sandbox.bundle(without_dev, args=["readlink", "/dev/stdin"])
    Path(bundle / "rootfs" / "dev" / "stdin").symlink_to("elsewhere")
    assert sandbox.run_bundle(bundle).stdout == "elsewhere\n"
