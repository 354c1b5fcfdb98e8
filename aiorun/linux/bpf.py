"""Programs that decide on the devices of a v2 cgroup. bpf(2), Linux 4.15."""

from __future__ import annotations

import os

from aiorun.linux._call import Buffer, call
from aiorun.linux.numbers import NUMBER

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_CGROUP_DEVICE_PROGRAM, _CGROUP_DEVICE = 15, 6  # BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE
_ALLOW_MULTI, _REPLACE = 2, 4
_MOST = 64  # BPF_CGROUP_MAX_PROGS
_EINVAL = 22

# Longer than any kernel's union bpf_attr, zeros beyond what we know, always handed over whole: some kernels
# (6.17 to 7.1) write their answer to BPF_PROG_QUERY past the end of a shorter one.
_SIZE = 512


def _bpf(command: int, *fields: tuple[int, int]) -> tuple[int, Buffer]:
    """bpf(2) with the attributes `fields`: (value, bytes), one after the other."""
    content = b"".join(value.to_bytes(size, "little") for value, size in fields)
    attributes = Buffer(content + bytes(_SIZE - len(content)))
    return call(NUMBER["bpf"], command, attributes, _SIZE), attributes


def load_device_program(instructions: bytes) -> int:
    """The fd (close-on-exec) of a new program of type BPF_PROG_TYPE_CGROUP_DEVICE. Raises OSError."""
    code, license = Buffer(instructions), Buffer(b"Apache-2.0\0")  # the licence matters to helpers alone: none is called
    count = len(instructions) // 8
    return _bpf(_PROG_LOAD, (_CGROUP_DEVICE_PROGRAM, 4), (count, 4), (code.address, 8), (license.address, 8))[0]


def device_programs(cgroup: int) -> list[int]:
    """The ids of the device programs that are attached to the cgroup behind this fd itself (not to its parents)."""
    ids = Buffer(4 * _MOST)
    fields = ((cgroup, 4), (_CGROUP_DEVICE, 4), (0, 4), (0, 4), (ids.address, 8), (_MOST, 4))
    _, attributes = _bpf(_PROG_QUERY, *fields)
    count = attributes.integer(24)
    return [ids.integer(4 * index) for index in range(count)]


def open_program(id: int) -> int:
    """The fd of the loaded program `id`."""
    return _bpf(_PROG_GET_FD_BY_ID, (id, 4))[0]


def attach_device_program(cgroup: int, program: int, *, replace: int | None = None) -> None:
    """Attach `program` to the cgroup, beside those of its parents, in the place of `replace` if that is given.

    Replacing needs Linux 5.6: EINVAL before.
    """
    flags = _ALLOW_MULTI if replace is None else _ALLOW_MULTI | _REPLACE
    _bpf(_PROG_ATTACH, (cgroup, 4), (program, 4), (_CGROUP_DEVICE, 4), (flags, 4), (replace or 0, 4))


def detach_device_program(cgroup: int, program: int) -> None:
    """Take `program` off the cgroup."""
    _bpf(_PROG_DETACH, (cgroup, 4), (program, 4), (_CGROUP_DEVICE, 4))


def set_device_program(cgroup: int, instructions: bytes) -> None:
    """Make this program the only one of the cgroup itself. There is no moment in which the cgroup has none.

    Raises OSError.
    """
    program = load_device_program(instructions)
    old = []
    try:
        old = [open_program(id) for id in device_programs(cgroup)]
        if len(old) == 1 and _replaced(cgroup, program, old[0]):
            return
        attach_device_program(cgroup, program)
        for fd in old:
            detach_device_program(cgroup, fd)
    finally:
        for fd in (program, *old):
            os.close(fd)


def _replaced(cgroup: int, program: int, old: int) -> bool:
    try:
        attach_device_program(cgroup, program, replace=old)
        return True
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        return False
