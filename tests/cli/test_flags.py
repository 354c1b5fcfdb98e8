"""The flag parser does what urfave/cli and Go's flag package do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorun.cli.flags import BOOL, DURATION, INT, INTS, STRINGS, Flag, Options, duration, parse, parse_bool
from aiorun.errors import UsageError

FLAGS = (
    Flag(("bundle", "b")),
    Flag(("detach", "d"), BOOL),
    Flag(("preserve-fds",), INT),
    Flag(("interval",), DURATION, default=5.0),
    Flag(("env", "e"), STRINGS),
    Flag(("additional-gids", "g"), INTS),
    Flag(("format", "f"), default="table"),
)


def parsed(*arguments: str, interspersed: bool = True) -> tuple[Options, list[str]]:
    return parse(FLAGS, list(arguments), interspersed=interspersed)


@pytest.mark.parametrize(
    "arguments",
    [["--bundle", "x"], ["-bundle", "x"], ["--bundle=x"], ["-bundle=x"], ["-b", "x"], ["-b=x"], ["--b", "x"], ["--b=x"]],
)
def test_a_long_or_short_name_takes_one_or_two_dashes_and_its_value_either_way(arguments: list[str]) -> None:
    options, rest = parsed(*arguments, "id")
    assert (options.string("bundle"), options.is_set("bundle"), rest) == ("x", True, ["id"])


@pytest.mark.parametrize(("value", "meaning"), [(v, True) for v in ("1", "t", "T", "TRUE", "true", "True")])
def test_a_boolean_takes_gos_words_for_true(value: str, meaning: bool) -> None:
    assert parsed(f"--detach={value}")[0].boolean("detach") is meaning
    assert parse_bool(value) is meaning


@pytest.mark.parametrize("value", ["0", "f", "F", "FALSE", "false", "False"])
def test_a_boolean_takes_gos_words_for_false(value: str) -> None:
    options, _ = parsed("-d", f"-d={value}")
    assert not options.boolean("detach")
    assert options.is_set("detach")


def test_a_boolean_never_takes_the_next_word() -> None:
    options, rest = parsed("-d", "false")
    assert options.boolean("detach")
    assert rest == ["false"]


def test_a_value_may_look_like_a_flag_or_be_empty() -> None:
    assert parsed("-b", "-d")[0].string("bundle") == "-d"
    assert parsed("-b", "--")[0].string("bundle") == "--"
    options, _ = parsed("--format=")
    assert options.string("format") == ""
    assert options.is_set("format")
    assert parsed("--bundle=a=b")[0].string("bundle") == "a=b"


def test_what_is_not_given_has_its_default() -> None:
    options, rest = parsed()
    assert (options.string("bundle"), options.string("format"), options.boolean("detach")) == ("", "table", False)
    assert (options.integer("preserve-fds"), options.seconds("interval")) == (0, 5.0)
    assert (options.strings("env"), options.integers("additional-gids"), rest) == ([], [], [])
    assert not options.is_set("format")


def test_the_last_value_counts_and_repeatable_flags_collect_theirs() -> None:
    options, _ = parsed("-b", "x", "-b=y", "-e", "A=1,2", "-e", "B=", "-g", "5", "-g=0x10")
    assert options.string("bundle") == "y"
    assert options.strings("env") == ["A=1,2", "B="]
    assert options.integers("additional-gids") == [5, 16]


@pytest.mark.parametrize(
    ("arguments", "rest", "detach"),
    [
        (["id", "-d"], ["id"], True),
        (["-d", "id", "-b", "x"], ["id"], True),
        (["id", "9", "--detach"], ["id", "9"], True),
        (["id", "--nosuch"], ["id", "--nosuch"], False),
        (["id", "-9"], ["id", "-9"], False),
        (["--", "-d"], ["-d"], False),
        (["-d", "--", "id", "-d"], ["id", "-d"], True),
        (["id", "--", "-d"], ["id", "--", "-d"], False),
        (["-"], ["-"], False),
        ([""], [""], False),
    ],
)
def test_known_flags_may_follow_the_arguments(arguments: list[str], rest: list[str], detach: bool) -> None:
    options, left = parsed(*arguments)
    assert (left, options.boolean("detach")) == (rest, detach)


@pytest.mark.parametrize("command", [["id", "-d"], ["id", "ls", "-b", "x"], ["id", "--", "-d"], ["id", "--nosuch=1"]])
def test_what_follows_the_first_argument_belongs_to_the_program(command: list[str]) -> None:
    options, rest = parsed("-e", "A=1", *command, interspersed=False)
    assert rest == command
    assert not options.is_set("detach")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--nosuch"], "flag provided but not defined: -nosuch"),
        (["--nosuch=1"], "flag provided but not defined: -nosuch"),
        (["-db"], "flag provided but not defined: -db"),
        (["-b"], "flag needs an argument: -b"),
        (["--bundle"], "flag needs an argument: -bundle"),
        (["-=x"], "bad flag syntax: -=x"),
        (["--=x"], "bad flag syntax: --=x"),
        (["---d"], "bad flag syntax: ---d"),
        (["-d="], 'invalid boolean value "" for -d: parse error'),
        (["--detach=yes"], 'invalid boolean value "yes" for -detach: parse error'),
        (["--preserve-fds=x"], 'invalid value "x" for flag -preserve-fds: parse error'),
        (["--preserve-fds", "1\n"], 'invalid value "1\\n" for flag -preserve-fds: parse error'),
        (
            ["--preserve-fds=9223372036854775808"],
            'invalid value "9223372036854775808" for flag -preserve-fds: value out of range',
        ),
        (["--interval=5"], 'invalid value "5" for flag -interval: parse error'),
        (["-g", "x"], 'invalid value "x" for flag -g: strconv.ParseInt: parsing "x": invalid syntax'),
        (["-b", "x", "--bundle", "y"], "Cannot use two forms of the same flag: b bundle"),
    ],
)
def test_a_mistake_is_told_in_gos_words(arguments: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*arguments)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-7", -7), ("+7", 7), ("010", 8), ("0o17", 15), ("0x1_0", 16), ("0b11", 3), ("1_000", 1000), ("-0x8", -8)],
)
def test_an_integer_is_read_as_go_reads_it(text: str, value: int) -> None:
    assert parsed("--preserve-fds", text)[0].integer("preserve-fds") == value


@pytest.mark.parametrize("text", ["", " 1", "1 ", "08", "1__0", "_1", "٣", "1.0", "+-1", "0x"])
def test_what_go_does_not_read_as_an_integer_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="parse error"):
        parsed("--preserve-fds", text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("0", 0),
        ("-0", 0),
        ("1h15m30.5s", 4530.5),
        ("-1.5s", -1.5),
        ("300ms", 0.3),
        (".5m", 30),
        ("1.s", 1),
        ("2us", 2e-6),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", ".s", "1.2.3s", "5 s", "5sx", "5S", "--5s", "1e3s", "10000000h"])
def test_what_go_does_not_read_as_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="parse error"):
        duration(text)


@given(st.lists(st.text(max_size=6) | st.sampled_from(["-d", "-b", "--", "-e", "--env=x", "-g", "1", "id", "-"]), max_size=8))
def test_any_command_line_is_parsed_or_refused(arguments: list[str]) -> None:
    for interspersed in (True, False):
        try:
            _, rest = parsed(*arguments, interspersed=interspersed)
        except UsageError:
            continue
        words = iter(arguments)
        assert all(word in words for word in rest)  # nothing is made up, nor changes its order
