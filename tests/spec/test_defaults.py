"""`aiorun spec`'s document is `runc spec`'s, key for key and in its order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aiorun.spec import OCI_VERSION, check, default_document

OURS = json.loads((Path(__file__).parent / "default.json").read_text())


def in_order(value: Any) -> Any:
    """The value with its objects as lists of pairs, so that equal means in the same order too."""
    if isinstance(value, dict):
        return [(name, in_order(member)) for name, member in value.items()]
    return [in_order(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("rootless", [False, True])
def test_the_default_document_is_the_recorded_one(rootless: bool) -> None:
    document = default_document(rootless=rootless, uid=1000, gid=1001, cgroup2=False)
    assert in_order(document) == in_order(OURS["rootless" if rootless else "root"])


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
@pytest.mark.parametrize("rootless", [False, True])
def test_the_default_document_is_runcs_but_for_the_version(tmp_path: Path, rootless: bool) -> None:
    subprocess.run(["runc", "spec", *["--rootless"] * rootless], cwd=tmp_path, check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    document = default_document(rootless=rootless, uid=os.geteuid(), gid=os.getegid())
    assert in_order({**theirs, "ociVersion": OCI_VERSION}) == in_order(document)


@pytest.mark.parametrize("rootless", [False, True])
def test_with_cgroup_v2_alone_there_is_a_cgroup_namespace(rootless: bool) -> None:
    types = [namespace["type"] for namespace in default_document(rootless=rootless, cgroup2=True)["linux"]["namespaces"]]
    assert types == (
        ["pid", "ipc", "uts", "mount", "cgroup", "user"] if rootless else ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    )


def test_each_document_is_the_callers_own() -> None:
    first = default_document()
    first["process"]["args"].append("x")
    first["process"]["capabilities"]["bounding"].clear()
    first["mounts"][1]["options"].clear()
    first["linux"]["maskedPaths"].clear()
    assert default_document() == check(default_document()) != first
    assert default_document(cgroup2=False) == OURS["root"]
