"""The features document is valid, and says what is true at this commit: no more, no less."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from aiorun.plan.options import SUPERBLOCK, Options, known
from aiorun.runtime.features import document
from aiorun.spec import check, default_document
from tests.cli.program import AIORUN, run
from tests.conftest import CHECKOUT, need
from tests.spec.documents import SCHEMA, changed, validator

VALIDATOR = validator("features-schema.json")
FEATURES: dict[str, Any] = json.loads(run(*AIORUN, "features").stdout)
LINUX = FEATURES["linux"]


@pytest.mark.parametrize("judged", ["good", "bad"])
def test_the_schema_judges_the_specifications_fixtures_as_their_folder_says(judged: str) -> None:
    files = sorted((SCHEMA / "test" / "features" / judged).glob("*.json"))
    assert files
    assert {VALIDATOR.is_valid(json.loads(file.read_text())) for file in files} == {judged == "good"}


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_document_is_valid(checkpoint: bool) -> None:
    VALIDATOR.validate(document(checkpoint=checkpoint, libseccomp="2.5.4"))
    VALIDATOR.validate(FEATURES)


def test_a_document_of_either_version_is_accepted() -> None:
    for version in (FEATURES["ociVersionMin"], FEATURES["ociVersionMax"]):
        check({**default_document(), "ociVersion": version})


def test_each_hook_and_namespace_that_is_named_is_one_of_a_document_and_no_other_is() -> None:
    hook = {"path": "/bin/true"}
    check({**default_document(), "hooks": {name: [hook] for name in FEATURES["hooks"]}})
    for kind in LINUX["namespaces"]:
        check(changed(default_document(), ("linux", "namespaces"), [{"type": kind}]))
    assert set(LINUX["namespaces"]) == {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}


@pytest.mark.parametrize("name", sorted(known()))
def test_a_mount_option_that_is_named_is_none_of_the_file_systems(name: str) -> None:
    """A file system would get it as a parameter, and most would refuse it."""
    assert name in FEATURES["mountOptions"]
    assert {key for key, _ in Options([name], "mounts[0]", kind="tmpfs").parameters} <= SUPERBLOCK


def test_each_annotation_that_changes_what_is_done_is_named() -> None:
    """As potentiallyUnsafeConfigAnnotations, by their names or the start of these."""
    words = {
        node.value
        for path in (CHECKOUT / "aiorun").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    heeded = {word for word in words if word.startswith(("org.systemd.", "org.criu.", "run.oci.")) and " " not in word}
    named = FEATURES.get("potentiallyUnsafeConfigAnnotations", [])
    assert heeded == set(named)


def test_what_runc_has_is_there() -> None:
    theirs: dict[str, Any] = json.loads(run(need("runc"), "features").stdout)
    assert set(theirs["hooks"]) == set(FEATURES["hooks"])
    assert set(theirs["linux"]["capabilities"]) <= set(LINUX["capabilities"])
    assert set(theirs["linux"]["namespaces"]) <= set(LINUX["namespaces"])
    # POSIX ACLs are each file system's own affair: features.md wants no such option in the list.
    assert set(theirs["mountOptions"]) - set(FEATURES["mountOptions"]) <= {"acl", "noacl"}
