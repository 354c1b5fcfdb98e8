"""The specification's own fixtures and its schema, beside our tables."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from aiorun.errors import InvalidSpec
from aiorun.spec import check, default_document, parse
from aiorun.spec.shapes import PROPAGATIONS
from tests.spec.documents import ELSEWHERE, FIXTURES, FULL, SCHEMA, Place, changed, places, validator

GOOD = sorted((FIXTURES / "good").glob("*.json"))
BAD = sorted((FIXTURES / "bad").glob("*.json"))


VALIDATOR = validator("config-schema.json")

# What aiorun takes although the schema does not: values that engines write (shapes.py says which).
LENIENT = [
    changed(FULL, ("linux", "rootfsPropagation"), ""),
    FULL,
    changed(FULL, ("linux", "devices", 0, "fileMode"), 0o20666),
]

# What the prose adds to the schema, and what the kernel would mistake: the reasons that may meet a document of the schema's.
STRICT = (
    "must be a version such as",
    "version ",
    "must be an absolute path",
    "must not be empty",
    "Cwd ",
    "args must not be empty",
    "duplicated",
    "NUL",
    "surrogate",
    "invalid environment variable",
    "uidMappings and gidMappings come together",
    "is required for a device",
    "must not be above hard",
    "must be a file name",
    "must be from 0 to 4294967294",
    "must be from 0 to 65535",
    "must be from -1000 to 1000",
    "must be from 1 to 9223372036854775807",
    'must consist of the characters "rwm"',
    "must be one of a, b, c,",
    "must be one of RLIMIT_",
)


def test_the_fixtures_are_there() -> None:
    assert len(GOOD) >= 9
    assert len(BAD) >= 5


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_a_good_fixture_is_accepted_as_it_is(file: Path) -> None:
    assert parse(file.read_bytes()) == json.loads(file.read_bytes())


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_fixture_is_refused(file: Path) -> None:
    with pytest.raises(InvalidSpec):
        parse(file.read_bytes())


def test_documents_with_every_property_are_accepted() -> None:
    for document in (FULL, ELSEWHERE):
        judged: object = check(document)
        assert judged is document
    assert VALIDATOR.is_valid(changed(FULL, ("linux", "rootfsPropagation"), "slave"))
    assert VALIDATOR.is_valid(ELSEWHERE)


@pytest.mark.parametrize("document", LENIENT)
def test_what_engines_write_is_accepted_although_the_schema_refuses_it(document: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(document)
    check(document)


def properties_of(schema: Any, name: str, files: dict[str, Any]) -> set[str]:
    """Every property name that the schema knows below `schema` of the file `name`."""
    found = set()
    if isinstance(schema, dict):
        if "$ref" in schema and isinstance(schema["$ref"], str):
            file, _, pointer = schema["$ref"].partition("#")
            target = files[file or name]
            for step in pointer.strip("/").split("/"):
                target = target[step]
            found |= properties_of(target, file or name, files)
        for key, member in schema.items():
            if key == "properties":
                found |= member.keys()
                for inner in member.values():
                    found |= properties_of(inner, name, files)
            elif key != "definitions":
                found |= properties_of(member, name, files)
    elif isinstance(schema, list):
        for inner in schema:
            found |= properties_of(inner, name, files)
    return found


def test_the_document_with_every_property_has_every_linux_property_of_the_schema() -> None:
    """So that the comparison below leaves none out, and a newer schema fails here."""
    files = {file.name: json.loads(file.read_text()) for file in SCHEMA.glob("*.json")}
    root = files["config-schema.json"]
    linux = {name: member for name, member in root["properties"].items() if name not in ELSEWHERE or name == "ociVersion"}
    wanted = properties_of(linux, "config-schema.json", files) | linux.keys()
    assert wanted <= {step for path in places(FULL) for step in path}


def as_the_schema_has_it(document: Any) -> Any:
    """The document without what engines write and the schema refuses."""
    document = copy.deepcopy(document)
    linux = document.get("linux") if isinstance(document, dict) else None
    if isinstance(linux, dict):
        if isinstance(linux.get("rootfsPropagation"), str) and linux["rootfsPropagation"] in PROPAGATIONS:
            del linux["rootfsPropagation"]
        for device in linux["devices"] if isinstance(linux.get("devices"), list) else ():
            if isinstance(device, dict) and type(device.get("fileMode")) is int:
                device["fileMode"] &= ~0o170000
    return document


def compare(document: Any) -> None:
    valid = VALIDATOR.is_valid(as_the_schema_has_it(document))
    try:
        check(document)
    except InvalidSpec as fault:
        assert not valid or any(words in fault.reason for words in STRICT), str(fault)
    else:
        assert valid


WRONG_KINDS: list[object] = [None, True, 0, -1, 1.0, 2**64, "", "\0", "x", [], [0], {}, {"x": 0}]


@pytest.mark.parametrize("base", [FULL, ELSEWHERE], ids=["linux", "elsewhere"])
def test_each_value_replaced_by_each_kind_is_judged_as_the_schema_judges_it(base: dict[str, Any]) -> None:
    alike = {tuple("[]" if isinstance(step, int) else step for step in path): path for path in places(base)}
    for path in alike.values():
        document = around(path, base)
        compare(changed(document, path))
        for value in [*WRONG_KINDS, *others_of_its_kind(path, base)]:
            compare(changed(document, path, value))


def enumerations(schema: object) -> Iterator[list[str]]:
    """Each list of words that the schema allows somewhere."""
    members = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for member in members:
        yield from enumerations(member)
    if isinstance(schema, dict) and "enum" in schema:
        yield schema["enum"]


ENUMERATIONS = [words for file in SCHEMA.glob("*.json") for words in enumerations(json.loads(file.read_text()))]


def others_of_its_kind(path: Place, document: Any) -> list[str]:
    """The words that the schema may allow where the document has one of them."""
    for step in path:
        document = document[step]
    return [word for words in ENUMERATIONS if document in words for word in words]


def around(path: Place, document: dict[str, Any]) -> dict[str, Any]:
    """The document without what is far from the path, since jsonschema takes its time."""
    name = str(path[0])
    part = document[name]
    if name == "linux" and len(path) > 1:
        part = {path[1]: part[path[1]]}
    return {"ociVersion": document["ociVersion"], name: part}


names = st.text(st.characters(exclude_characters="\n"), max_size=9)  # the schema's pattern for a name, ".{1,}", has no line feed
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=9,
)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(document=values | st.dictionaries(st.sampled_from([*FULL, *ELSEWHERE]), values))
@hypothesis.example(document={"ociVersion": "\udc80"})
def test_any_json_is_accepted_or_refused_with_invalid_spec(document: Any) -> None:
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")):
        try:
            spec = parse(text)
        except InvalidSpec as fault:
            assert str(fault).isprintable()
        else:
            assert spec == document


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(text=st.binary() | st.text(st.characters()) | st.text('[]{}",:0\\u ', max_size=40))
def test_any_text_is_accepted_or_refused_with_invalid_spec(text: str | bytes) -> None:
    with pytest.raises(InvalidSpec) as fault:  # too short to be a document by accident
        parse(text)
    assert str(fault.value).isprintable()


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    data=st.data(), document=st.sampled_from([FULL, ELSEWHERE, default_document(), default_document(rootless=True)])
)
def test_a_damaged_document_is_judged_as_the_schema_judges_it(data: st.DataObject, document: dict[str, Any]) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        places_left = list(places(document))
        if places_left:
            document = changed(document, data.draw(st.sampled_from(places_left)), data.draw(values))
    compare(document)
