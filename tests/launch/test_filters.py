"""The cache of seccomp filters: what is in it is used only if it can be trusted, and there are never many."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiorun.errors import AiorunError
from aiorun.launch import filters
from aiorun.linux import libseccomp
from tests.conftest import need_root

PROFILE = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    need_root()
    monkeypatch.setattr(filters, "PLACE", str(tmp_path / "place"))
    return tmp_path / "place"


@pytest.fixture
def assembled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The profiles that libseccomp was given, by whom it was really done."""
    given: list[Any] = []
    assemble = libseccomp.assemble

    def note(profile: Any, **options: Any) -> bytes:
        given.append(profile)
        return assemble(profile, **options)

    monkeypatch.setattr(libseccomp, "assemble", note)
    return given


def program(profile: Any = PROFILE) -> bytes:
    file = filters.open_filter(profile)
    try:
        return os.read(file, 1 << 20)
    finally:
        os.close(file)


def test_a_profile_is_assembled_once(place: Path, assembled: list[Any]) -> None:
    first = program()
    assert first == libseccomp.assemble(PROFILE)
    del assembled[:]
    assert program() == program({**PROFILE, "listenerMetadata": "x", "flags": []}) == first  # which aren't in the program
    assert assembled == []
    assert place.stat().st_mode == 0o040700
    (file,) = place.iterdir()
    assert file.stat().st_mode == 0o100600


def test_another_profile_has_another_name(place: Path) -> None:
    assert program() != program({**PROFILE, "defaultAction": "SCMP_ACT_LOG"})
    assert len(list(place.iterdir())) == 2


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + bytes(8))


def another_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def of_another_profile(file: Path) -> None:
    program({**PROFILE, "defaultAction": "SCMP_ACT_LOG"})
    (other,) = (path for path in file.parent.iterdir() if path != file)
    os.replace(other, file)


def a_link(file: Path) -> None:
    file.rename(file.parent.parent / "moved")
    file.symlink_to(file.parent.parent / "moved")


def a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def of_another_user(file: Path) -> None:
    os.chown(file, 1000, 0)


def for_the_group(file: Path) -> None:
    file.chmod(0o660)


def in_a_directory_of_another_user(file: Path) -> None:
    os.chown(file.parent, 1000, 0)


def in_a_directory_for_all(file: Path) -> None:
    file.parent.chmod(0o755)


def in_a_directory_behind_a_link(file: Path) -> None:
    file.parent.rename(file.parent.parent / "moved")
    file.parent.symlink_to(file.parent.parent / "moved")


@pytest.mark.parametrize(
    "spoil",
    [
        cut, longer, another_bit, of_another_profile, a_link, a_fifo, a_directory, of_another_user, for_the_group,
        in_a_directory_of_another_user, in_a_directory_for_all, in_a_directory_behind_a_link,
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_made_anew(place: Path, assembled: list[Any], spoil: Callable[[Path], None]) -> None:
    first = program()
    (file,) = place.iterdir()
    spoil(file)
    del assembled[:]
    assert program() == first
    assert assembled == [PROFILE]


def test_a_place_that_cannot_be_had_is_done_without(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assembled: list[Any]
) -> None:
    monkeypatch.setattr(filters, "PLACE", str(tmp_path / "no" / "such" / "place"))
    assert program() == program()
    assert len(assembled) == 2
    assert not (tmp_path / "no").exists()


def test_the_oldest_go_when_there_are_many(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MOST", 3)
    names: list[str] = []
    for number in range(6):
        program({**PROFILE, "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": number}]})
        (new,) = {path.name for path in place.iterdir()} - set(names)
        names.append(new)
    assert {path.name for path in place.iterdir()} == set(names[-3:])


def test_without_libseccomp_the_error_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libseccomp, "NAME", "libnosuch.so.2")
    monkeypatch.setattr(filters, "_library", lambda _profile: ("", ""))
    with pytest.raises(AiorunError, match=r"make the seccomp filter \(linux.seccomp\): load libnosuch.so.2: "):
        program()
