"""Containers through the library: a Runtime on the test's own root, specs, and a look at what is left."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

import aiorun
from aiorun.spec.types import Spec
from tests import leaks
from tests.conftest import CHECKOUT, Bundles, Change, changed, need_root

_numbers = itertools.count(1)


@pytest.fixture
async def runtime(root_dir: Path, cgroup_parent: str) -> AsyncIterator[aiorun.Runtime]:
    """A Runtime on the test's own root."""
    need_root()
    async with aiorun.Runtime(root=root_dir) as runtime:
        yield runtime


class Jobs:
    """Makes specs on one root file system: `jobs("sh", "-c", "…")`; `jobs.bundle` is what they count from."""

    def __init__(self, bundles: Bundles) -> None:
        self._bundles = bundles
        self.bundle = bundles()

    def __call__(self, *args: str, change: Change = None) -> Spec:
        """A spec with a cgroup of its own, and `change` put over it."""
        config = self._bundles.read(self.bundle)
        config["process"]["args"] = list(args) or ["true"]
        config["linux"]["cgroupsPath"] = f"{self._bundles.cgroup_parent}/job-{next(_numbers)}"
        return cast("Spec", changed(config, change))

    def options(self, *args: str, change: Change = None) -> Any:
        """The arguments of `Runtime.container` for it."""
        return {"spec": self(*args, change=change), "bundle": self.bundle}


@pytest.fixture
def jobs(bundle: Bundles) -> Jobs:
    return Jobs(bundle)


class Leftovers:
    """What this process and its root have more than when this was made: `left()` is [] when all is cleaned up."""

    def __init__(self, root: Path, cgroup_parent: str) -> None:
        self._root, self._cgroup_parent = root, cgroup_parent
        self._before = self._now()

    def _now(self) -> set[tuple[str, str]]:
        """(kind, which) of each."""
        containers = os.listdir(self._root) if self._root.exists() else []
        return {
            *(("container", id) for id in containers),
            *(("cgroup", str(path)) for path in leaks.cgroups_below(self._cgroup_parent)),
            *(("process", str(pid)) for pid in leaks.children()),  # zombies too: whose exit nobody took
            *(("mount", mount[0]) for mount in leaks.mounts() if not mount[0].startswith(leaks.SEALED)),
            *(("fd", f"{number} {what}") for number, what in leaks.fds()),
        }

    def left(self) -> list[tuple[str, str]]:
        return sorted(self._now() - self._before)


@pytest.fixture
def leftovers(root_dir: Path, cgroup_parent: str) -> Callable[[], Leftovers]:
    """`leftovers()` looks now, and `.left()` of that later."""
    return lambda: Leftovers(root_dir, cgroup_parent)


@pytest.fixture
def supervisor(tmp_path: Path) -> Callable[[str], list[str]]:
    """`supervisor("async def main(): …")` is the argv of a program of its own that runs it with trio."""

    def write(program: str) -> list[str]:
        script = tmp_path / f"supervisor-{next(_numbers)}.py"
        script.write_text(
            f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})\nimport os, trio, aiorun\n{program}\ntrio.run(main)\n"
        )
        return [sys.executable, str(script)]

    return write
