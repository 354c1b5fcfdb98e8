"""buildah with aiorun as its runtime: docs/engines.md."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_root_file_system, need, need_root
from tests.engines.daemons import AIORUN, Ended, unmount


class Buildah:
    """buildah with a storage of the test's own."""

    def __init__(self, where: Path) -> None:
        self.where = where
        make_root_file_system(where / "context" / "rootfs")

    def __call__(self, *words: str) -> Ended:
        places = ("--root", str(self.where / "root"), "--runroot", str(self.where / "run"), "--storage-driver", "vfs")
        argv = [need("buildah"), *places, "--cgroup-manager", "cgroupfs", *words]
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)

    def checked(self, *words: str) -> str:
        ended = self(*words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def run(self, container: str, *command: str) -> Ended:
        return self("run", "--isolation", "oci", "--runtime", AIORUN, "--network", "none", container, "--", *command)


@pytest.fixture
def buildah(leaves_nothing: None) -> Iterator[Buildah]:
    need_root()
    need("buildah")
    with tempfile.TemporaryDirectory(prefix="aiorun-") as where:
        yield Buildah(Path(where))
        unmount(Path(where))


def test_a_command_runs_in_a_working_container_with_its_exit_code(buildah: Buildah) -> None:
    container = buildah.checked("from", "scratch").strip()
    buildah.checked("copy", container, str(buildah.where / "context" / "rootfs"), "/")
    ended = buildah.run(container, "sh", "-c", "echo said; echo kept >/made; exit 3")
    assert (ended.returncode, ended.stdout) == (3, "said\n")
    assert buildah.run(container, "cat", "/made").stdout == "kept\n"
    refused = buildah.run(container, "nosuch")
    assert refused.returncode != 0
    assert 'exec: "nosuch": executable file not found in $PATH' in refused.stderr.replace("\\", "")


def test_an_image_is_built(buildah: Buildah) -> None:
    context = buildah.where / "context"
    (context / "Containerfile").write_text("FROM scratch\nADD rootfs /\nRUN echo built >/made\nRUN cat /made && id -u\n")
    ended = buildah("bud", "--isolation", "oci", "--runtime", AIORUN, "--network", "none", "--tag", "x", str(context))
    assert ended.returncode == 0, ended.stderr
    assert "\nbuilt\n0\n" in ended.stdout


def test_a_failing_step_fails_the_build(buildah: Buildah) -> None:
    context = buildah.where / "context"
    (context / "Containerfile").write_text("FROM scratch\nADD rootfs /\nRUN exit 4\n")
    ended = buildah("bud", "--isolation", "oci", "--runtime", AIORUN, "--network", "none", str(context))
    assert ended.returncode != 0
    assert "exit status 4" in ended.stderr
