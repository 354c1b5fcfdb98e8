"""The features document is valid, and says what is true at this commit: no more, no less."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from aiorun.plan.options import SUPERBLOCK, Options, known
from aiorun.runtime.features import document
from aiorun.spec import check, default_document, unsupported
from aiorun.spec.support import TABLE, supports
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


def test_each_hook_and_namespace_that_is_named_is_supported_and_no_other_is() -> None:
    hook = {"path": "/bin/true"}
    assert unsupported(check({**default_document(), "hooks": {name: [hook] for name in FEATURES["hooks"]}})) == []
    kinds = {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}
    for kind in kinds:
        spec = changed(default_document(), ("linux", "namespaces"), [{"type": kind}])
        named = [fault for fault in unsupported(check(spec)) if fault.path == "linux.namespaces[0].type"]
        assert bool(named) == (kind not in LINUX["namespaces"]), kind


@pytest.mark.parametrize("name", sorted(known()))
def test_a_mount_option_that_is_named_is_none_of_the_file_systems(name: str) -> None:
    """A file system would get it as a parameter, and most would refuse it."""
    assert name in FEATURES["mountOptions"]
    assert {key for key, _ in Options([name], "mounts[0]", kind="tmpfs").parameters} <= SUPERBLOCK


@pytest.mark.parametrize("name", ["idmap", "ridmap", "tmpcopyup"])
def test_a_mount_option_is_named_as_soon_as_it_is_supported(name: str) -> None:
    assert (name in FEATURES["mountOptions"]) == supports("mounts[].options[]", name)


def test_a_property_of_the_table_and_what_is_below_it_is_not_supported() -> None:
    for name, values in TABLE:
        assert supports(name) == bool(values)
        assert supports(f"{name}.member") == bool(values)
        assert not any(supports(name, value) for value in values)
    assert supports("process.args")
    assert supports("linux.namespaces[].type", "mount")


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


def test_what_runc_has_is_there_or_known_to_be_missing() -> None:
    """Names of runc's document that ours lacks: those that a row of support.TABLE is about."""
    theirs: dict[str, Any] = json.loads(run(need("runc"), "features").stdout)
    assert set(theirs["hooks"]) == set(FEATURES["hooks"])
    assert set(theirs["linux"]["capabilities"]) <= set(LINUX["capabilities"])
    lacking = set(theirs["linux"]["namespaces"]) - set(LINUX["namespaces"])
    assert not any(supports("linux.namespaces[].type", kind) for kind in lacking)
    lacking = set(theirs["mountOptions"]) - set(FEATURES["mountOptions"])
    # POSIX ACLs are each file system's own affair: features.md wants no such option in the list.
    assert not any(supports("mounts[].options[]", name) for name in lacking - {"acl", "noacl"})
