"""JSON without the json module: the same values, and an error for the same texts."""

from __future__ import annotations

import json as standard
import subprocess
import sys
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from aiorun.wire import json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@hypothesis.given(value=VALUES)
def test_what_is_written_is_read_again_by_both(value: Any) -> None:
    for text in (json.dumps(value), json.dumps_indented(value), standard.dumps(value, ensure_ascii=False)):
        for form in (text, text.encode("utf-8", "surrogatepass")):
            try:
                form.encode() if isinstance(form, str) else form.decode()
            except UnicodeError:
                continue  # a lone surrogate in UTF-8 is none
            assert json.loads(form) == standard.loads(form) == value


@hypothesis.given(value=VALUES)
def test_compact_is_as_the_standard_module_writes_it(value: Any) -> None:
    assert json.dumps(value) == standard.dumps(value, separators=(",", ":"))


@hypothesis.given(value=VALUES, step=st.sampled_from(["  ", "\t", ""]))
def test_indented_is_as_the_standard_module_writes_it(value: Any, step: str) -> None:
    assert json.dumps_indented(value, step=step) == standard.dumps(value, indent=step, ensure_ascii=True)


JSONISH = st.text(st.sampled_from('{}[]",:0123456789.eE+-truefalsn\\u\n\t ü\x00'), max_size=20)


@hypothesis.settings(max_examples=1000)
@hypothesis.given(text=st.one_of(JSONISH, st.text(max_size=10), VALUES.map(lambda value: standard.dumps(value)[:-1])))
def test_any_text_is_read_or_refused_as_the_standard_module_does(text: str) -> None:
    try:
        expected: Any = standard.loads(text, parse_constant=refuse_constant)
    except ValueError as error:
        with pytest.raises(ValueError, match=r".") as caught:
            json.loads(text)
        assert str(caught.value) == str(error)
    else:
        assert json.loads(text) == expected


def refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


@hypothesis.given(content=st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match=r"."):
            json.loads(content)
        return
    try:
        expected = standard.loads(text, parse_constant=refuse_constant)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            json.loads(content)
    else:
        assert json.loads(content) == expected


REFUSED = {
    "": "Expecting value: line 1 column 1 (char 0)",
    " ": "Expecting value: line 1 column 2 (char 1)",
    "{": "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    '{"a":1}x': "Extra data: line 1 column 8 (char 7)",
    '{"a" 1}': "Expecting ':' delimiter: line 1 column 6 (char 5)",
    "[1,\n2 3]": "Expecting ',' delimiter: line 2 column 3 (char 6)",
    '"\x01"': "Invalid control character at: line 1 column 2 (char 1)",
    '"\\u12"': "Invalid \\uXXXX escape: line 1 column 3 (char 2)",
    "01": "Extra data: line 1 column 2 (char 1)",
    "NaN": "NaN is not JSON",
    "[-Infinity]": "-Infinity is not JSON",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_fault_is_told_with_its_place_even_where_json_was_never_loaded(text: str) -> None:
    script = f"from aiorun.wire.json import loads\ntry: loads({text!r})\nexcept ValueError as error: print(error)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == REFUSED[text]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_what_nests_too_deep_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^nested too deep$"):
        json.loads(text)


def test_a_value_in_white_space_is_read() -> None:
    assert json.loads("\n\t \r[1 , 2]\r\n ") == [1, 2]
    with pytest.raises(ValueError, match=r"."):
        json.loads("\v1")  # white space for Python, not for JSON


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"x", {(1, 2): 3}])
def test_what_json_has_not_is_not_written(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        json.dumps(value)


def test_a_cycle_is_not_written() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match=r"."):
        json.dumps(cycle)


def test_a_failed_write_leaves_nothing_that_the_next_one_trips_over() -> None:
    shared = [object()]
    for _ in range(2):
        with pytest.raises(TypeError):
            json.dumps(shared)
    shared.clear()
    assert json.dumps(shared) == "[]"
