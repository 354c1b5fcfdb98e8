"""mounts[].options: each one's effect in the container's own mountinfo. config.md, "Linux mount options"."""

from __future__ import annotations

import re

import pytest

from tests.container.configs import mounting
from tests.container.conftest import Sandbox

# per-mount options, propagation and the file system's own options of what is on /mnt
# Without inode64, which some kernels are configured to have.
SHOW = (
    """awk '$5 == "/mnt" { sub(/^.* \\/mnt /, ""); sub(/ - [a-z]* [a-z]*/, ""); sub(/,inode64/, ""); line = $0 } """
    """END { print line }' /proc/self/mountinfo"""
)

PLAIN = "rw,relatime rw"

# options of a tmpfs → what is seen of it
SEEN: dict[str, str] = {
    "": PLAIN,
    "rw": PLAIN,
    "suid": PLAIN,
    "dev": PLAIN,
    "exec": PLAIN,
    "async": PLAIN,
    "atime": PLAIN,
    "diratime": PLAIN,
    "relatime": PLAIN,
    "norelatime": PLAIN,
    "nostrictatime": PLAIN,
    "symfollow": PLAIN,
    "iversion": PLAIN,
    "noiversion": PLAIN,
    "nolazytime": PLAIN,
    "silent": PLAIN,
    "loud": PLAIN,
    "nomand": PLAIN,
    "private": PLAIN,
    "rprivate": PLAIN,
    "slave": PLAIN,  # of nobody
    "rslave": PLAIN,
    "ro": "ro,relatime rw",
    "nosuid": "rw,nosuid,relatime rw",
    "nodev": "rw,nodev,relatime rw",
    "noexec": "rw,noexec,relatime rw",
    "noatime": "rw,noatime rw",
    "nodiratime": "rw,nodiratime,relatime rw",
    "strictatime": "rw rw",
    "nosymfollow": "rw,relatime,nosymfollow rw",
    "sync": "rw,relatime rw,sync",
    "dirsync": "rw,relatime rw,dirsync",
    "lazytime": "rw,relatime rw,lazytime",
    "mand": "rw,relatime rw,mand",
    "shared": "rw,relatime shared:1 rw",
    "rshared": "rw,relatime shared:1 rw",
    "unbindable": "rw,relatime unbindable rw",
    "runbindable": "rw,relatime unbindable rw",
    "size=1m": "rw,relatime rw,size=1024k",
    "uid=5,gid=6": "rw,relatime rw,uid=5,gid=6",
    "nr_inodes=99": "rw,relatime rw,nr_inodes=99",
    # of two that contradict each other the last counts
    "ro,rw": PLAIN,
    "rw,ro": "ro,relatime rw",
    "nosuid,suid": PLAIN,
    "noexec,exec,noexec": "rw,noexec,relatime rw",
    "noatime,atime": PLAIN,
    "noatime,nostrictatime": "rw,noatime rw",
    "strictatime,atime": "rw rw",
    "strictatime,nostrictatime": PLAIN,
    "sync,async": PLAIN,
    "lazytime,nolazytime": PLAIN,
    "mand,nomand": PLAIN,
    "nodiratime,diratime": PLAIN,
    "nosymfollow,symfollow": PLAIN,
    "noatime,strictatime": "rw rw",
    "nosuid,nodev,noexec,ro,size=4k": "ro,nosuid,nodev,noexec,relatime rw,size=4k",
}


@pytest.mark.parametrize("options", SEEN)
def test_each_option_of_a_mount_is_seen_in_mountinfo(sandbox: Sandbox, options: str) -> None:
    seen = sandbox(mounting("/mnt", options=options), SHOW)
    assert re.sub(r"shared:\d+", "shared:1", seen.replace(",mode=755", "")) == SEEN[options]


# runc 1.1.5 has no `defaults`, and recursive attributes have no effect on what isn't bound.
RECURSIVE: dict[str, str] = {
    "defaults": PLAIN,
    "rro": "ro,relatime rw",
    "rro,rrw": PLAIN,
    "rnosuid": "rw,nosuid,relatime rw",
    "rnodev": "rw,nodev,relatime rw",
    "rnoexec": "rw,noexec,relatime rw",
    "rnoatime": "rw,noatime rw",
    "rstrictatime": "rw rw",
    "rrelatime": PLAIN,
    "rnodiratime": "rw,nodiratime,relatime rw",
    "rnosymfollow": "rw,relatime,nosymfollow rw",
    "noexec,rexec": PLAIN,
}


@pytest.mark.parametrize("options", RECURSIVE)
def test_what_runc_1_1_5_ignores_or_refuses_is_seen_too(ours: Sandbox, options: str) -> None:
    seen = ours(mounting("/mnt", options=options), SHOW)
    assert seen.replace(",mode=755", "") == RECURSIVE[options]


TREE = """awk '$5 ~ /^\\/mnt/ { print $5, $6 }' /proc/self/mountinfo"""

# options of an rbind of a tree (a noexec tmpfs with a nosuid one in it) → what is seen of both
OF_TREE: dict[str, tuple[str, str]] = {
    "": ("rw,noexec,relatime", "rw,nosuid,relatime"),
    "rro": ("ro,noexec,relatime", "ro,nosuid,relatime"),
    "rexec,rsuid,rnodev": ("rw,nodev,relatime", "rw,nodev,relatime"),
    "ro,rnosuid,rnoexec": ("ro,nosuid,noexec,relatime", "rw,nosuid,noexec,relatime"),
    "rnoatime": ("rw,noexec,noatime", "rw,nosuid,noatime"),
    "rstrictatime": ("rw,noexec", "rw,nosuid"),
    "rexec": ("rw,relatime", "rw,nosuid,relatime"),
    "rsuid": ("rw,noexec,relatime", "rw,relatime"),
    "rnorelatime": ("rw,noexec,relatime", "rw,nosuid,relatime"),
    "rnodiratime,rnosymfollow": ("rw,noexec,nodiratime,relatime,nosymfollow", "rw,nosuid,nodiratime,relatime,nosymfollow"),
}


@pytest.mark.parametrize("options", OF_TREE)
def test_recursive_options_of_a_bind_reach_the_whole_tree(sandbox: Sandbox, options: str, tree: str) -> None:
    seen = sandbox(mounting("/mnt", kind="none", source=tree, options=f"rbind,{options}".rstrip(",")), TREE)
    assert seen.split("\n") == [f"/mnt {OF_TREE[options][0]}", f"/mnt/deeper {OF_TREE[options][1]}"]


# runc's bind remount begins without any flag, so that the source's own (noexec here) are lost, where mount(8) keeps them. And of
# two recursive options that contradict each other runc 1.1.5 takes one, we the last.
KEPT: dict[str, tuple[str, str]] = {
    "ro": ("ro,noexec,relatime", "rw,nosuid,relatime"),
    "exec": ("rw,relatime", "rw,nosuid,relatime"),
    "nosuid,rro": ("ro,nosuid,noexec,relatime", "ro,nosuid,relatime"),
    "rro,rrw": ("rw,noexec,relatime", "rw,nosuid,relatime"),
    "rnodev,rdev": ("rw,noexec,relatime", "rw,nosuid,relatime"),
    "rnoatime,ratime": ("rw,noexec,relatime", "rw,nosuid,relatime"),
    "rnoatime,rrelatime": ("rw,noexec,relatime", "rw,nosuid,relatime"),
    "rstrictatime,rnostrictatime": ("rw,noexec,relatime", "rw,nosuid,relatime"),
    "rnodiratime,rdiratime": ("rw,noexec,relatime", "rw,nosuid,relatime"),
    "rnosymfollow,rsymfollow": ("rw,noexec,relatime", "rw,nosuid,relatime"),
}


@pytest.mark.parametrize("options", KEPT)
def test_a_bind_keeps_the_flags_of_its_source_that_nobody_asks_to_change(ours: Sandbox, options: str, tree: str) -> None:
    seen = ours(mounting("/mnt", kind="none", source=tree, options=f"rbind,{options}"), TREE)
    assert seen.split("\n") == [f"/mnt {KEPT[options][0]}", f"/mnt/deeper {KEPT[options][1]}"]


def test_bind_leaves_the_mounts_below_its_source_out_where_rbind_takes_them(ours: Sandbox, tree: str) -> None:
    assert ours(mounting("/mnt", kind="bind", source=tree, options="bind,ro"), TREE) == "/mnt ro,noexec,relatime"


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ("rbind", ["", ""]),
        ("rbind,shared", ["shared", ""]),
        ("rbind,rshared", ["shared", "shared"]),
        ("rbind,runbindable", ["unbindable", "unbindable"]),
        ("rbind,rshared,private", ["", "shared"]),
    ],
)
def test_propagation_of_a_bind_reaches_the_tree_where_it_is_recursive(
    sandbox: Sandbox, tree: str, options: str, seen: list[str]
) -> None:
    script = """awk '$5 ~ /^\\/mnt/ { sub(/:.*/, "", $7); print ($7 == "-" ? "" : $7) }' /proc/self/mountinfo"""
    assert sandbox.run(mounting("/mnt", kind="bind", source=tree, options=options), script).stdout.splitlines() == seen


def test_an_option_that_nothing_knows_is_an_error_with_its_name(ours: Sandbox) -> None:
    assert 'option "bogus"' in ours.refuses(mounting("/mnt", options="nosuid,bogus"))
    assert 'mounts[7].options[1]: unknown option "bogus"' in ours.refuses(
        mounting("/mnt", kind="bind", source="rootfs", options="bind,bogus")
    )


def test_remount_changes_what_is_there(sandbox: Sandbox) -> None:
    def change(config: dict[str, list[object]]) -> None:
        mounting("/mnt", options="size=4k")(config)
        mounting("/mnt", options="remount,size=64k")(config)

    assert "size=64k" in sandbox(change, SHOW)


REMOUNTED: dict[str, str] = {
    "remount,ro": "ro,relatime ro",
    "remount,ro,rw": PLAIN,
    "remount,bind,ro": "ro,relatime rw",
    "remount,bind,noatime": "rw,noatime rw",
    "remount,bind,noatime,atime": PLAIN,
    "remount,bind,nosymfollow": "rw,relatime,nosymfollow rw",
    "remount,sync": "rw,relatime rw,sync",
    "remount,sync,async": PLAIN,
    "remount,bind,nodev,nosuid,noexec": "rw,nosuid,nodev,noexec,relatime rw",
}


@pytest.mark.parametrize("options", REMOUNTED)
def test_each_option_of_a_remount_is_seen_in_mountinfo(ours: Sandbox, options: str) -> None:
    """runc's needs a source that it doesn't use, where it's of the mount alone."""

    def change(config: dict[str, list[object]]) -> None:
        mounting("/mnt")(config)
        mounting("/mnt", kind="tmpfs", options=options)(config)

    assert ours(change, SHOW).replace(",mode=755", "") == REMOUNTED[options]


def test_a_remount_may_be_of_the_whole_tree(ours: Sandbox, tree: str) -> None:
    """runc 1.1.5 passes over the recursive options of a remount."""

    def change(config: dict[str, list[object]]) -> None:
        mounting("/mnt", kind="none", source=tree, options="rbind")(config)
        mounting("/mnt", kind="none", source="none", options="remount,bind,rro,rnodev")(config)

    assert ours(change, TREE).split("\n") == ["/mnt ro,nodev,relatime", "/mnt/deeper ro,nosuid,nodev,relatime"]


def test_a_remount_of_the_mount_alone_takes_no_source(ours: Sandbox) -> None:
    def change(config: dict[str, list[object]]) -> None:
        mounting("/mnt")(config)
        mounting("/mnt", kind="none", source="none", options="remount,bind,ro,nosuid")(config)

    assert ours(change, SHOW).startswith("ro,nosuid,relatime rw")
