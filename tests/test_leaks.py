"""The check after each test goes red for each kind of thing that can be left, and the fixtures make what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ptyprocess import PtyProcess

from tests import leaks
from tests.conftest import CHECKOUT, Bundles, CommandLine, changed, need, need_root


def run_pytest(tmp_path: Path, body: str) -> str:
    """What pytest prints for a test with this body, with the leak check as a plugin."""
    file = tmp_path / "test_leaky.py"
    file.write_text(f"import os, subprocess, ctypes\nfrom tests import leaks\n\ndef test_leaky(tmp_path):\n    {body}\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.leaks", "-c", os.devnull, "--rootdir", tmp_path, "-q", file],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    return ended.stdout + ended.stderr


def test_a_test_that_leaves_nothing_passes(tmp_path: Path) -> None:
    assert "1 passed" in run_pytest(tmp_path, "subprocess.run(['true'], check=True)")


def test_an_fd_left_open_is_an_error(tmp_path: Path) -> None:
    printed = run_pytest(tmp_path, "os.open('/dev/null', os.O_RDONLY)")
    assert "1 error" in printed
    assert "/dev/null" in printed


def test_a_process_left_running_is_an_error_and_is_killed(tmp_path: Path) -> None:
    body = "leaks.DYING_SECONDS = 0; print('pid', subprocess.Popen(['sleep', '1000']).pid); assert os.getppid() < 0"
    printed = run_pytest(tmp_path, body)
    assert "left behind: process" in printed
    pid = int(printed.partition("pid ")[2].split()[0])
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_orphaned_by_a_command_is_an_error(tmp_path: Path) -> None:
    body = "leaks.enclose(); leaks.DYING_SECONDS = 0; subprocess.run(['sh', '-c', 'sleep 1000 &'], check=True)"
    assert "sleep 1000" in run_pytest(tmp_path, body)


def test_a_mount_left_is_an_error(tmp_path: Path) -> None:
    need_root()
    body = "leaks.enclose(); assert not leaks.libc.mount(b'none', bytes(tmp_path), b'tmpfs', 0, None)"
    assert "left behind: mount tmpfs on " in run_pytest(tmp_path, body)


def test_a_zombie_is_reaped_and_is_no_leak() -> None:
    before = leaks.Belongings.now()
    child = os.posix_spawn("/bin/true", ["true"], os.environ)
    assert child in leaks.children()
    assert before.left_since() == []
    assert child not in leaks.children()


def test_a_cgroup_left_is_named_and_removed(cgroup_parent: str) -> None:
    need_root()
    parents = [hierarchy / cgroup_parent.lstrip("/") for hierarchy in leaks.cgroup_mounts()]
    writable = [parent for parent in parents if os.access(parent.parent, os.W_OK)]
    if not writable:
        pytest.skip("no writable cgroup hierarchy")
    (writable[0] / "left").mkdir(parents=True)
    assert leaks.remove_cgroups(cgroup_parent) == [f"cgroup {writable[0] / 'left'}"]
    assert not writable[0].exists()


def test_a_container_left_is_named_and_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "web").mkdir(parents=True)
    assert leaks.remove_containers(root) == [f"container web in {root}"]
    assert not root.exists()


def test_a_change_is_put_over_the_document_member_by_member() -> None:
    config = {"a": {"b": 1, "c": 2}, "d": [1, 2]}
    assert changed(config, {"a": {"b": 3, "c": None}, "d": [4]}) == {"a": {"b": 3}, "d": [4]}
    assert changed(config, lambda whole: whole.pop("a")) == {"d": [4]}


def test_a_bundle_runs_in_runc(bundle: Bundles, runc: CommandLine) -> None:
    ran = runc("run", "--bundle", bundle(args=["sh", "-c", "cat; hostname"]), "b", input="from stdin\n", check=True)
    assert ran.stdout == "from stdin\nrunc\n"


def test_output_of_a_created_container_does_not_hold_the_command(bundle: Bundles, runc: CommandLine) -> None:
    runc("create", "--bundle", bundle(), "b", check=True)
    assert runc.state("b")["status"] == "created"
    runc("delete", "--force", "b", check=True)


def test_a_terminal_has_the_size_asked_for(terminal: Callable[..., PtyProcess]) -> None:
    child = terminal([need("busybox"), "stty", "size"], size=(33, 44))
    assert child.read().split() == [b"33", b"44"]
