"""criu's messages (its images/rpc.proto): the fields that are used here, as tables, and protobuf's wire format.

Google's package would do, but its import takes 31 ms, more than a whole `run` of ours (docs/design.md, "The import budget").
A message is a dict of the fields that are set, by their names.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeAlias

    Kind: TypeAlias = str | Mapping[str, "Field"]  # a name below, or the table of an inner message
    Field: TypeAlias = tuple[int, "Kind | list[Kind]"]  # its number, and what it holds: in a list, any number of that
    Table: TypeAlias = Mapping[str, Field]
    Message: TypeAlias = Mapping[str, Any]

_INT, _BOOL, _TEXT = "int", "bool", "text"  # int32, uint32 and enums alike; bool; string
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # the wire's types
_64_BITS = (1 << 64) - 1

# criu_req_type
DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10
KINDS = {0: "EMPTY", DUMP: "DUMP", RESTORE: "RESTORE", PRE_DUMP: "PRE_DUMP", NOTIFY: "NOTIFY"}
KINDS |= {FEATURE_CHECK: "FEATURE_CHECK", VERSION: "VERSION"}

# criu_cg_mode. What runc calls the default is "soft".
CGROUP_MODES = {"": 6, "ignore": 0, "soft": 3, "full": 4, "strict": 5}

_PAGE_SERVER: Table = {"address": (1, _TEXT), "port": (2, _INT)}
_EXTERNAL_MOUNT: Table = {"key": (1, _TEXT), "val": (2, _TEXT)}
_JOIN_NAMESPACE: Table = {"ns": (1, _TEXT), "ns_file": (2, _TEXT)}
_INHERIT_FD: Table = {"key": (1, _TEXT), "fd": (2, _INT)}
_CGROUP_ROOT: Table = {"ctrl": (1, _TEXT), "path": (2, _TEXT)}
_FEATURES: Table = {"mem_track": (1, _BOOL), "lazy_pages": (2, _BOOL)}

_OPTIONS: Table = {
    "images_dir_fd": (1, _INT),
    "pid": (2, _INT),
    "leave_running": (3, _BOOL),
    "ext_unix_sk": (4, _BOOL),
    "tcp_established": (5, _BOOL),
    "evasive_devices": (6, _BOOL),
    "shell_job": (7, _BOOL),
    "file_locks": (8, _BOOL),
    "log_level": (9, _INT),
    "log_file": (10, _TEXT),
    "ps": (11, _PAGE_SERVER),
    "notify_scripts": (12, _BOOL),
    "root": (13, _TEXT),
    "parent_img": (14, _TEXT),
    "track_mem": (15, _BOOL),
    "auto_dedup": (16, _BOOL),
    "work_dir_fd": (17, _INT),
    "link_remap": (18, _BOOL),
    "ext_mnt": (23, [_EXTERNAL_MOUNT]),
    "manage_cgroups": (24, _BOOL),
    "cg_root": (25, [_CGROUP_ROOT]),
    "rst_sibling": (26, _BOOL),
    "inherit_fd": (27, [_INHERIT_FD]),
    "manage_cgroups_mode": (34, _INT),
    "external": (37, [_TEXT]),
    "empty_ns": (38, _INT),
    "join_ns": (39, [_JOIN_NAMESPACE]),
    "freeze_cgroup": (44, _TEXT),
    "tcp_skip_in_flight": (46, _BOOL),
    "lazy_pages": (48, _BOOL),
    "orphan_pts_master": (50, _BOOL),
    "config_file": (51, _TEXT),
    "lsm_profile": (53, _TEXT),
    "lsm_mount_context": (63, _TEXT),
}

REQUEST: Table = {
    "type": (1, _INT),
    "opts": (2, _OPTIONS),
    "notify_success": (3, _BOOL),
    "keep_open": (4, _BOOL),
    "features": (5, _FEATURES),
}

ANSWER: Table = {
    "type": (1, _INT),
    "success": (2, _BOOL),
    "restore": (4, {"pid": (1, _INT)}),
    "notify": (5, {"script": (1, _TEXT), "pid": (2, _INT)}),
    "cr_errno": (7, _INT),
    "features": (8, _FEATURES),
    "cr_errmsg": (9, _TEXT),
    "version": (10, {"major_number": (1, _INT), "minor_number": (2, _INT), "gitid": (3, _TEXT), "sublevel": (4, _INT)}),
}


def encode(message: Message, table: Table) -> bytes:
    """`message` as bytes. protobuf.dev/programming-guides/encoding. Raises KeyError for a field that isn't in the table."""
    written = bytearray()
    for name, value in message.items():
        number, kind = table[name]
        for item in value if isinstance(kind, list) else (value,):
            written += _encode_one(number, kind[0] if isinstance(kind, list) else kind, item)
    return bytes(written)


def _encode_one(number: int, kind: Kind, value: Any) -> bytes:
    if kind in (_INT, _BOOL):
        return _varint(number << 3 | _VARINT) + _varint(int(value) & _64_BITS)
    content = value.encode("utf-8", "surrogateescape") if isinstance(kind, str) else encode(value, kind)
    return _varint(number << 3 | _LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def decode(content: bytes, table: Table) -> dict[str, Any]:
    """The message that `content` is. Fields that aren't in the table are passed over. Raises ValueError for anything else."""
    known = {number: (name, kind) for name, (number, kind) in table.items()}
    message: dict[str, Any] = {}
    at = 0
    while at < len(content):
        tag, at = _read_varint(content, at)
        value, at = _read_value(content, at, tag & 7)
        name, kind = known.get(tag >> 3, ("", ""))
        if not name:
            continue
        if isinstance(kind, list):
            message.setdefault(name, []).append(_value(value, kind[0]))
        else:
            message[name] = _value(value, kind)
    return message


def _value(value: int | bytes, kind: Kind) -> Any:
    if kind in (_INT, _BOOL) and isinstance(value, int):
        return bool(value) if kind == _BOOL else (value & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)  # int32's sign
    if kind == _TEXT and isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(kind, str) and isinstance(value, bytes):
        return decode(value, kind)
    raise ValueError("a field of another type")


def _read_value(content: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == _VARINT:
        return _read_varint(content, at)
    if wire == _LENGTH:
        length, at = _read_varint(content, at)
    elif wire in (_FIXED64, _FIXED32):
        length = 8 if wire == _FIXED64 else 4
    else:
        raise ValueError(f"a field of the wire type {wire}")
    if at + length > len(content):
        raise ValueError("a message that was cut")
    return content[at : at + length], at + length


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content) and shift < 64:
        value |= (content[at] & 0x7F) << shift
        shift += 7
        at += 1
        if content[at - 1] < 0x80:
            return value & _64_BITS, at
    raise ValueError("a number without an end")
