"""bpf(2) on a real cgroup of the v2 hierarchy; in hybrid too, where nothing else uses it for devices."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from aiorun.cgroups import layout
from aiorun.cgroups.device_program import assemble
from aiorun.cgroups.devices import DeviceList, DeviceRule
from aiorun.linux import bpf
from aiorun.linux._call import Buffer
from tests.conftest import need_root

ALLOW, DENY = (assemble(DeviceList(allow, ())) for allow in (True, False))


@pytest.fixture
def cgroup(cgroup_parent: str) -> Iterator[int]:
    """The fd of a new cgroup in the v2 hierarchy."""
    need_root()
    unified = layout().hierarchies.get("")
    if unified is None:
        pytest.skip("this host has no v2 hierarchy")
    path = unified.mount_point + cgroup_parent
    os.mkdir(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            bpf.device_programs(fd)
        except OSError as error:
            pytest.skip(f"this kernel has no BPF device programs: {error}")
        yield fd
    finally:
        os.close(fd)
        os.rmdir(path)


def test_the_kernel_takes_every_shape_of_program(cgroup: int) -> None:
    exceptions = [
        DeviceRule(allow, kind, major, minor, access)
        for allow in (True, False)
        for kind in "bc"
        for major in (-1, 2**31 - 1)
        for minor in (-1, 0)
        for access in ("r", "wm", "rwm")
    ]
    os.close(bpf.load_device_program(assemble(DeviceList(False, tuple(exceptions)))))


def test_setting_a_program_again_replaces_it(cgroup: int) -> None:
    assert bpf.device_programs(cgroup) == []
    bpf.set_device_program(cgroup, ALLOW)
    (first,) = bpf.device_programs(cgroup)
    bpf.set_device_program(cgroup, DENY)
    (second,) = bpf.device_programs(cgroup)
    assert first != second


def test_setting_a_program_takes_all_others_off(cgroup: int) -> None:
    for _ in range(3):
        program = bpf.load_device_program(ALLOW)
        bpf.attach_device_program(cgroup, program)
        os.close(program)
    before = bpf.device_programs(cgroup)
    assert len(before) == 3
    bpf.set_device_program(cgroup, DENY)
    (after,) = bpf.device_programs(cgroup)
    assert after not in before


def test_the_kernels_answer_stays_inside_the_attributes(cgroup: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kernels write past a short bpf_attr: what lies behind ours has to stay as it was."""
    canary = b"\xa5" * 64
    seen: list[Buffer] = []

    class Fenced(Buffer):
        def __init__(self, content: int | bytes) -> None:
            super().__init__((bytes(content) if isinstance(content, int) else content) + canary)
            seen.append(self)

    monkeypatch.setattr(bpf, "Buffer", Fenced)
    bpf.set_device_program(cgroup, ALLOW)
    bpf.set_device_program(cgroup, DENY)
    assert seen
    assert all(bytes(buffer).endswith(canary) for buffer in seen)


def test_a_program_that_is_no_program_is_refused(cgroup: int) -> None:
    with pytest.raises(OSError, match=r"Invalid argument|Permission denied"):
        bpf.load_device_program(bytes(8))
