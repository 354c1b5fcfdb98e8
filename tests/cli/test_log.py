"""A log line is one line, holds nothing that drives a terminal, and reads back as what was said."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorun.cli.log import Log
from aiorun.cli.output import encode
from aiorun.errors import AiorunError, UsageError
from aiorun.wire.log_json import json_line
from aiorun.wire.text import escape, log_value, quote, rfc3339, text_line
from tests.cli.program import AIORUN, run

NOON = 1_700_000_000.0
# What a path or an argument can hold: any character, and bytes that aren't UTF-8 as PEP 383 carries them.
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
_UNNAMED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_DIGITS = {"x": 2, "u": 4, "U": 8}


def unquoted(text: str) -> str:
    """What Go's strconv.Unquote makes of a double-quoted text."""
    assert text[0] == text[-1] == '"'
    result, rest = b"", text[1:-1]
    while rest:
        character, rest = rest[0], rest[1:]
        assert character != '"'
        if character == "\\":
            escape, rest = rest[0], rest[1:]
            digits = _DIGITS.get(escape, 0)
            code, rest = rest[:digits], rest[digits:]
            character = chr(int(code, 16)) if digits else _UNNAMED[escape]
            if escape == "x":
                result += bytes([int(code, 16)])
                continue
        result += character.encode()
    return result.decode(errors="surrogateescape")


def fields_of(line: str) -> dict[str, str]:
    """The keys and values of a logrus text line."""
    assert line.endswith("\n")
    fields, rest = {}, line[:-1]
    while rest:
        key, _, rest = rest.partition("=")
        end = 0
        if rest.startswith('"'):
            end = 1
            while rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            end += 1
            fields[key] = unquoted(rest[:end])
        else:
            end = len(rest.partition(" ")[0])
            fields[key] = rest[:end]
        assert rest[end : end + 1] in ("", " ")
        rest = rest[end + 1 :]
    return fields


def assert_harmless(line: str) -> None:
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    encode(line).decode("utf-8")


@given(TEXT)
def test_a_text_line_reads_back_as_what_was_said(message: str) -> None:
    line = text_line("error", message, NOON, 0)
    assert_harmless(line)
    assert fields_of(line) == {"time": rfc3339(NOON, 0), "level": "error", "msg": message}


@given(TEXT)
def test_a_json_line_reads_back_as_what_was_said(message: str) -> None:
    line = json_line("error", message, NOON, 0)
    assert_harmless(line)
    assert line.isascii()
    said = "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in message)
    assert json.loads(line) == {"level": "error", "msg": said, "time": rfc3339(NOON, 0)}
    assert list(json.loads(line)) == ["level", "msg", "time"]


@given(TEXT)
def test_a_plain_sentence_is_one_harmless_line(message: str) -> None:
    assert_harmless(escape(message) + "\n")
    assert message.isprintable() is (escape(message) == message)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("exists", "exists"),
        ("a-b._/@^+9", "a-b._/@^+9"),
        ("", ""),
        ("two words", '"two words"'),
        ('say "x"\\', '"say \\"x\\"\\\\"'),
        ("\a\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"'),
        ("\x1b[2J\x00\x7f", '"\\x1b[2J\\x00\\x7f"'),
        ("\u202e\u00a0\u2028\ufeff", '"\\u202e\\u00a0\\u2028\\ufeff"'),
        ("\U000e0001", '"\\U000e0001"'),
        ("ä€😀", '"ä€😀"'),
        ("\udcff\udc80", '"\\xff\\x80"'),
        ("\ud800", '"\\ufffd"'),
    ],
)
def test_a_value_is_quoted_as_logrus_quotes_it(text: str, value: str) -> None:
    assert log_value(text) == value
    assert quote(text).strip('"') == value.strip('"')


@pytest.mark.parametrize(
    ("zone", "offset", "text"),
    [
        ("UTC0", 0, "2023-11-14T22:13:20Z"),
        ("IST-5:30", 19800, "2023-11-15T03:43:20+05:30"),
        ("NST3:30", -12600, "2023-11-14T18:43:20-03:30"),
    ],
)
def test_a_time_is_rfc3339_in_the_callers_zone(tmp_path: Path, zone: str, offset: int, text: str) -> None:
    assert rfc3339(NOON, offset) == text
    assert datetime.datetime.fromisoformat(text).timestamp() == NOON
    log = tmp_path / "log"
    run(*AIORUN, "--log", log, "nosuch", env={"TZ": zone})
    assert fields_of(log.read_text())["time"][19:] == text[19:]


@given(st.integers(-(2**36), 2**36), st.integers(-1439, 1439).map(lambda minutes: 60 * minutes))
def test_a_moment_is_the_day_that_the_calendar_has(seconds: int, offset: int) -> None:
    zone = datetime.timezone(datetime.timedelta(seconds=offset))
    try:
        expected = datetime.datetime.fromtimestamp(seconds, zone)
    except (OverflowError, ValueError):
        return
    assert rfc3339(seconds + 0.5, offset)[:19] == expected.isoformat()[:19]


def log_to(path: Path, *, format: str = "json", debug: bool = False) -> Log:
    log = Log()
    log.configure(path=str(path), format=format, debug=debug)
    return log


def fds_of(path: Path) -> list[int]:
    """The fds of this process that are open on `path`."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}") == str(path):
                found.append(int(fd))
        except FileNotFoundError:
            pass  # the fd that listdir itself had
    return found


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Where to log. Commands keep it open until they end; here it is closed after the test, whose process goes on."""
    yield tmp_path / "log"
    for fd in fds_of(tmp_path / "log"):
        os.close(fd)


def test_an_error_is_appended_to_the_file_and_told_on_stderr(log_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log_to(log_file).error("first\nfault")
    log_to(log_file).error("second")
    assert [json.loads(line)["msg"] for line in log_file.read_text().splitlines()] == ["first\nfault", "second"]
    assert capfd.readouterr().err == "first\\nfault\nsecond\n"


def test_warnings_are_written_with_debug_alone(log_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    quiet = log_to(log_file)
    quiet.warning("odd")
    quiet.debug("step")
    assert log_file.read_text() == ""
    loud = log_to(log_file, debug=True)
    loud.warning("odd")
    loud.debug("step")
    assert [json.loads(line)["level"] for line in log_file.read_text().splitlines()] == ["warning", "debug"]
    assert capfd.readouterr().err == ""


def test_a_log_file_is_made_and_closes_on_exec(log_file: Path) -> None:
    log_to(log_file, format="text")
    assert [os.get_inheritable(fd) for fd in fds_of(log_file)] == [False]


def test_what_cannot_be_a_log_is_refused_in_runcs_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^invalid log-format: yaml$"):
        log_to(tmp_path / "log", format="yaml")
    with pytest.raises(AiorunError, match=rf"^open {tmp_path}/no/log: no such file or directory$"):
        log_to(tmp_path / "no" / "log")
