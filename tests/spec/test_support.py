"""What aiorun doesn't do yet is named; what is empty or zero asks for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from aiorun.errors import UnsupportedSpec
from aiorun.spec import check, default_document, support, unsupported
from aiorun.spec.support import TABLE
from tests.spec.documents import FULL, Place, changed

NOT_YET = "not supported yet by this version of aiorun"


def faults_of(document: dict[str, Any]) -> list[str]:
    faults = unsupported(check(document))
    assert all(type(fault) is UnsupportedSpec for fault in faults)
    return [str(fault) for fault in faults]


def test_the_default_document_is_supported_whole() -> None:
    assert faults_of(default_document(cgroup2=False)) == faults_of(default_document(cgroup2=True)) == []


def test_each_row_of_the_table_finds_its_property_in_a_document_that_has_all() -> None:
    """So a row with a misspelt name can't hide, and a row that is deleted needs no change here."""
    faults = faults_of(FULL)
    for name, _ in TABLE:
        first = name.partition("[")[0].partition("{")[0]
        assert any(fault.startswith(first) for fault in faults), name


LACKING = (
    ("process.scheduler", ()),
    ("mounts[].options[]", ("idmap",)),
    ("linux.namespaces[].type", ("time",)),
    ("linux.netDevices{}", ()),
)


@pytest.mark.parametrize(
    ("where", "value", "text"),
    [
        (("process", "scheduler"), {"policy": "SCHED_BATCH"}, f"process.scheduler: {NOT_YET}"),
        (("linux", "namespaces"), [{"type": "time", "path": "/x"}], f'linux.namespaces[0].type: "time" is {NOT_YET}'),
        (("mounts", 1, "options"), ["ro", "idmap=uids=0-1-1"], f'mounts[1].options[1]: "idmap=uids=0-1-1" is {NOT_YET}'),
        (("linux", "netDevices"), {"eth0": {}}, f'linux.netDevices["eth0"]: {NOT_YET}'),
    ],
)
def test_a_property_is_named_with_its_path(monkeypatch: pytest.MonkeyPatch, where: Place, value: object, text: str) -> None:
    monkeypatch.setattr(support, "TABLE", LACKING)
    assert faults_of(changed(default_document(), where, value)) == [text]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("process", "apparmorProfile"), ""),
        (("process", "selinuxLabel"), ""),
        (("process", "execCPUAffinity"), {"initial": "0"}),
        (("linux", "mountLabel"), ""),
        (("linux", "uidMappings"), []),
        (("linux", "timeOffsets"), {"monotonic": {"secs": 0, "nanosecs": 0}}),
        (("linux", "netDevices"), {}),
        (("linux", "intelRdt"), {}),
        (("mounts", 1, "options"), ["size=1", "noidmap"]),
    ],
)
def test_what_is_empty_or_zero_counts_as_absent(where: Place, value: object) -> None:
    assert faults_of(changed(default_document(), where, value)) == []
