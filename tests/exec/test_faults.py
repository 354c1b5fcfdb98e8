"""An exec that is killed at any step, to which the kernel refuses anything, or whose cgroup is gone. Nothing is left of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.exec.conftest import Box
from tests.exec.test_life import in_container
from tests.leaks import cgroup_mounts
from tests.runtime.life import complaint
from tests.runtime.steps import Step, failing_at, killed_at, sample, steps_of
from tests.waiting import until

REFUSALS = [
    ("openat", "EMFILE", "too many open files"),
    ("openat", "EIO", "input/output error"),
    ("socketpair", "EMFILE", "too many open files"),
    ("clone3", "EAGAIN", "resource temporarily unavailable"),
    ("clone3", "ENOMEM", "cannot allocate memory"),
    ("sendmsg", "ENOBUFS", ""),
    ("write", "ENOSPC", "no space left on device"),
]


def command(box: Box) -> tuple[str | Path, ...]:
    return ("exec", "--detach", "--pid-file", box.bundle / "pid", box.id, "sleep", "1000")


def end_what_runs(box: Box) -> None:
    """So that the init is alone again."""
    for pid in set(map(int, in_container(box))) - {box.pid}:
        os.kill(pid, 9)
    is_alone(box)


def is_alone(box: Box) -> None:
    until(lambda: in_container(box) == [str(box.pid)], "the init to be alone")


def steps(box: Box, log: Path) -> list[Step]:
    for _ in range(2):  # the second time in a world in which it has been done before
        found = steps_of(box.command_line, *command(box), after=f'{box.command_line.root}/{box.id}"', log=log)
        end_what_runs(box)
        (box.bundle / "pid").unlink()
    return found


@pytest.mark.parametrize("call, error, reason", REFUSALS, ids=lambda value: value or None)
def test_whatever_the_kernel_refuses_is_one_sentence_and_nothing_is_left(
    ours: Box, tmp_path: Path, call: str, error: str, reason: str
) -> None:
    failures = 0
    for step in sample([step for step in steps(ours, tmp_path / "log") if step.call == call], 8):
        ended = failing_at(ours.command_line, step, error, *command(ours), log=tmp_path / "log")
        if ended.returncode == 0:  # it could do without
            end_what_runs(ours)
            (ours.bundle / "pid").unlink()
            continue
        failures += 1
        said = complaint(ended)
        assert ended.returncode == 255
        assert said.startswith("exec failed: ")
        assert said.endswith(reason)
        assert "unexpected" not in said and "Error" not in said, (step, said)
        is_alone(ours)
        assert {"pid", ".pid"}.isdisjoint(os.listdir(ours.bundle)), step
    assert failures


def test_killed_at_any_step_it_leaves_nothing_or_what_was_asked_for(ours: Box, tmp_path: Path) -> None:
    left = 0
    for step in sample(steps(ours, tmp_path / "log"), 16):
        killed_at(ours.command_line, step, *command(ours), log=tmp_path / "log")
        until(lambda: len(in_container(ours)) == 1 or programs(ours) == ["sleep"], f"what is left after {step} to end or to run")
        left += len(in_container(ours)) > 1
        end_what_runs(ours)
    assert ours("echo", "well") == "well"
    assert left


def programs(box: Box) -> list[str]:
    """The names of what runs beside the init."""
    names = []
    for pid in set(map(int, in_container(box))) - {box.pid}:
        try:
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
        except FileNotFoundError:
            continue
    return names


@contextmanager
def moved(box: Box) -> Iterator[str]:
    """The container's v2 cgroup is gone: its init is in another one, as a systemd in it may have it."""
    for hierarchy in cgroup_mounts():
        own = next((line[3:] for line in Path(f"/proc/{box.pid}/cgroup").read_text().splitlines() if line[:3] == "0::"), "")
        if own and (hierarchy / own[1:] / "cgroup.type").exists():
            cgroup = hierarchy / own[1:]
            other = cgroup.with_name("moved")
            break
    else:
        pytest.skip("this host has no cgroup v2 hierarchy")
    if any((cgroup / name).exists() for name in ("memory.max", "pids.max")):
        pytest.skip("here the container's limits are in its v2 cgroup")
    other.mkdir()
    (other / "cgroup.procs").write_text(str(box.pid))
    cgroup.rmdir()
    try:
        yield str(Path(own).with_name("moved"))
    finally:
        cgroup.mkdir()
        (cgroup / "cgroup.procs").write_text(str(box.pid))
        until(lambda: not (other / "cgroup.procs").read_text(), "the others to be gone")
        other.rmdir()


def test_where_its_v2_cgroup_is_gone_the_process_is_where_the_init_is(ours: Box) -> None:
    with moved(ours) as other:
        assert f"0::{other}" in ours("cat", "/proc/self/cgroup").splitlines()
