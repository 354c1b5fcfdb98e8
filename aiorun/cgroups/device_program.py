"""A BPF program that answers for a v2 cgroup which devices may be used: BPF_PROG_TYPE_CGROUP_DEVICE.

It gets struct bpf_cgroup_dev_ctx {u32 access_type; u32 major; u32 minor} in r1, access_type being the kind of device in the
lower half and the access asked for in the upper one, and returns 1 to allow. bpf(2), linux/bpf.h; the instruction set is in
the kernel's Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiorun.cgroups.devices import DeviceList, DeviceRule

_KINDS = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, _CHAR
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, _READ, _WRITE
_ALL = 7

# opcodes: class, size or operation, source
_LOAD_WORD, _AND, _SHIFT_RIGHT, _MOVE, _MOVE_REGISTER = 0x61, 0x54, 0x74, 0xB4, 0xBC
_JUMP_NOT_EQUAL, _JUMP_NOT_EQUAL_REGISTER, _JUMP_EQUAL, _EXIT = 0x55, 0x5D, 0x15, 0x95

_R0, _SCRATCH, _KIND, _ASKED, _MAJOR, _MINOR = 0, 1, 2, 3, 4, 5


def assemble(devices: DeviceList) -> bytes:
    """The program for this list, 8 bytes an instruction.

    An allowing exception has to cover all of what is asked for; a denying one need only touch it, as in v1
    (devcgroup_legacy_check_permission in security/device_cgroup.c).
    """
    program = [
        _instruction(_LOAD_WORD, _KIND, source=1, offset=0),
        _instruction(_MOVE_REGISTER, _ASKED, source=_KIND),
        _instruction(_AND, _KIND, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ASKED, value=16),
        _instruction(_LOAD_WORD, _MAJOR, source=1, offset=4),
        _instruction(_LOAD_WORD, _MINOR, source=1, offset=8),
    ]
    for rule in devices.exceptions:
        program += _exception(rule)
    return b"".join([*program, *_answer(devices.allow)])


def _exception(rule: DeviceRule) -> list[bytes]:
    """If the device is the rule's then the rule's answer; else on to what comes next."""
    tests: list[tuple[int, int, int, int]] = [(_JUMP_NOT_EQUAL, _KIND, 0, _KINDS[rule.kind])]
    if rule.major >= 0:
        tests.append((_JUMP_NOT_EQUAL, _MAJOR, 0, rule.major))
    if rule.minor >= 0:
        tests.append((_JUMP_NOT_EQUAL, _MINOR, 0, rule.minor))
    access = sum(_ACCESS[letter] for letter in rule.access)
    if access != _ALL:
        tests.append((_MOVE_REGISTER, _SCRATCH, _ASKED, 0))
        tests.append((_AND, _SCRATCH, 0, access))
        if rule.allow:
            tests.append((_JUMP_NOT_EQUAL_REGISTER, _SCRATCH, _ASKED, 0))
        else:
            tests.append((_JUMP_EQUAL, _SCRATCH, 0, 0))
    answer = _answer(rule.allow)
    size = len(tests) + len(answer)
    block = []
    for place, (opcode, register, source, value) in enumerate(tests):
        jumps = opcode in (_JUMP_NOT_EQUAL, _JUMP_NOT_EQUAL_REGISTER, _JUMP_EQUAL)
        block.append(_instruction(opcode, register, source=source, offset=size - place - 1 if jumps else 0, value=value))
    return block + answer


def _answer(allow: bool) -> list[bytes]:
    return [_instruction(_MOVE, _R0, value=int(allow)), _instruction(_EXIT, 0)]


def _instruction(opcode: int, register: int, *, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn: opcode, destination and source register, offset, immediate value."""
    return bytes((opcode, register | source << 4)) + offset.to_bytes(2, "little") + value.to_bytes(4, "little")
