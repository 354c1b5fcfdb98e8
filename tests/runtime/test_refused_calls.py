"""A create to which the kernel refuses anything at all: one sentence that says what, and nothing is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.runtime.life import cgroups_of, refused
from tests.runtime.steps import failing_at, sample, steps_of

REFUSALS = [
    ("write", "ENOSPC", "no space left on device"),
    ("write", "EIO", "input/output error"),
    ("openat", "EMFILE", "too many open files"),
    ("openat", "EIO", "input/output error"),
    ("mkdir", "ENOSPC", "no space left on device"),
    ("mknodat", "EROFS", "read-only file system"),
    ("renameat", "EIO", "input/output error"),
    ("fchmod", "EPERM", "operation not permitted"),
    ("socketpair", "EMFILE", "too many open files"),
    ("clone3", "EAGAIN", "resource temporarily unavailable"),
    ("clone3", "ENOMEM", "cannot allocate memory"),
    ("sendmsg", "ENOBUFS", ""),
]


@pytest.mark.parametrize("call, error, reason", REFUSALS, ids=lambda value: value or None)
def test_whatever_the_kernel_refuses_is_one_sentence_and_nothing_is_left(
    aiorun: CommandLine, bundle: Bundles, cgroup_parent: str, tmp_path: Path, call: str, error: str, reason: str
) -> None:
    log, made = tmp_path / "strace.log", bundle(args=["sleep", "1000"])
    command = ("create", "--bundle", made, "--pid-file", tmp_path / "pid", "x")
    for _ in range(2):  # the second time in a world in which it has been done before: compiled, sealed, the parent cgroup made
        steps = steps_of(aiorun, *command, after="config.json", log=log)
        aiorun("delete", "x", check=True)
        (tmp_path / "pid").unlink()
    failures = 0
    for step in sample([step for step in steps if step.call == call], 12):
        ended = failing_at(aiorun, step, error, *command, log=log)
        if ended.returncode == 0:  # it could do without
            assert aiorun.state("x")["status"] == "created"
            aiorun("start", "x", check=True)
            aiorun("delete", "--force", "x", check=True)
            (tmp_path / "pid").unlink()
            continue
        failures += 1
        said = refused(ended)
        assert said.startswith("aiorun create failed: ")
        assert said.endswith(reason)
        assert "unexpected" not in said and "Error" not in said, step
        assert os.listdir(aiorun.root) == [], step
        assert cgroups_of(cgroup_parent) == [], step
        assert {"pid", ".pid"}.isdisjoint(os.listdir(tmp_path)), step
    assert failures
