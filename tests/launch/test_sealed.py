"""The sealed interpreter: what may become an init runs from what nobody can write to. Real mounts, in a world of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aiorun.launch import sealed
from tests.conftest import CHECKOUT, need
from tests.launch.world import HERE, OPTIONS, PYTHON, World
from tests.launch.world import world as world

WHERE = "tell([os.readlink('/proc/self/exe'), sealed.way_of_this_process()])"
NAME = sealed.name_of(PYTHON)
KEY = sealed.key_of(PYTHON, os.stat(PYTHON))
BIN = f"/run/aiorun-python/{KEY}/bin"
SEALED = f"{BIN}/{os.path.basename(PYTHON)}"
THROUGH_LINK = f"/run/aiorun-python/{NAME}/bin/{os.path.basename(PYTHON)}"


# --- the overlay -----------------------------------------------------------------------------------------------


def test_the_first_command_makes_the_seal_and_the_next_one_uses_it(world: World) -> None:
    assert world.sealed(WHERE) == [SEALED, "overlay"]
    (made,) = world.overlays()
    assert world.sealed(WHERE, python=THROUGH_LINK) == [SEALED, "overlay"]
    assert world.overlays() == [made]


def test_a_command_that_is_sealed_starts_no_other_program(world: World) -> None:
    world.sealed(WHERE)
    traced = world.run(need("strace"), "-f", "-e", "trace=execve", "-o", "/dev/stdout", *world.command("0", python=THROUGH_LINK))
    assert traced.count("execve(") == 1


def test_arguments_environment_and_files_come_through_the_sealing(world: World) -> None:
    code = """\
environment = {os.fsdecode(name): os.fsdecode(value) for name, value in sealed.caller_environment().items()}
tell([sys.argv[2:], environment, os.getcwd(), os.read(0, 9).decode(), os.read(int(sys.argv[3]), 9).decode()])
"""
    environment = {"A": "1", "B": "\udcff=\n", "PATH": "/nowhere"}
    (stdin, stdin_end), (extra, extra_end) = os.pipe(), os.pipe()
    os.write(stdin_end, b"stdin")
    os.write(extra_end, b"extra")
    try:
        arguments = ["", str(extra), "--x", "é\n"]
        told = world.sealed(
            code, *arguments, before=("/usr/bin/env", "-C", "/run"), env=environment, stdin=stdin, pass_fds=[extra]
        )
    finally:
        for fd in (stdin, stdin_end, extra, extra_end):
            os.close(fd)
    assert told == [arguments, environment, "/run", "stdin", "extra"]


def test_the_sealed_interpreter_finds_the_same_library(world: World) -> None:
    code = "import json, select; tell([sys.path, sys.prefix, sys.flags.isolated, sys.flags.no_site, sys.flags.utf8_mode])"
    path, prefix, *flags = world.sealed(code)
    assert flags == [1, 1, 1]
    assert prefix == f"/run/aiorun-python/{NAME}"
    plain = subprocess.run([PYTHON, *OPTIONS, "-c", "import sys; print(*sys.path)"], capture_output=True, text=True, check=True)
    real = os.path.dirname(os.path.dirname(PYTHON))
    assert [entry.replace(prefix, real) for entry in path] == [*plain.stdout.split(), HERE]


def test_nobody_can_write_to_the_sealed_interpreter(world: World) -> None:
    """CVE-2019-5736, with every right that there is."""
    before = hashlib.sha256(Path(PYTHON).read_bytes()).hexdigest()
    code = """\
from aiorun.linux import mount, process
process.unshare(process.CLONE_NEWNS)
exe, place = "/proc/self/exe", os.path.dirname(os.readlink("/proc/self/exe"))
def attempt(call, *arguments):
    try:
        call(*arguments)
        return 0
    except OSError as error:
        return error.errno
def writes():
    return {
        "open": attempt(os.open, exe, os.O_WRONLY), "truncate": attempt(os.truncate, exe, 0),
        "chmod": attempt(os.chmod, exe, 0o777), "chown": attempt(os.chown, exe, 1, 1),
        "setxattr": attempt(os.setxattr, exe, "user.x", b"1"), "utime": attempt(os.utime, exe),
        "unlink": attempt(os.unlink, f"{place}/python"), "create": attempt(os.open, f"{place}/new", os.O_CREAT | os.O_WRONLY),
        "map_files": attempt(os.open, "/proc/self/map_files/" + min(os.listdir("/proc/self/map_files")), os.O_RDWR),
    }
first = writes()
remounts = [attempt(mount.mount, None, path, None, mount.MS_REMOUNT) for path in (exe, place)]
mount.mount(None, place, None, mount.MS_REMOUNT | mount.MS_BIND)  # clears the mount's own flag, in this namespace
tell([first, remounts, writes()])
"""
    first, remounts, then = world.sealed(code)
    assert set(first.values()) == {30}  # EROFS
    assert 0 not in remounts
    assert set(then.values()) == {30}
    assert hashlib.sha256(Path(PYTHON).read_bytes()).hexdigest() == before


def test_fifty_first_commands_at_once_end_with_one_seal(world: World) -> None:
    running = [subprocess.Popen(world.argv(*world.command(WHERE)), stdout=subprocess.PIPE, text=True) for _ in range(50)]
    told = {command.communicate(timeout=60)[0] for command in running}
    assert told == {f'["{SEALED}", "overlay"]'}
    assert len(world.overlays()) == 1
    assert sorted(os.listdir(world.place)) == sorted(["empty", "lock", NAME, KEY])


def test_the_seal_is_made_under_a_lock(world: World) -> None:
    slowly = (need("strace"), "-o", "/dev/null", "-e", "trace=move_mount", "-e", "inject=move_mount:delay_enter=300000")
    running = [subprocess.Popen(world.argv(*slowly, *world.command(WHERE)), stdout=subprocess.PIPE) for _ in range(6)]
    assert {command.communicate(timeout=60)[0].decode() for command in running} == {f'["{SEALED}", "overlay"]'}
    assert len(world.overlays()) == 1


def test_the_seal_is_usable_under_any_umask(world: World) -> None:
    world.run("/bin/sh", "-c", 'umask 077; exec "$@"', "sh", *world.command(WHERE))
    user = (need("setpriv"), "--reuid", "65534", "--regid", "65534", "--clear-groups")
    assert world.sealed(WHERE, before=user, python=THROUGH_LINK) == [SEALED, "overlay"]
    assert world.sealed(WHERE, before=user) == [SEALED, "overlay"]


def test_the_seal_is_mounted_privately(world: World) -> None:
    world.shell("mount --make-shared /run")
    world.sealed(WHERE)
    (fields,) = world.overlays()
    assert not [field for field in fields if field.startswith(("shared:", "master:", "propagate_from:"))]


def test_removing_takes_all_away_while_commands_run(world: World) -> None:
    code = """\
from aiorun.launch.seal_overlay import remove
remove()
remove()
tell([sealed.way_of_this_process(), os.listdir(sealed.PLACE), sealed.real_binary()])
"""
    assert world.sealed("import json\n" + code) == ["", ["lock"], PYTHON]
    assert not world.overlays()
    assert world.sealed(WHERE) == [SEALED, "overlay"]


# --- P13: stale, replaced, covered -----------------------------------------------------------------------------


@pytest.fixture
def relocated(tmp_path: Path) -> Path:
    """A Python at another place, which can be upgraded."""
    python = tmp_path / "opt" / "bin" / os.path.basename(PYTHON)
    python.parent.mkdir(parents=True)
    shutil.copy(PYTHON, python)
    (tmp_path / "opt" / "lib").symlink_to(Path(PYTHON).parent.parent / "lib")
    return python


@pytest.mark.parametrize("copy", [shutil.copy, shutil.copy2])
def test_an_upgraded_python_gets_a_new_seal_and_the_stale_one_goes(
    world: World, relocated: Path, copy: Callable[[Path, Path], object]
) -> None:
    world.sealed(WHERE)
    old = sealed.key_of(str(relocated), relocated.stat())
    through_link = f"/run/aiorun-python/{sealed.name_of(str(relocated))}/bin/{relocated.name}"
    assert world.sealed(WHERE, python=relocated) == [f"/run/aiorun-python/{old}/bin/{relocated.name}", "overlay"]
    copy(relocated, relocated.with_suffix(".new"))  # copy2 keeps the times: only the inode tells
    relocated.with_suffix(".new").rename(relocated)
    new = sealed.key_of(str(relocated), relocated.stat())
    assert world.sealed(WHERE, python=through_link) == [f"/run/aiorun-python/{new}/bin/{relocated.name}", "overlay"]
    assert world.keys() == sorted([KEY, new])
    assert len(world.overlays()) == 2


def test_a_command_that_runs_while_python_is_upgraded_still_finds_its_library(world: World, relocated: Path) -> None:
    code = """\
import textwrap
exe = os.readlink("/proc/self/exe")
for call in sys.argv[2:]:
    if os.system(call):
        os._exit(1)
import hmac, ctypes
tell([os.path.exists(exe), sealed.way_of_this_process(), sealed.real_binary()])
"""
    copy = f"cp '{PYTHON}' '{relocated}.new' && mv '{relocated}.new' '{relocated}'"
    next_command = f"'{relocated}' -I -S '{world.program}' 0"
    assert world.sealed(code, copy, next_command, python=relocated) == [False, "", str(relocated)]


TAMPERING = {
    "a plain directory": 'umount "$key/bin"; cp -a "$python" "$key/bin/"',
    "another directory": 'umount "$key/bin"; rmdir "$key/bin"; mkdir "$key/bin"; cp "$python" "$key/bin/"',
    "a writable mount": 'umount "$key/bin"; mount --bind "$(dirname "$python")" "$key/bin"',
    "a read-only mount of the host's directory": (
        'umount "$key/bin"; mount --bind "$(dirname "$python")" "$key/bin"; mount -o remount,bind,ro "$key/bin"'
    ),
    "a cover": 'mount -t tmpfs tmpfs "$key/bin"; cp -a "$python" "$key/bin/"',
    "another owner": 'chown 1000 "$key"',
    "writable by others": 'chmod 777 "$key"',
    "a link": 'umount "$key/bin"; mv "$key" "$place/moved"; ln -s "$place/moved" "$key"; cp -a "$python" "$place/moved/bin/"',
    "a file": 'umount "$key/bin"; mv "$key" "$place/moved"; echo >"$key"',
    "a writable overlay": (
        'umount "$key/bin"; mkdir "$place/upper" "$place/work";'
        'mount -t overlay -o "lowerdir=$(dirname "$python"),upperdir=$place/upper,workdir=$place/work" overlay "$key/bin"'
    ),
    "an old binary": (
        'umount "$key/bin"; mkdir "$place/old"; cp "$python" "$place/old/";'
        'mount -t overlay -o "lowerdir=$place/old:$place/empty" overlay "$key/bin"'
    ),
    "nothing": 'umount "$key/bin"; rm -r "$place"/*',
    "a link that leads nowhere": 'rm "$name"; ln -s nowhere "$name"',
    "a directory for the link": 'rm "$name"; mkdir -p "$name/bin"; cp -a "$python" "$name/bin/"',
}


@pytest.mark.parametrize("what", TAMPERING)
def test_what_was_put_in_the_place_of_the_seal_is_passed_over_and_made_anew(world: World, what: str) -> None:
    world.sealed(WHERE)
    variables = f"place=/run/aiorun-python key='/run/aiorun-python/{KEY}' name='/run/aiorun-python/{NAME}' python='{PYTHON}'\n"
    world.shell(variables + TAMPERING[what])
    start = THROUGH_LINK if os.access(f"/proc/{world.holder}/root{THROUGH_LINK}", os.X_OK) else PYTHON  # as the start script
    assert world.sealed(WHERE, python=start) == [SEALED, "overlay"]
    assert world.sealed(WHERE, python=THROUGH_LINK) == [SEALED, "overlay"]
    assert sealed.is_roots_directory(os.lstat(world.place / KEY))
    (seal,) = (fields for fields in world.overlays() if fields[4] == BIN)
    assert "ro" in seal[5].split(",")
    assert hashlib.sha256(world.path(SEALED).read_bytes()).digest() == hashlib.sha256(Path(PYTHON).read_bytes()).digest()


@pytest.mark.parametrize("line", ["chown 1000 $place", "chmod 777 $place", "mv $place /run/moved; ln -s /run/moved $place"])
def test_a_place_that_others_can_change_is_not_used(world: World, line: str) -> None:
    world.sealed(WHERE)
    world.shell(f"place=/run/aiorun-python; {line}")
    assert world.sealed(WHERE, python=THROUGH_LINK) == ["/memfd:aiorun-python (deleted)", "memory"]
    assert world.sealed(WHERE) == ["/memfd:aiorun-python (deleted)", "memory"]


# --- where no overlay can be had -------------------------------------------------------------------------------

NO_OVERLAY = {
    "/run is read-only": "mount -o remount,ro /run",
    "/run is full": "mount -o remount,nr_inodes=4 /run",
    "the kernel refuses a third overlay on another": (
        "mkdir /run/e; d={directory}; for n in 1 2; do mount -t overlay -o lowerdir=$d:/run/e overlay $d; done"
    ),
}


@pytest.mark.parametrize("why", NO_OVERLAY)
def test_without_an_overlay_a_sealed_copy_in_memory_is_used(world: World, relocated: Path, why: str) -> None:
    world.shell(NO_OVERLAY[why].format(directory=relocated.parent))
    code = "tell([os.readlink('/proc/self/exe'), sealed.way_of_this_process(), sys.executable, sys.prefix, sys.argv[2:]])"
    expected = ["/memfd:aiorun-python (deleted)", "memory", str(relocated), str(relocated.parent.parent), ["a b", ""]]
    assert world.sealed(code, "a b", "", python=relocated) == expected


def tampered(call: str, how: str) -> tuple[str, ...]:
    """What stands before a command's argv so that the kernel answers one of its system calls otherwise."""
    return (need("strace"), "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{how}")


@pytest.mark.parametrize("call", ["fsopen", "fsconfig", "fsmount", "move_mount"])
@pytest.mark.parametrize("errno", ["ENOSYS", "EPERM"])
def test_a_kernel_or_filter_that_refuses_the_new_mount_calls_leaves_the_copy(world: World, call: str, errno: str) -> None:
    assert world.sealed(WHERE, before=tampered(call, f"error={errno}")) == ["/memfd:aiorun-python (deleted)", "memory"]


def test_a_kernel_that_does_not_know_executable_memory_files_makes_them_anyway(world: World) -> None:
    world.shell("mount -o remount,ro /run")
    assert world.sealed(WHERE, before=tampered("memfd_create", "error=EINVAL:when=1"))[1] == "memory"
    assert world.sealed(WHERE, before=tampered("memfd_create", "error=ENOSYS"))[1] == "unlinked"


@pytest.mark.parametrize("call", ["mkdirat", "symlinkat", "fsopen", "move_mount", "mount", "renameat"])
def test_a_command_that_is_killed_while_it_seals_is_in_nobodys_way(world: World, call: str) -> None:
    killed = subprocess.run(world.argv(*tampered(call, "signal=KILL"), *world.command(WHERE)), capture_output=True, check=False)
    assert killed.returncode == -9  # strace ends as the command does
    assert world.sealed(WHERE) == [SEALED, "overlay"]
    assert len(world.overlays()) == 1
    assert sorted(os.listdir(world.place)) == sorted(["empty", "lock", NAME, KEY])


def test_an_unprivileged_user_gets_a_sealed_copy_in_memory(world: World) -> None:
    user = (need("setpriv"), "--reuid", "65534", "--regid", "65534", "--clear-groups")
    assert world.sealed(WHERE, before=user) == ["/memfd:aiorun-python (deleted)", "memory"]
    assert not world.place.exists()


def test_the_copy_in_memory_cannot_be_written_even_when_nobody_runs_it(world: World) -> None:
    world.shell("mount -o remount,ro /run")
    attack = """\
import os, json
def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
fd = os.open("/proc/self/fd/9", os.O_RDWR)
print(json.dumps([attempt(os.write, fd, b"x"), attempt(os.truncate, fd, 0), attempt(os.truncate, fd, 1 << 30)]))
"""
    code = f"os.dup2(os.open('/proc/self/exe', os.O_RDONLY), 9); os.execv({PYTHON!r}, ['python', '-c', {attack!r}])"
    assert world.sealed(code) == [1, 1, 1]  # EPERM


def without_executable_memory(world: World, line: str = "true") -> tuple[str, ...]:
    """What stands before a command's argv so that vm.memfd_noexec, a pid namespace's own, forbids executable memfds to it."""
    if not os.path.exists("/proc/sys/vm/memfd_noexec"):
        pytest.skip("this kernel has no vm.memfd_noexec")
    world.shell("mount -o remount,ro /run")
    script = f'echo 2 >/proc/sys/vm/memfd_noexec; {line}; exec "$@"'
    return (need("unshare"), "--pid", "--fork", "--mount-proc", "/bin/sh", "-ec", script, "sh")


def test_without_executable_memory_an_unlinked_copy_is_used(world: World) -> None:
    code = """\
status = os.stat("/proc/self/exe")
try:
    os.link("/proc/self/exe", "/dev/shm/aiorun-test-link", follow_symlinks=True)
    linked = True
except OSError:
    linked = False
tell([sealed.way_of_this_process(), status.st_nlink, status.st_mode & 0o777, sys.executable, linked])
"""
    before = without_executable_memory(world)
    assert world.sealed(code, before=before) == ["unlinked", 0, 0o500, PYTHON, False]


def test_where_nothing_can_be_had_the_command_fails_in_one_sentence(world: World) -> None:
    line = "for d in /dev/shm /tmp /var/tmp; do mount --bind $d $d; mount -o remount,bind,noexec $d; done"
    said = world.run(*without_executable_memory(world, line), *world.command(WHERE), check=False)
    assert said.splitlines()[-1].endswith(f'AiorunError: seal the interpreter "{PYTHON}": permission denied')


def test_the_mark_against_a_loop_never_stands_for_the_seal(world: World) -> None:
    for way in sealed.WAYS:
        argv = [PYTHON, "-X", f"aiorun_sealing={way}", *OPTIONS, world.program, WHERE]
        if way == sealed.WAYS[-1]:
            assert "the copy isn't sealed" in world.run(*argv, check=False)
        else:
            assert '"memory"' in world.run(*argv) or '"unlinked"' in world.run(*argv)


# --- what `check` says, and what it costs ----------------------------------------------------------------------


def test_describe_says_which_way_applies_and_leaves_nothing(world: World) -> None:
    argv = [PYTHON, *OPTIONS, "-c", f"import sys; sys.path.append({str(CHECKOUT)!r})\n"]
    argv[-1] += "from aiorun.launch import sealed; print(sealed.describe())"
    assert world.run(*argv) == f'a read-only overlay of "{os.path.dirname(PYTHON)}" at "{BIN}"\n'
    assert not world.place.exists()
    assert not world.overlays()
    world.sealed(WHERE)
    assert world.run(*argv) == f'a read-only overlay of "{os.path.dirname(PYTHON)}" at "{BIN}"\n'
    world.shell(f"umount '{BIN}'; rm -r /run/aiorun-python")
    forbidden = without_executable_memory(world)
    no_overlay = "no overlay: read-only file system"
    assert world.run(*argv) == f"a sealed copy in memory for each command ({no_overlay})\n"
    said = world.run(*forbidden, *argv)
    assert said == f"an unlinked copy for each command ({no_overlay}; none in memory: permission denied)\n"


def test_the_check_loads_what_is_listed(world: World) -> None:
    code = "tell(sorted(name for name in sys.modules if name.startswith('aiorun.launch')))"
    world.sealed(WHERE)
    assert world.sealed(code, python=THROUGH_LINK) == ["aiorun.launch", "aiorun.launch.sealed"]


@pytest.mark.parametrize("path", ["/usr/bin/python3.11", "/a%2Fb/@home/%/python", "/x y/é'\"/p", "/%25%40"])
def test_a_key_tells_its_binary(path: str) -> None:
    key = sealed.key_of(path, os.stat("/"))
    assert sealed.binary_of(key) == sealed.binary_of(sealed.name_of(path)) == path
    assert "/" not in key
