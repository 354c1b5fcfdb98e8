"""Kernels that lack a call, one at a time: a filter answers ENOSYS. The container is the same, or there is one clear error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine, Config
from tests.container.conftest import Mounts
from tests.container.conftest import mounted as mounted
from tests.security.attacks import bind, one_line, swapping, tree, without, without_mount

_LOOK = """\
cut -d' ' -f5- /proc/self/mountinfo | sed 's/ - / /; s/master:[0-9]*//'
ls /proc/self/fd
ls -ld /made/deep /volume/* /dev/null /copied/file
pwd; id; hostname; cat /proc/sys/net/ipv4/ip_forward; echo "$HOME"
head -c 1 /proc/keys; ls /sys/firmware; echo x > /proc/sys/net/ipv4/ip_forward; touch /volume-ro/x
"""


@pytest.fixture
def rich(bundle: Bundles, tmp_path: Path, mounted: Mounts) -> Path:
    """A bundle that needs every operation that has a fallback."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("x")
    tree = mounted("tree", "-t", "tmpfs", "-o", "noexec", "tmpfs")
    mounted("tree/deeper", "-t", "tmpfs", "-o", "nosuid", "tmpfs")
    mounted("tree/deeper/a b", "-t", "tmpfs", "-o", "noatime", "tmpfs")

    def change(config: Config) -> None:
        config["root"]["readonly"] = False
        config["process"]["cwd"] = "/made/deep"
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        config["mounts"] += [
            bind(volume, "/volume", "nosuid", "noatime", "private"),
            bind(volume, "/volume-ro", "ro", "nodev", "noexec", "rslave"),
            bind(volume / "file", "/link/file", "ro"),
            bind(tree, "/tree", "rro", "rnodev", "rexec", "nosymfollow"),
            {
                "destination": "/tmpfs",
                "type": "tmpfs",
                "source": "it",
                "options": ["ro", "nosuid", "noatime", "nosymfollow", "size=64k"],
            },
            {"destination": "/copied", "type": "tmpfs", "source": "it", "options": ["tmpcopyup", "ro"]},
        ]

    made = bundle(change, args=["sh", "-c", _LOOK])
    (made / "rootfs" / "link").symlink_to("../../../../elsewhere")
    for name in ("elsewhere", "tmpfs", "copied"):
        (made / "rootfs" / name).mkdir()
    (made / "rootfs" / "copied" / "file").write_text("y")
    return made


WITH_A_FALLBACK = ["openat2", "clone3", "close_range", "mount_setattr", "fsopen", "fsconfig", "fsmount"]


@pytest.mark.parametrize("call", [*WITH_A_FALLBACK, "all of Linux 5.6 and later"])
def test_a_container_is_the_same_without(aiorun: CommandLine, rich: Path, call: str) -> None:
    modern = aiorun("run", "--bundle", rich, "x")
    assert modern.returncode == 1, "the last command of the script is refused"
    calls = WITH_A_FALLBACK[:4] if call == "all of Linux 5.6 and later" else [call]
    old = aiorun("run", "--bundle", rich, "x", preexec_fn=without(*calls))
    assert comparable(old.stderr) == comparable(modern.stderr)
    assert comparable(old.stdout) == comparable(modern.stdout)
    assert modern.stdout.count("\n") > 30


def comparable(text: str) -> list[str]:
    """Without what differs from run to run: times, and the cgroup's names."""
    return [re.sub(r"[A-Z][a-z]{2} +\d+ \d\d:\d\d", "TIME", line) for line in text.splitlines()]


@pytest.mark.parametrize("calls", [("open_tree",), ("move_mount",), ("openat2", "fsopen")])
def test_what_has_no_fallback_is_one_clear_error(aiorun: CommandLine, rich: Path, calls: tuple[str, ...]) -> None:
    """Linux 5.4, which is the oldest that we run on, has them, or one of the two."""
    ended = aiorun("run", "--bundle", rich, "x", preexec_fn=without(*calls))
    assert ended.returncode == 1
    assert "function not implemented" in one_line(ended.stderr)
    assert "container does not exist" in aiorun("state", "x").stderr


def test_without_pidfds_the_error_is_clear_and_another_kernels_delete_cleans_up(aiorun: CommandLine, rich: Path) -> None:
    """pidfd_open is of Linux 5.3: without it there's no aiorun, but it must not be taken for a process that is gone."""
    ended = aiorun("run", "--bundle", rich, "x", preexec_fn=without("pidfd_open"))
    assert ended.returncode == 1
    assert "function not implemented" in one_line(ended.stderr)
    aiorun("delete", "--force", "x", check=True)


# --- the fallbacks under attack


def test_a_covered_mount_of_a_tree_is_told_where_the_whole_of_it_cannot_be_set_at_once(
    aiorun: CommandLine, bundle: Bundles, mounted: Mounts
) -> None:
    """It has no name, and another mount has its: that one alone would get the flags."""
    tree = mounted("tree", "-t", "tmpfs", "tmpfs")
    mounted("tree/deeper", "-t", "tmpfs", "tmpfs")
    mounted("tree/deeper", "-t", "tmpfs", "tmpfs")
    change = {"mounts": [*bundle.read(bundle())["mounts"], bind(tree, "/tree", "rro")], "root": {"readonly": False}}
    made = bundle(change, args=["echo", "ran"])
    assert aiorun("run", "--bundle", made, "x", check=True).stdout == "ran\n"
    ended = aiorun("run", "--bundle", made, "x", preexec_fn=without("mount_setattr"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "it is covered, or its place has changed meanwhile" in one_line(ended.stderr)


def test_names_that_change_places_lead_nowhere_on_an_old_kernel_either(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path
) -> None:
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    outside.mkdir()
    (volume / "here").mkdir(parents=True)
    (volume / "there").symlink_to("../" * 30 + str(outside)[1:])

    def change(config: Config) -> None:
        config["mounts"].append(bind(volume, "/volume"))
        for number in range(10):
            at = f"/volume/here/{number}"
            config["mounts"] += [
                {"destination": f"{at}-tmpfs", "type": "tmpfs", "source": f"raced-{number}", "options": ["nosuid", "ro"]},
                bind(volume, f"{at}-bind/deep", "ro"),
            ]
        config["process"]["cwd"] = "/volume/here/cwd"
        config["root"]["readonly"] = False

    raced = bundle(change, args=["grep", "-c", " ro,nosuid,.* raced-", "/proc/self/mountinfo"])
    old = without("openat2", "mount_setattr")
    with swapping(volume / "here", volume / "there"):
        for number in range(15):
            ended = aiorun("run", "--bundle", raced, f"x{number}", preexec_fn=old)
            assert tree(outside) == []
            assert ended.stdout in ("", "10\n"), ended
    if (volume / "here").is_symlink():
        (volume / "here").unlink()
        (volume / "here").mkdir()
    # Undisturbed it works: what failed above failed because of the race.
    assert aiorun("run", "--bundle", raced, "x", preexec_fn=old, check=True).stdout == "10\n"


@pytest.mark.parametrize("text", ["/proc/self/fd/5", "/proc/1/root", "/proc/self/cwd", "/proc/self/exe"])
def test_a_magic_link_is_no_way_out_on_an_old_kernel(aiorun: CommandLine, bundle: Bundles, text: str) -> None:
    """Without RESOLVE_NO_MAGICLINKS a link is expanded as a text, within the root."""
    attacker = bundle({"process": {"cwd": "/way/out"}, "root": {"readonly": False}}, args=["ls", "-a", "/way/out/.."])
    (attacker / "rootfs" / "way").symlink_to(text)
    ended = aiorun("run", "--bundle", attacker, "x", preexec_fn=without("openat2"))
    assert ended.returncode == 1 or set(ended.stdout.split()) <= {".", "..", "out"} or "bin" in ended.stdout.split()
    assert "work" not in ended.stdout.split()


@pytest.mark.parametrize("calls", [("openat2", "mount_setattr", "close_range"), ("fsopen", "mount_setattr")])
def test_a_procfs_of_the_containers_own_making_is_not_believed_on_an_old_kernel(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, calls: tuple[str, ...]
) -> None:
    """The fallbacks go through a procfs: the host's. In the image everything in /proc/self/fd is a link to one volume."""
    volume = tmp_path / "volume"
    volume.mkdir()

    def change(config: Config) -> None:
        without_mount(config, "/proc")["linux"] |= {"maskedPaths": ["/secret"], "readonlyPaths": ["/protected"]}
        config["mounts"].append(bind(volume, "/volume"))
        config["root"]["readonly"] = False

    script = "ls /secret; touch /protected/x 2>/dev/null && echo wrote /protected; touch /volume/x && echo wrote /volume"
    attacker = bundle(change, args=["sh", "-c", script])
    rootfs = attacker / "rootfs"
    for name in ("secret", "protected", "proc/self/fd"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "secret" / "key").touch()
    for number in range(64):
        (rootfs / "proc" / "self" / "fd" / str(number)).symlink_to("/volume")
    assert aiorun("run", "--bundle", attacker, "x", preexec_fn=without(*calls), check=True).stdout == "wrote /volume\n"


def test_an_overlay_with_long_options_has_its_flags_itself(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    """fsconfig(2) takes no value of 256 bytes: mount(2) does, and what it made is found without looking its name up again."""
    layers = []
    for number in range(12):
        layers.append(tmp_path / f"layer-with-a-long-name-{number}")
        layers[-1].mkdir()
        (layers[-1] / f"file-{number}").touch()

    def change(config: Config) -> None:
        config["root"]["readonly"] = False
        options = ["nosuid", "nodev", "noatime", "ro", "private", f"lowerdir={':'.join(map(str, layers))}"]
        config["mounts"].append({"destination": "/layers", "type": "overlay", "source": "overlay", "options": options})

    script = "ls /layers | wc -l; cut -d' ' -f5,6 /proc/self/mountinfo | grep -E '^(/|/layers) '"
    said = aiorun("run", "--bundle", bundle(change, args=["sh", "-c", script]), "x", check=True).stdout
    files, root, mounted = said.splitlines()
    assert (files, mounted) == ("12", "/layers ro,nosuid,nodev,noatime")
    assert root in ("/ rw,relatime", "/ rw,noatime")  # as the file system of the test's directory has it
