"""P12, P10, P11: names and errors are shown on terminals and read by programs; whatever is in them, they stay one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.security.attacks import one_line

NASTY = "\x1b[2J\x1b]0;title\x07\n\r\u202eevil\u2028\x9b31m\udcff"


def test_a_bad_id_is_refused_without_repeating_it_raw(aiorun: CommandLine, bundle: Bundles) -> None:
    made = bundle()
    for id in (NASTY, "../x", "..", ".", "a/b", "a b", "x\n", "é", "a" * 5000, "\udcff"):
        for command in (["create", "--bundle", made], ["start"], ["state"], ["kill"], ["delete"], ["delete", "--force"], ["ps"]):
            ended = aiorun(*command, "--", id)
            assert ended.returncode == 1, (command, ended)
            assert "invalid container ID format" in one_line(ended.stderr)


@pytest.mark.parametrize("format", ["text", "json"])
def test_names_that_drive_terminals_stay_one_printable_line(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, format: str
) -> None:
    for change in (
        {"process": {"args": [NASTY]}},
        {"process": {"args": ["/" + NASTY]}},
        {"process": {"cwd": "/etc/passwd/" + NASTY}},
        {"mounts": [{"destination": "/x" + NASTY, "type": NASTY, "source": NASTY}]},
        {"linux": {"sysctl": {NASTY: "1"}}},
        {"hostname": NASTY * 10},
        {"hooks": {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "printf '\\033[2J\\n\\n'; exit 1"]}]}},
    ):
        log = tmp_path / f"log-{format}"
        log.unlink(missing_ok=True)
        ended = aiorun("--log", log, "--log-format", format, "run", "--bundle", bundle(change), "x")
        assert ended.returncode == 1, (change, ended)
        one_line(ended.stderr)
        line = one_line(log.read_text())
        if format == "json":
            assert set(json.loads(line)) == {"level", "msg", "time"}


def test_a_bundle_whose_name_drives_terminals_is_told_and_listed_on_one_line(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path
) -> None:
    nasty = tmp_path / NASTY.replace("/", "")
    assert one_line(aiorun("run", "--bundle", nasty, "x").stderr)
    bundle().rename(nasty)
    aiorun("create", "--bundle", nasty, "x", check=True)
    listed = aiorun("list").stdout.splitlines()
    document = aiorun.state("x")
    aiorun("delete", "x", check=True)
    assert len(listed) == 2
    assert all(line.isprintable() for line in listed), listed
    assert document["bundle"] == str(nasty)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"process":' * 50_000,
        '"' + "a" * (1 << 20),
        '{"ociVersion": "' + "9" * (1 << 22) + '"}',
        "1" * (1 << 20),
        "\x00",
    ],
    ids=["nested", "nested objects", "unended", "a long version", "a long number", "NUL"],
)
def test_a_config_without_end_or_bottom_is_one_error(aiorun: CommandLine, bundle: Bundles, text: str) -> None:
    made = bundle()
    (made / "config.json").write_text(text)
    ended = aiorun("run", "--bundle", made, "x")
    assert ended.returncode == 1
    assert len(one_line(ended.stderr)) < 1000


def test_a_huge_config_is_refused(aiorun: CommandLine, bundle: Bundles) -> None:
    made = bundle()
    with (made / "config.json").open("r+b") as file:
        file.truncate(1 << 32)  # sparse
    ended = aiorun("run", "--bundle", made, "x", timeout=20)
    assert ended.returncode == 1
    one_line(ended.stderr)
