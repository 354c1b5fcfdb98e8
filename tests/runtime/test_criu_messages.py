"""criu's messages in protobuf's wire format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorun.runtime.criu.messages import ANSWER, DUMP, REQUEST, VERSION, decode, encode

if TYPE_CHECKING:
    from aiorun.runtime.criu.messages import Table

# What Google's package and protobuf's own documentation say of these.
KNOWN = [
    ({"type": VERSION, "keep_open": True}, REQUEST, "080a2001"),
    ({"type": DUMP, "opts": {"images_dir_fd": -1}}, REQUEST, "0801120b08ffffffffffffffffff01"),
    ({"type": DUMP, "opts": {"images_dir_fd": 300, "log_file": "dump.log"}}, REQUEST, "0801120d08ac02520864756d702e6c6f67"),
    ({"opts": {"ext_mnt": [{"key": "/a", "val": "/b"}, {"key": "/c", "val": ""}]}}, REQUEST,
     "1214ba01080a022f6112022f62ba01060a022f631200"),
    ({"opts": {"lsm_mount_context": "c", "external": ["net[1]:k"]}}, REQUEST, "120ffa030163aa02086e65745b315d3a6b"),
    ({"type": 6, "success": True, "notify": {"script": "post-restore", "pid": 4711}}, ANSWER,
     "080610012a110a0c706f73742d726573746f726510e724"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "table", "content"), KNOWN)
def test_a_message_is_what_protobuf_makes_of_it(message: dict[str, Any], table: Table, content: str) -> None:
    assert encode(message, table).hex() == content
    assert decode(bytes.fromhex(content), table) == message


def messages(table: Table) -> st.SearchStrategy[dict[str, Any]]:
    def values(kind: Any) -> st.SearchStrategy[Any]:
        if isinstance(kind, list):
            return st.lists(values(kind[0]), min_size=1, max_size=3)
        simple = {"int": st.integers(-(2**31), 2**31 - 1), "bool": st.booleans(), "text": st.text()}
        return simple[kind] if isinstance(kind, str) else messages(kind)

    return st.fixed_dictionaries({}, optional={name: values(kind) for name, (_, kind) in table.items()})


@given(messages(REQUEST))
def test_what_was_encoded_is_what_comes_back(message: dict[str, Any]) -> None:
    assert decode(encode(message, REQUEST), REQUEST) == message


@given(messages(ANSWER))
def test_fields_that_are_not_known_are_passed_over(message: dict[str, Any]) -> None:
    more = bytes.fromhex("f80601fa06026162fd0600000000f9060000000000000000")  # 111: of each type there is
    known: Table = {"success": ANSWER["success"]}
    assert decode(encode(message, ANSWER) + more, known) == {name: message[name] for name in message if name == "success"}


@given(st.binary(max_size=64))
def test_anything_else_is_a_fault_and_never_more_than_that(content: bytes) -> None:
    try:
        decode(content, ANSWER)
    except ValueError:
        pass
