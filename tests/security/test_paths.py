"""The image and shared volumes are the attacker's: names that change under us, links out of the root, files that aren't what
they are called. docs/security.md, "History's attacks"."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine, Config
from tests.security.attacks import Trace, bind, one_line, swapping, tree, without_mount

RUNS = 25
MOUNTS = 10  # of each kind in a run, so that 1,000 destinations are resolved while their names change


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host's, which no container has any right to."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "file").write_text("the host's")
    return directory


def refusal(aiorun: CommandLine, bundle: Path, *flags: str | Path) -> str:
    """The error of a create that must fail, and leaves no container."""
    ended = aiorun("create", *flags, "--bundle", bundle, "x")
    assert ended.returncode == 1, ended
    assert "container does not exist" in aiorun("state", "x").stderr
    return one_line(ended.stderr)


# --- names that change: CVE-2021-30465, CVE-2024-45310


@pytest.mark.parametrize("way", ["absolute", "relative"])
def test_names_that_change_places_while_a_container_is_made_lead_nowhere(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, outside: Path, way: str
) -> None:
    volume, source = tmp_path / "volume", tmp_path / "source"
    (volume / "here").mkdir(parents=True)
    target = outside if way == "absolute" else Path("../" * 30 + str(outside)[1:])
    (volume / "there").symlink_to(target)
    source.mkdir()
    (source / "file").touch()

    def change(config: Config) -> None:
        config["mounts"].append(bind(volume, "/volume"))
        for number in range(MOUNTS):
            at = f"/volume/here/{number}"
            config["mounts"] += [
                {"destination": f"{at}-tmpfs", "type": "tmpfs", "source": f"raced-{number}", "options": ["nosuid"]},
                bind(source, f"{at}-bind/deep"),
                bind(source / "file", f"{at}-file"),
            ]
            config["linux"].setdefault("devices", []).append({"path": f"{at}-null", "type": "c", "major": 1, "minor": 3})
        config["process"]["cwd"] = "/volume/here/cwd"
        config["root"]["readonly"] = False

    raced = bundle(change, args=["sh", "-c", "grep -c ' raced-' /proc/self/mountinfo"])
    before = tree(outside)
    with swapping(volume / "here", volume / "there"):
        for number in range(RUNS):
            ended = aiorun("run", "--bundle", raced, f"x{number}")
            if ended.returncode == 0:
                assert int(ended.stdout) == MOUNTS, "a mount that isn't below the container's root"
            else:
                one_line(ended.stderr)
            assert tree(outside) == before
    if (volume / "here").is_symlink():
        (volume / "here").unlink()
        (volume / "here").mkdir()
    # Undisturbed it works: what failed above failed because of the race.
    assert int(aiorun("run", "--bundle", raced, "x", check=True).stdout) == MOUNTS


def test_what_is_copied_into_a_tmpfs_is_never_a_file_of_the_hosts(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, outside: Path
) -> None:
    """tmpcopyup reads a volume before the pivot, where a link leads to the host, while a file and a link in it change places."""
    volume = tmp_path / "volume"
    (volume / "directory").mkdir(parents=True)
    (volume / "directory" / "file").write_text("the volume's")
    for number in range(8):
        (volume / f"file-{number}").write_text("the volume's")
    (volume / "raced").write_text("the volume's")
    (volume / "link").symlink_to(outside / "file")
    (volume / "way").symlink_to(outside)

    def change(config: Config) -> None:
        config["root"]["readonly"] = False
        for number in range(MOUNTS):
            copied = {"destination": f"/copied/{number}", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
            config["mounts"] += [bind(volume, f"/copied/{number}"), copied]

    raced = bundle(change, args=["sh", "-c", 'grep -r "the host\'s" /copied; grep -r "the volume\'s" /copied | wc -l'])
    for one, other in (("raced", "link"), ("directory", "way")):
        with swapping(volume / one, volume / other):
            for number in range(RUNS):
                ended = aiorun("run", "--bundle", raced, f"x{number}")
                assert "the host's" not in ended.stdout
    assert int(aiorun("run", "--bundle", raced, "x", check=True).stdout) == 10 * MOUNTS


# --- /proc and /sys: CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642


@pytest.mark.parametrize("place", ["proc", "sys"])
@pytest.mark.parametrize("text", ["volume/fake", "/volume/fake", "../../../../../volume/fake"])
def test_an_image_whose_proc_or_sys_is_a_link_is_refused_as_by_runc(
    aiorun: CommandLine, runc: CommandLine, bundle: Bundles, tmp_path: Path, place: str, text: str
) -> None:
    (tmp_path / "volume" / "fake" / "self" / "attr").mkdir(parents=True)

    def change(config: Config) -> None:
        config["mounts"].insert(0, bind(tmp_path / "volume", "/volume"))

    attacker = bundle(change)
    (attacker / "rootfs" / place).rmdir()
    (attacker / "rootfs" / place).symlink_to(text)
    assert "must be mounted on ordinary directory" in refusal(aiorun, attacker)
    assert "must be mounted on ordinary directory" in runc("create", "--bundle", attacker, "x").stderr


@pytest.mark.parametrize(("name", "masked", "readonly"), [("proc", "version", "sys"), ("sys", "kernel/uevent_seqnum", "kernel")])
def test_masks_are_in_the_mount_whatever_its_name_leads_to(
    aiorun: CommandLine, bundle: Bundles, name: str, masked: str, readonly: str
) -> None:
    """Another container has the same root file system, and exchanges /proc for a link while this one is made."""

    def change(config: Config) -> None:
        config["root"]["readonly"] = False
        config["linux"] |= {"maskedPaths": [f"/{name}/{masked}"], "readonlyPaths": [f"/{name}//./{readonly}"]}
        for mount in config["mounts"]:
            if mount["destination"] == "/sys":
                mount["options"].remove("ro")

    protected = f"' /{readonly} /[a-z]*/{readonly} ro[ ,].* - {name}'"
    look = f"cat /{name}/{masked} /link/{masked}; grep -c {protected} /proc/self/mountinfo /link/self/mountinfo"
    raced = bundle(change, args=["sh", "-c", f"({look}) 2>/dev/null; echo end"])
    (raced / "rootfs" / "fake").mkdir()
    (raced / "rootfs" / "link").symlink_to("fake")
    ran = 0
    with swapping(raced / "rootfs" / name, raced / "rootfs" / "link"):
        for number in range(RUNS):
            ended = aiorun("run", "--bundle", raced, f"x{number}")
            if ended.returncode:
                one_line(ended.stderr)
            else:
                assert set(ended.stdout.splitlines()) <= {"/proc/self/mountinfo:1", "/link/self/mountinfo:1", "end"}
                ran += 1
    assert ran


@pytest.mark.parametrize(
    ("destination", "link"),
    [
        ("/proc", None), ("/proc/self/attr", None), ("/proc/self", None), ("/proc/sys/kernel", None),
        ("/proc/thread-self/attr", None), ("/innocent", "/proc/self/attr"), ("/innocent", "proc/sys"),
        ("/innocent/attr", "/proc/self"),
        ("/x/../proc/self", None),
    ],
)  # fmt: skip
def test_a_volume_never_covers_proc_nor_a_part_of_it(
    aiorun: CommandLine, bundle: Bundles, outside: Path, destination: str, link: str | None
) -> None:
    """CVE-2025-52881 too: a tmpfs full of links there sends the writing of labels and sysctls elsewhere."""

    def change(config: Config) -> None:
        config["mounts"].append(bind(outside, destination))

    attacker = bundle(change)
    if link:
        (attacker / "rootfs" / "innocent").symlink_to(link)
    error = refusal(aiorun, attacker)
    assert "is inside /proc" in error or "not proc" in error


def test_what_lxcfs_covers_may_be_covered(aiorun: CommandLine, bundle: Bundles, outside: Path) -> None:
    """The other side of the test before: not everything is refused."""
    attacker = bundle(
        lambda config: config["mounts"].append(bind(outside / "file", "/proc/uptime")), args=["cat", "/proc/uptime"]
    )
    assert aiorun("run", "--bundle", attacker, "x", check=True).stdout == "the host's"


def test_a_sysctl_is_written_to_the_kernel_whatever_is_at_proc_in_the_container(
    aiorun: CommandLine, bundle: Bundles, outside: Path
) -> None:
    """CVE-2025-52881: no procfs is mounted, and the image brings its own, full of links."""

    def change(config: Config) -> None:
        without_mount(config, "/proc")["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        config["mounts"] += [bind(outside, "/outside"), {"destination": "/real", "type": "proc", "source": "proc"}]
        config["root"]["readonly"] = False

    attacker = bundle(change, args=["cat", "/real/sys/net/ipv4/ip_forward", "/outside/file"])
    fake = attacker / "rootfs" / "proc" / "sys" / "net" / "ipv4"
    fake.mkdir(parents=True)
    (fake / "ip_forward").symlink_to("/outside/file")
    assert aiorun("run", "--bundle", attacker, "x", check=True).stdout == "1\nthe host's"


@pytest.mark.parametrize("key", ["net/../kernel/core_pattern", "net//ipv4", "net/./ipv4/ip_forward", "net.ipv4..ip_forward"])
def test_a_sysctl_of_the_host_is_not_reached_through_one_of_the_containers(
    aiorun: CommandLine, bundle: Bundles, key: str
) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    error = refusal(aiorun, bundle({"linux": {"sysctl": {key: before.strip() or "core"}}}))
    assert "is not a name" in error
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


# --- the working directory: CVE-2024-21626


@pytest.mark.parametrize("seen", ["/proc/self/fd/{}", "/proc/1/fd/{}", "/dev/fd/{}", "/proc/thread-self/fd/{}/.."])
def test_a_leaked_directory_is_no_working_directory(aiorun: CommandLine, bundle: Bundles, tmp_path: Path, seen: str) -> None:
    """The caller leaks directories of the host, under many numbers; the log and all that we open ourselves come on top."""
    attacker = bundle({"root": {"readonly": False}}, args=["ls", "-a"])
    config = bundle.read(attacker)
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(6)]
    os.dup2(leaked[0], 500)
    leaked.append(500)
    try:
        for number in (3, 4, 5, 6, 7, *range(8, 24, 3), *leaked[-2:], 1023):
            config["process"]["cwd"] = seen.format(number)
            bundle.write(attacker, config)
            ended = aiorun("run", "--bundle", attacker, "x", pass_fds=leaked)
            assert (ended.returncode, ended.stdout) == (1, ""), f"{number}: {ended}"
            one_line(ended.stderr)
    finally:
        for fd in leaked:
            os.close(fd)


# --- the null device and the console: CVE-2025-31133, CVE-2025-52565


@pytest.mark.parametrize("what", ["link", "file", "directory", "other device"])
def test_a_null_device_of_the_images_own_masks_nothing(aiorun: CommandLine, bundle: Bundles, tmp_path: Path, what: str) -> None:
    def change(config: Config) -> None:
        without_mount(config, "/dev")["root"]["readonly"] = False

    attacker = bundle(change)
    put(attacker / "rootfs" / "dev" / "null", what)
    error = refusal(aiorun, attacker)
    assert "a different file is there already" in error


@pytest.mark.parametrize("what", ["link", "file", "directory", "other device"])
def test_a_null_device_of_a_shared_dev_masks_nothing(aiorun: CommandLine, bundle: Bundles, tmp_path: Path, what: str) -> None:
    """/dev is a volume, so that we make no devices in it."""
    (tmp_path / "dev").mkdir()
    put(tmp_path / "dev" / "null", what)

    def change(config: Config) -> None:
        without_mount(config, "/dev")["mounts"].append(bind(tmp_path / "dev", "/dev"))

    error = refusal(aiorun, bundle(change))
    assert "mask" in error


def put(path: Path, what: str) -> None:
    if what == "link":
        path.symlink_to("/proc/sys/kernel/core_pattern")
    elif what == "file":
        path.write_text("")
    elif what == "directory":
        path.mkdir()
    else:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


@contextmanager
def console_server(path: Path) -> Iterator[list[bytes]]:
    """Accepts whoever connects to `path`, and keeps the first bytes that come."""
    said: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                payload, fds, _, _ = socket.recv_fds(connection, 64, 4)
                said.append(payload)
                for fd in fds:
                    os.close(fd)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield said
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "target", ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "../proc/self/attr/exec", "/etc/passwd"]
)
def test_a_console_that_is_a_link_is_not_followed(aiorun: CommandLine, bundle: Bundles, tmp_path: Path, target: str) -> None:
    def change(config: Config) -> None:
        without_mount(config, "/dev")["root"]["readonly"] = False
        config["mounts"].append(
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}
        )

    attacker = bundle(change, terminal=True)
    (attacker / "rootfs" / "dev" / "console").symlink_to(target)
    with console_server(tmp_path / "console") as said:
        error = refusal(aiorun, attacker, "--console-socket", tmp_path / "console")
    assert "make the terminal" in error
    assert not any(said)


@pytest.mark.parametrize("what", ["pts is a link", "ptmx is a link", "ptmx is another terminal", "pts is a volume"])
def test_a_terminal_comes_from_a_devpts_or_not_at_all(aiorun: CommandLine, bundle: Bundles, tmp_path: Path, what: str) -> None:
    """Without a devpts of its own the container's /dev/pts is what the image says."""

    def change(config: Config) -> None:
        without_mount(config, "/dev")["root"]["readonly"] = False
        if what == "pts is a volume":
            (tmp_path / "pts").mkdir()
            os.mknod(tmp_path / "pts" / "ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
            config["mounts"].append(bind(tmp_path / "pts", "/dev/pts"))

    attacker = bundle(change, terminal=True)
    dev = attacker / "rootfs" / "dev"
    if what == "pts is a link":
        (dev / "pts").symlink_to("/proc/self/fd")
    else:
        (dev / "pts").mkdir()
    if what == "ptmx is a link":
        (dev / "pts" / "ptmx").symlink_to("/proc/self/fd/0")
    elif what == "ptmx is another terminal":
        os.mknod(dev / "pts" / "ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    with console_server(tmp_path / "console") as said:
        error = refusal(aiorun, attacker, "--console-socket", tmp_path / "console")
    assert "make the terminal" in error
    assert not any(said)


# --- /etc/passwd


def put_passwd(path: Path, what: str) -> None:
    path.unlink()
    if what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    elif what == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif what.startswith("link to "):
        path.symlink_to(what[8:])
    elif what == "a gigabyte":
        with path.open("wb") as file:
            file.truncate(1 << 30)
            file.seek(1 << 30)
            file.write(b"\nroot:x:0:0:root:/late:/bin/sh\n")
    elif what == "one endless line":
        path.write_bytes(b"root:x:0:0:root:" + b"a" * (8 << 20) + b":/bin/sh\n")
    elif what == "a long line":
        path.write_bytes(b"root:x:0:0:root:/" + b"a" * 200_000 + b":/bin/sh\n")
    else:
        path.write_bytes(bytes(range(256)) * 64 + b"\nroot:x:0:0:root:/\0x:/bin/sh\n::::::\n\xff:\xff:\xff")


@pytest.mark.parametrize(
    "what",
    [
        "fifo", "directory", "device", "link to /dev/zero", "link to /proc/self/mem", "link to /proc/kmsg",
        "link to /proc/self/fd/0", "link to passwd", "a gigabyte", "one endless line", "a long line", "garbage",
    ],
)  # fmt: skip
def test_a_password_file_that_is_none_gives_no_home(aiorun: CommandLine, bundle: Bundles, what: str) -> None:
    attacker = bundle(args=["sh", "-c", 'echo "$HOME"'])
    put_passwd(attacker / "rootfs" / "etc" / "passwd", what)
    assert aiorun("run", "--bundle", attacker, "x", input="root:x:0:0:root:/stdin:", check=True, timeout=20).stdout == "/\n"


@pytest.mark.parametrize("what", ["fifo", "device", "directory", "link to /proc/kmsg"])
def test_what_is_no_file_is_not_opened_even_to_look(aiorun: CommandLine, bundle: Bundles, tmp_path: Path, what: str) -> None:
    """To open a device is to do something to it: rewind a tape, arm a watchdog."""
    attacker = bundle(args=["true"])
    passwd = attacker / "rootfs" / "etc" / "passwd"

    def opened(trace: str) -> int:
        calls = Trace(aiorun, tmp_path / trace, "run", "--bundle", attacker, "x").after_the_pivot()
        return sum(line.startswith("open") and '"self/fd/' in line for line in calls)

    assert opened("trace of a file") == 2, "the password file and exec.fifo"
    put_passwd(passwd, what)
    assert opened("trace of another") == 1


def test_a_password_file_that_is_one_gives_the_home(aiorun: CommandLine, bundle: Bundles) -> None:
    assert aiorun("run", "--bundle", bundle(args=["sh", "-c", 'echo "$HOME"']), "x", check=True).stdout == "/root\n"


# --- what is written for the caller


def test_a_link_in_the_place_of_the_pid_files_temporary_name_is_not_followed(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / ".pid").symlink_to(outside / "file")
    aiorun("create", "--pid-file", tmp_path / "shared" / "pid", "--bundle", bundle(), "x", check=True)
    pid = aiorun.state("x")["pid"]
    aiorun("delete", "x", check=True)
    assert (outside / "file").read_text() == "the host's"
    assert (tmp_path / "shared" / "pid").read_text() == str(pid)
    assert not (tmp_path / "shared" / "pid").is_symlink()
