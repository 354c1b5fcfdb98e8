"""process.apparmorProfile, process.selinuxLabel, linux.mountLabel."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiorun.runtime.labels import has_apparmor, has_selinux
from tests.conftest import CommandLine, Config, need, need_root
from tests.container.conftest import Sandbox
from tests.exec.conftest import Boxes
from tests.exec.conftest import boxes as boxes

PROFILE = "aiorun-test"


def need_apparmor() -> None:
    need_root()
    if not has_apparmor():
        pytest.skip("this host has no AppArmor")


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[str]:
    """A profile that allows all but to read /etc/passwd, loaded as long as the test runs."""
    need_apparmor()
    parser = need("apparmor_parser")
    text = tmp_path / "profile"
    text.write_text(
        f"profile {PROFILE} flags=(attach_disconnected) {{ file, capability, signal, ptrace, deny /etc/passwd r, }}\n"
    )
    subprocess.run([parser, "--replace", "--skip-cache", str(text)], check=True)
    yield PROFILE
    subprocess.run([parser, "--remove", str(text)], check=True)


OFF = "selinux label is specified in config, but selinux is disabled or not supported"


def test_a_label_of_a_module_that_is_off_is_an_error(sandbox: Sandbox) -> None:
    if has_selinux():
        pytest.skip("this host has SELinux")
    assert OFF in sandbox.refuses({"process": {"selinuxLabel": "a:b:c:d"}})


def test_a_label_for_mounts_of_a_module_that_is_off_is_an_error(ours: Sandbox) -> None:
    """runc 1.1.5 hands it to a kernel that doesn't know it: invalid argument."""
    if has_selinux():
        pytest.skip("this host has SELinux")
    assert f"linux.mountLabel: {OFF}" in ours.refuses({"linux": {"mountLabel": "a:b:c:d"}})


def test_a_profile_without_apparmor_is_an_error(ours: Sandbox) -> None:
    if has_apparmor():
        pytest.skip("this host has AppArmor")
    said = ours.refuses({"process": {"apparmorProfile": "x"}})
    assert "process.apparmorProfile: apparmor: config provided but apparmor not supported" in said


def test_an_exec_asks_for_no_module_that_is_off(aiorun: CommandLine, boxes: Boxes) -> None:
    if has_selinux():
        pytest.skip("this host has SELinux")
    assert OFF in boxes(aiorun).refuses("true", flags=["--process-label", "a:b:c:d"])


def test_the_program_runs_under_its_apparmor_profile(sandbox: Sandbox, profile: str) -> None:
    change = {"process": {"apparmorProfile": profile, "noNewPrivileges": False}}
    said = sandbox(change, "cat /proc/self/attr/current; cat /etc/passwd 2>&1; cat /etc/group")
    assert said.startswith(f"{profile} (enforce)\n")
    assert "'/etc/passwd': Permission denied" in said
    assert "alice" in said


def test_what_is_executed_runs_under_it_too(runtime: CommandLine, boxes: Boxes, profile: str) -> None:
    box = boxes(runtime, {"process": {"apparmorProfile": profile, "noNewPrivileges": False}})
    assert box("cat", "/proc/self/attr/current") == f"{profile} (enforce)"
    box = boxes(runtime, {"process": {"noNewPrivileges": False}})
    assert box("cat", "/proc/self/attr/current", flags=["--apparmor", profile]) == f"{profile} (enforce)"
    assert box("cat", "/proc/self/attr/current") == "unconfined"


def test_a_profile_that_is_not_loaded_is_an_error(ours: Sandbox) -> None:
    need_apparmor()
    said = ours.refuses({"process": {"apparmorProfile": "nosuch"}})
    assert (
        'set the AppArmor label "nosuch" (process.apparmorProfile): write `/proc/self/attr/apparmor/exec`: no such file' in said
    )


def test_a_fake_proc_gets_no_label(ours: Sandbox, profile: str, tmp_path: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: what the container has at /proc, in a container that shares its mounts with it."""
    fake = tmp_path / "fake"
    for directory in ("self", "1", "thread-self"):
        (fake / directory / "attr" / "apparmor").mkdir(parents=True)
        for name in ("exec", "apparmor/exec"):
            (fake / directory / "attr" / name).touch()

    def change(config: Config) -> None:
        config["process"]["apparmorProfile"] = profile
        config["process"]["noNewPrivileges"] = False
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/proc"]
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []

    bundle = ours.bundle(change, args=["cat", "/etc/passwd"])
    (bundle / "rootfs" / "proc").rmdir()
    fake.rename(bundle / "rootfs" / "proc")
    ended = ours.run_bundle(bundle)
    assert "Permission denied" in ended.stderr
    assert [path for path in (bundle / "rootfs" / "proc").rglob("*") if path.is_file() and path.stat().st_size] == []
