"""tmpcopyup: a tmpfs that begins with what it covers. config.md, "Linux mount options"."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Change
from tests.container.configs import both, mounting
from tests.container.conftest import Sandbox

LIST = "cd /mnt && find . -mindepth 1 -exec stat -c '%n %F %a %u:%g %s' {} +"


def furnish(rootfs: Path) -> Path:
    """A directory with a file of each kind in it."""
    mnt = rootfs / "mnt"
    (mnt / "d" / "deeper").mkdir(parents=True)
    (mnt / "d" / "deeper" / "file").write_text("deep\n")
    (mnt / "f").write_text("of the image\n")
    (mnt / "empty").touch()
    (mnt / "größe \t").write_text("x")
    (mnt / "l").symlink_to("/etc/passwd")
    (mnt / "dangling").symlink_to("/nowhere")
    for name, uid, mode in (("f", 7, 0o4755), ("d", 2, 0o1705), ("empty", 0, 0)):
        os.chown(mnt / name, uid, uid + 1)
        (mnt / name).chmod(mode)
    os.lchown(mnt / "l", 3, 4)
    return mnt


def run(sandbox: Sandbox, change: Change, script: str) -> str:
    bundle = sandbox.bundle(change, args=["sh", "-c", script])
    furnish(bundle / "rootfs")
    ended = sandbox.run_bundle(bundle)
    assert ended.returncode == 0, ended
    return ended.stdout


def test_a_tmpfs_begins_with_what_it_covers(sandbox: Sandbox) -> None:
    copied = run(sandbox, mounting("/mnt", options="tmpcopyup"), f"{LIST}; cat f d/deeper/file; readlink l")
    lines = copied.splitlines()
    assert [*sorted(lines[:-3]), *lines[-3:]] == [
        "./d directory 1705 2:3 60",
        "./d/deeper directory 755 0:0 60",
        "./d/deeper/file regular file 644 0:0 5",
        "./dangling symbolic link 777 0:0 8",
        "./empty regular empty file 0 0:1 0",
        "./f regular file 4755 7:8 13",
        "./größe \t regular file 644 0:0 1",
        "./l symbolic link 777 3:4 11",
        "of the image",
        "deep",
        "/etc/passwd",
    ]


def test_the_copy_is_written_to_and_the_image_is_not(sandbox: Sandbox) -> None:
    bundle = sandbox.bundle(mounting("/mnt", options="tmpcopyup"), args=["sh", "-c", "echo new > /mnt/f; rm /mnt/l; cat /mnt/f"])
    mnt = furnish(bundle / "rootfs")
    (mnt / "f").chmod(0o666)
    assert sandbox.run_bundle(bundle).stdout == "new\n"
    assert (mnt / "f").read_text() == "of the image\n"
    assert (mnt / "l").is_symlink()


def test_devices_fifos_and_attributes_are_copied_and_a_socket_is_not(ours: Sandbox) -> None:
    """runc 1.1.5 fails for devices."""
    bundle = ours.bundle(
        mounting("/mnt", options="tmpcopyup"), args=["stat", "-c", "%n %F %a %t:%T %Y", "/mnt/p", "/mnt/n", "/mnt/f", "/mnt/d"]
    )
    mnt = furnish(bundle / "rootfs")
    os.mkfifo(mnt / "p", 0o600)
    os.mknod(mnt / "n", 0o20640, os.makedev(1, 3))
    os.mknod(mnt / "s", 0o140600)
    for name in ("f", "d"):
        os.utime(mnt / name, (1, 2))
    seen = [line.rpartition(" ") for line in ours.run_bundle(bundle).stdout.splitlines()]
    assert [before for before, _, _ in seen] == [
        "/mnt/p fifo 600 0:0",
        "/mnt/n character special file 640 1:3",
        "/mnt/f regular file 4755 0:0",
        "/mnt/d directory 1705 0:0",
    ]
    assert [time for _, _, time in seen[2:]] == ["2", "2"]


def test_options_are_those_of_the_tmpfs_after_the_copy(ours: Sandbox) -> None:
    options = "tmpcopyup,ro,noexec,size=64k,mode=711"
    seen = run(ours, mounting("/mnt", options=options), "awk '$5 == \"/mnt\" { print $6, $NF }' /proc/self/mountinfo; cat /mnt/f")
    flags, words, text = seen.split(maxsplit=2)
    assert (flags, text) == ("ro,noexec,relatime", "of the image\n")
    assert {"size=64k", "mode=711"} <= set(words.split(","))


def test_a_copy_may_cover_a_mount(ours: Sandbox) -> None:
    change = both(mounting("/mnt", also={}), mounting("/mnt/x"), mounting("/mnt", options="tmpcopyup"))
    assert run(ours, change, "ls /mnt") == "x\n"


def test_where_nothing_is_there_is_nothing_to_copy(sandbox: Sandbox) -> None:
    assert run(sandbox, mounting("/new", options="tmpcopyup"), "ls -A /new; stat -c %a /new") == "1777\n"


def test_more_than_fits_is_an_error(ours: Sandbox) -> None:
    bundle = ours.bundle(mounting("/mnt", options="tmpcopyup,size=64k"), args=["echo", "ran"])
    (furnish(bundle / "rootfs") / "big").write_bytes(bytes(1 << 17))
    ended = ours.run_bundle(bundle)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert 'mount \\"tmpfs\\" on \\"/mnt\\" (mounts[7]): no space left on device' in ended.stderr


@pytest.mark.parametrize(
    ("kind", "options"),
    [("bind", "bind,tmpcopyup"), ("ext4", "tmpcopyup"), ("tmpfs", "remount,tmpcopyup"), ("mqueue", "tmpcopyup")],
)
def test_only_a_new_tmpfs_can_begin_with_a_copy(ours: Sandbox, kind: str, options: str) -> None:
    said = ours.refuses(mounting("/mnt", kind=kind, options=options))
    place = options.split(",").index("tmpcopyup")
    assert f"mounts[7].options[{place}]: only a new tmpfs can begin with a copy of what it covers" in said
