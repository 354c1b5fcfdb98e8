"""config.json is read once, whole or not at all, and nothing in its place makes us wait."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from aiorun.errors import AiorunError, InvalidSpec
from aiorun.spec import default_document, read
from aiorun.spec.document import LARGEST


def test_the_document_of_a_bundle_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(default_document()))
    assert read(str(tmp_path)) == default_document()


def test_a_bundle_without_a_document_is_told_in_runcs_words(tmp_path: Path) -> None:
    with pytest.raises(AiorunError) as error:
        read(str(tmp_path))
    assert str(error.value) == "JSON specification file config.json not found"


def test_a_fifo_in_its_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(AiorunError, match=r"^config\.json is not a regular file$"):
        read(str(tmp_path))


def test_a_directory_a_device_and_a_socket_in_its_place_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.mkdir()
    with pytest.raises(AiorunError, match=r"^config\.json is not a regular file$"):
        read(str(tmp_path))
    config.rmdir()
    config.symlink_to("/dev/zero")
    with pytest.raises(AiorunError, match=r"^config\.json is not a regular file$"):
        read(str(tmp_path))
    config.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tmp_path)
        listener.bind("config.json")
        with pytest.raises(AiorunError, match=r"^open '.*/config\.json': no such device or address$"):
            read(str(tmp_path))


def test_a_bundle_that_is_a_file_or_has_a_nul_in_its_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").touch()
    with pytest.raises(AiorunError, match=r"not a directory$"):
        read(str(tmp_path / "bundle"))
    with pytest.raises(AiorunError, match=r"null byte$"):
        read("a\0b")


def test_a_document_of_100_mb_is_refused_without_reading_it(tmp_path: Path) -> None:
    with open(tmp_path / "config.json", "wb") as config:
        config.truncate(100_000_000)
    with pytest.raises(AiorunError, match=r"^config\.json is larger than 16 MiB$"):
        read(str(tmp_path))


def test_the_largest_document_is_read(tmp_path: Path) -> None:
    text = json.dumps(default_document())
    (tmp_path / "config.json").write_text(text + " " * (LARGEST - len(text)))
    assert read(str(tmp_path)) == default_document()
    (tmp_path / "config.json").write_text(text + " " * (LARGEST + 1 - len(text)))
    with pytest.raises(AiorunError, match="larger than"):
        read(str(tmp_path))


def test_a_fault_in_it_has_its_path(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"ociVersion": "1.0.0", "mounts": [{"destination": 3}]}')
    with pytest.raises(InvalidSpec) as fault:
        read(str(tmp_path))
    assert str(fault.value) == "mounts[0].destination: must be a string, not an integer"
