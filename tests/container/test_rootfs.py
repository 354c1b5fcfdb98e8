"""The root: how it is entered, what is read-only, masked and shared in it. config.md, "Root"; config-linux.md."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bundles, Change, CommandLine, Config, need
from tests.container.configs import both, mounting, namespaces, writable
from tests.container.conftest import Sandbox


def linux(**members: object) -> Change:
    return writable({"linux": members})


# --- the root itself


@pytest.mark.parametrize("flags", [(), ("--no-pivot",)], ids=["pivot_root", "no-pivot"])
def test_the_root_is_all_that_the_container_sees(sandbox: Sandbox, flags: tuple[str, ...]) -> None:
    script = "ls /; ls -d /../../bin /proc/1/root/bin; cat /proc/1/mountinfo | awk '{print $5}' | sort -u | head -c 2000"
    seen = sandbox(writable(), script, *flags).split("\n")
    assert seen[:7] == ["bin", "dev", "etc", "proc", "root", "sys", "tmp"]
    assert seen[7:9] == ["/../../bin", "/proc/1/root/bin"]
    assert all(point == "/" or point.split("/")[1] in ("dev", "proc", "sys") for point in seen[9:]), seen


def test_nothing_of_the_hosts_mounts_is_left_after_the_pivot(sandbox: Sandbox) -> None:
    """One root, and the default document's mounts with their masks on top."""
    points = sandbox(writable(), "awk '{print $5}' /proc/self/mountinfo").split("\n")
    assert points.count("/") == 1
    assert set(points) >= {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"}


def test_a_root_is_read_only_where_asked_for_but_what_is_mounted_in_it_is_not(sandbox: Sandbox) -> None:
    script = "touch /x /etc/x /tmp/x; touch /dev/shm/x && touch /dev/x && awk '$5 == \"/\" {print $6}' /proc/self/mountinfo"
    ended = sandbox.run({"root": {"readonly": True}}, script)
    assert ended.stdout in ("ro,relatime\n", "ro,noatime\n"), "as the file system of the test's directory has it"
    assert ended.stderr.count("Read-only file system") == 3


def test_a_root_is_writable_where_nothing_is_said(sandbox: Sandbox) -> None:
    bundle = sandbox.bundle({"root": {"readonly": None}}, args=["touch", "/made"])
    sandbox.run_bundle(bundle)
    assert (bundle / "rootfs" / "made").exists()


@pytest.mark.parametrize("where", ["absolute", "relative", "deeper", "with dots"])
def test_the_path_of_the_root_is_absolute_or_the_bundles(sandbox: Sandbox, where: str) -> None:
    bundle = sandbox.bundle(args=["ls", "-d", "/bin"])
    config = sandbox.bundle.read(bundle)
    (bundle / "deep").mkdir()
    if where == "deeper":
        (bundle / "rootfs").rename(bundle / "deep" / "root")
    paths = {"absolute": str(bundle / "rootfs"), "relative": "rootfs", "deeper": "deep/root", "with dots": "./deep/../rootfs"}
    config["root"]["path"] = paths[where]
    sandbox.bundle.write(bundle, config)
    assert sandbox.run_bundle(bundle, cwd="/").stdout == "/bin\n"


def test_a_container_in_the_hosts_mount_namespace_is_put_into_its_root_by_chroot(ours: Sandbox) -> None:
    """runc needs a procfs inside."""

    def bare(config: Config) -> None:
        namespaces(mount=None)(config)
        config["mounts"] = []
        for name in ("maskedPaths", "readonlyPaths"):
            config["linux"].pop(name)

    assert ours(bare, "ls / | head -3; ls -d /../bin") == "bin\ndev\netc\n/../bin"


# --- masks


def test_masked_paths_are_empty_and_cannot_be_written_to(sandbox: Sandbox) -> None:
    bundle = sandbox.bundle(
        linux(maskedPaths=["/etc/passwd", "/secret", "/secret/nosuch", "/nosuch"]),
        args=["sh", "-c", "cat /etc/passwd; ls -A /secret; touch /secret/x; echo y > /etc/passwd; cat /etc/passwd; echo done"],
    )
    (bundle / "rootfs" / "secret").mkdir()
    (bundle / "rootfs" / "secret" / "key").write_text("k")
    ended = sandbox.run_bundle(bundle)
    assert ended.stdout == "done\n"
    assert "/secret/x: Read-only file system" in ended.stderr
    assert (bundle / "rootfs" / "etc" / "passwd").read_text().startswith("root:")
    assert os.listdir(bundle / "rootfs" / "secret") == ["key"]


def test_a_masked_path_may_be_reached_by_a_link_and_is_masked_where_it_leads(sandbox: Sandbox) -> None:
    bundle = sandbox.bundle(linux(maskedPaths=["/link"]), args=["sh", "-c", "wc -c < /etc/passwd"])
    (bundle / "rootfs" / "link").symlink_to("etc/passwd")
    assert sandbox.run_bundle(bundle).stdout == "0\n"


def test_masked_paths_of_procfs_are_masked(sandbox: Sandbox) -> None:
    assert sandbox(linux(maskedPaths=["/proc/version", "/proc/fs"]), "cat /proc/version; ls -A /proc/fs; echo done") == "done"


def test_read_only_paths_can_be_read_and_not_written_with_all_that_is_below(sandbox: Sandbox) -> None:
    change = both(
        mounting("/data", options="nosuid"),
        mounting("/data/deeper", options="noexec"),
        linux(readonlyPaths=["/data", "/etc/passwd", "/nosuch", "/proc/sys"]),
    )
    script = """
        touch /data/x; echo y >> /etc/passwd; echo 1 > /proc/sys/kernel/shmmni; head -c 4 /etc/passwd; echo
        awk '$5 ~ /^\\/(data|etc|proc\\/sys)/ { seen[$5] = $6 } END { for (point in seen) print point, seen[point] }' \
            /proc/self/mountinfo | sort
    """
    ended = sandbox.run(change, script)
    assert ended.stderr.count("Read-only file system") == 3
    lines = ended.stdout.splitlines()
    assert lines[0] == "root"
    # The file system of the test's directory may be noatime.
    assert [line.replace("noatime", "relatime") for line in lines[1:] if "deeper" not in line] == [
        "/data ro,nosuid,relatime",
        "/etc/passwd ro,relatime",
        "/proc/sys ro,relatime",
    ]


def test_a_mask_covers_a_read_only_path(sandbox: Sandbox) -> None:
    change = linux(readonlyPaths=["/etc", "/etc/passwd"], maskedPaths=["/etc/passwd"])
    assert sandbox(change, "cat /etc/passwd; cat /etc/group | head -1") == "root:x:0:"


# --- rootfsPropagation

PROPAGATIONS = {
    "private": "",
    "rprivate": "",
    "shared": "shared",
    "rshared": "shared",
    "unbindable": "unbindable",
    "runbindable": "unbindable",
}


@pytest.mark.parametrize("asked", PROPAGATIONS)
def test_the_propagation_asked_for_is_that_of_the_root(ours: Sandbox, asked: str) -> None:
    """runc 1.1.5 gets shared and unbindable wrong."""
    script = 'awk \'$5 == "/" { sub(/:.*/, "", $7); print ($7 == "-" ? "" : $7) }\' /proc/self/mountinfo'
    assert ours(linux(rootfsPropagation=asked), script) == PROPAGATIONS[asked]


def in_shared_namespace(script: str, *arguments: str) -> str:
    """Run a script of sh in a mount namespace of its own, whose mounts are all shared, as a host's are."""
    argv = [need("unshare"), "--mount", "--propagation", "shared", "sh", "-euc", script, "sh", *arguments]
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


VOLUME = """
mkdir -p "$1/volume"; mount -t tmpfs tmpfs "$1/volume"; mkdir "$1/volume/late" "$1/volume/inner"
"$3" --root "$2" run --detach --bundle "$1" "$4" </dev/null >"$1/out" 2>&1
mount -t tmpfs from-the-host "$1/volume/late"
echo > "$1/volume/go"
until test -e "$1/volume/done"; do sleep 0.01; done
cat "$1/volume/done"
grep -c "from-the-container" /proc/self/mountinfo || true
"$3" --root "$2" delete --force "$4"
grep " $1/rootfs" /proc/self/mountinfo || true
"""

INSIDE = """
until test -e /volume/go; do sleep 0.01; done
mount -t tmpfs from-the-container /volume/inner
grep -c from-the-host /proc/self/mountinfo > /volume/.done
mv /volume/.done /volume/done
sleep 1000
"""


@pytest.mark.parametrize(
    ("propagation", "options", "seen_inside", "seen_outside"),
    [
        ("rshared", "rbind,rshared", "1", "1"),
        ("shared", "rbind,shared", "1", "1"),
        ("rslave", "rbind,rslave", "1", "0"),
        ("", "rbind,rslave", "1", "0"),
        ("rprivate", "rbind,rprivate", "0", "0"),
        ("", "rbind,rprivate", "0", "0"),
        ("rslave", "rbind,rshared", "1", "0"),
    ],
)
def test_mounts_pass_between_a_volume_and_the_host_as_far_as_asked(
    runtime: CommandLine, bundle: Bundles, propagation: str, options: str, seen_inside: str, seen_outside: str
) -> None:
    change = both(
        mounting("/volume", kind="bind", source="volume", options=options),
        {"linux": {"rootfsPropagation": propagation}},
        {"process": {"capabilities": {name: ["CAP_SYS_ADMIN"] for name in ("bounding", "permitted", "effective")}}},
    )
    made = bundle(change, args=["sh", "-c", INSIDE])
    seen = in_shared_namespace(VOLUME, str(made), str(runtime.root), runtime.command, "volume")
    assert seen.split() == [seen_inside, seen_outside], (made / "out").read_text()


@pytest.mark.parametrize("propagation", ["", "rslave", "rprivate", "rshared"])
def test_the_containers_mounts_do_not_show_on_a_host_whose_mounts_are_shared(
    runtime: CommandLine, bundle: Bundles, propagation: str
) -> None:
    made = bundle(linux(rootfsPropagation=propagation), args=["sleep", "1000"])
    script = """
        before=$(wc -l < /proc/self/mountinfo)
        "$3" --root "$2" run --detach --bundle "$1" quiet </dev/null >"$1/out" 2>&1
        after=$(wc -l < /proc/self/mountinfo)
        "$3" --root "$2" delete --force quiet
        echo $((after - before))
    """
    assert in_shared_namespace(script, str(made), str(runtime.root), runtime.command) == "0\n"


def test_an_unknown_propagation_is_refused(ours: Sandbox) -> None:
    assert "linux.rootfsPropagation: must be one of" in ours.refuses({"linux": {"rootfsPropagation": "bogus"}})


def test_the_bundle_may_lie_in_a_directory_with_a_strange_name(sandbox: Sandbox, tmp_path: Path) -> None:
    bundle = sandbox.bundle(args=["ls", "-d", "/bin"])
    strange = tmp_path / "a b\tc\\d ü"
    bundle.rename(strange)
    assert sandbox.run_bundle(strange).stdout == "/bin\n"
