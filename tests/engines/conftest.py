"""The engines, each with directories of the test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need, need_root
from tests.engines.daemons import Containerd, Docker


@pytest.fixture
def containerd(cgroup_parent: str, leaves_nothing: None) -> Iterator[Containerd]:
    need_root()
    need("ctr")
    need("containerd-shim-runc-v2")
    with tempfile.TemporaryDirectory(prefix="aiorun-") as where:  # a socket's path has 107 bytes at most
        containerd = Containerd(Path(where), cgroup_parent)
        yield containerd
        containerd.close()


@pytest.fixture
def docker(cgroup_parent: str, leaves_nothing: None) -> Iterator[Docker]:
    need_root()
    for program in ("docker", "dockerd", "containerd", "ctr", "containerd-shim-runc-v2"):
        need(program)
    with tempfile.TemporaryDirectory(prefix="aiorun-") as where:
        docker = Docker(Path(where), cgroup_parent)
        yield docker
        docker.close()
