"""aiorun spec writes a bundle's first config.json as runc does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.program import AIORUN, run
from tests.conftest import need


@pytest.mark.parametrize("flags", [[], ["--rootless"]])
def test_spec_writes_runcs_document(tmp_path: Path, flags: list[str]) -> None:
    runc = need("runc")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    ended = run(*AIORUN, "spec", "-b", ours, *flags)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert run(runc, "spec", *flags, cwd=theirs).returncode == 0
    version = f'"ociVersion": "{json.loads((theirs / "config.json").read_text())["ociVersion"]}"'
    expected = (theirs / "config.json").read_text().replace(version, '"ociVersion": "1.3.0"')
    assert (ours / "config.json").read_text() == expected


def test_spec_writes_into_the_current_directory(tmp_path: Path) -> None:
    assert run(*AIORUN, "spec", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "config.json").read_text())["root"]["path"] == "rootfs"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0, 0o666)])
def test_the_umask_decides_who_may_read_it(tmp_path: Path, umask: int, mode: int) -> None:
    run(*AIORUN, "spec", "--bundle", tmp_path, umask=umask)
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("kind", ["file", "directory", "dangling symlink"])
def test_spec_never_overwrites(tmp_path: Path, kind: str) -> None:
    config = tmp_path / "config.json"
    if kind == "file":
        config.write_text("mine")
    elif kind == "directory":
        config.mkdir()
    else:
        config.symlink_to("elsewhere")
    ended = run(*AIORUN, "spec", cwd=tmp_path)
    assert ended.returncode == 1
    assert 'msg="File config.json exists. Remove it first"' in ended.stderr
    assert os.listdir(tmp_path) == ["config.json"]
    assert kind != "file" or config.read_text() == "mine"


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    ended = run(*AIORUN, "spec", "--bundle", tmp_path / "nope")
    assert ended.returncode == 1
    assert f'msg="create \\"{tmp_path}/nope/config.json\\": no such file or directory"' in ended.stderr


def test_a_file_that_could_not_be_written_whole_is_removed(tmp_path: Path) -> None:
    need("sh")
    # a file size limit of 0 lets nothing be written, and Python ignores SIGXFSZ
    ended = run("sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *AIORUN, "spec", cwd=tmp_path)
    assert ended.returncode == 1
    assert 'write \\"config.json\\": file too large' in ended.stderr
    assert os.listdir(tmp_path) == []
