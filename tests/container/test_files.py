"""Files that the program is given beside its standard streams, and the session keyring."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container.configs import both, mounting
from tests.container.conftest import Sandbox


def run_with_files(sandbox: Sandbox, count: int, script: str, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A run with `count` pipes at 3, 4, … that each hold their number."""
    bundle = sandbox.bundle(args=["sh", "-c", script])
    argv = sandbox.command_line.argv("run", *flags, "--bundle", bundle, "files")
    opened = "".join(f" {fd}<'{bundle}/f{fd}'" for fd in range(3, 3 + count))
    for fd in range(3, 3 + count):
        (bundle / f"f{fd}").write_text(f"{fd}\n")
    return subprocess.run(
        ["sh", "-c", f'exec "$@"{opened}', "sh", *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize("count", [1, 3])
def test_preserved_files_reach_the_program_and_the_next_one_does_not(sandbox: Sandbox, count: int) -> None:
    script = "for fd in 3 4 5 6; do cat <&$fd || break; done 2>/dev/null; echo end"
    ended = run_with_files(sandbox, count + 1, script, "--preserve-fds", str(count))
    assert ended.stdout.split() == [*map(str, range(3, 3 + count)), "end"], ended.stderr


def test_a_file_to_preserve_that_is_not_open_is_an_error(ours: Sandbox) -> None:
    """runc says nothing of it."""
    ended = run_with_files(ours, 1, "echo ran", "--preserve-fds", "2")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "--preserve-fds 2: file descriptor 4 is not open" in ended.stderr


def test_listening_sockets_of_systemd_are_handed_on_only_where_they_are_ours(ours: Sandbox) -> None:
    """sd_listen_fds(3). What LISTEN_PID says of somebody else isn't for us; runc doesn't look."""
    script = "echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd | wc -l"
    bundle = ours.bundle(args=["sh", "-c", script])
    (bundle / "f").write_text("")
    argv = ours.command_line.argv("run", "--bundle", bundle, "listen")
    for pid, seen in (("$$", ["2", "1", "6"]), ("1", ["4"])):
        started = f'export LISTEN_PID={pid} LISTEN_FDS=2; exec "$@" 3<"$0" 4<"$0"'
        ended = subprocess.run(
            ["sh", "-c", started, str(bundle / "f"), *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert ended.stdout.split() == seen, ended.stderr


DESCRIBE = """
import ctypes, platform
keyctl, describe, id_of, session = {"x86_64": 250, "aarch64": 219}[platform.machine()], 6, 0, -3
libc, text = ctypes.CDLL(None), ctypes.create_string_buffer(256)
libc.syscall(keyctl, id_of, session, 0)
libc.syscall(keyctl, describe, session, text, 256)
print(text.value.decode())
"""


def session_keyring(sandbox: Sandbox, *flags: str) -> str:
    """The session keyring as a program inside finds it: type;uid;gid;permissions;name. keyctl(2), KEYCTL_DESCRIBE."""
    if not Path("/proc/keys").exists():
        pytest.skip("the kernel has no keyrings")
    libraries = [name for name in ("/usr", "/lib", "/lib64") if os.path.isdir(name)]
    change = both(*(mounting(name, kind="bind", source=name, options="rbind,ro") for name in libraries))
    return sandbox.run_bundle(sandbox.bundle(change, args=["/usr/bin/python3", "-c", DESCRIBE]), *flags).stdout.strip()


def test_the_container_has_a_session_keyring_of_its_own(sandbox: Sandbox) -> None:
    kind, uid, gid, permissions, name = session_keyring(sandbox).split(";")
    assert (kind, uid, gid) == ("keyring", "0", "0")
    assert name.startswith("_ses.s")
    assert int(permissions, 16) & 0x080000  # the user may search it


def test_without_a_new_keyring_the_callers_is_kept(sandbox: Sandbox) -> None:
    own = subprocess.run([sys.executable, "-c", DESCRIBE], capture_output=True, text=True, check=True).stdout.strip()
    assert session_keyring(sandbox, "--no-new-keyring") == own
