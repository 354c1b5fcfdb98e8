"""Every command of runc, and every flag of it, is one of ours: read off runc's own help.

What isn't there yet is what docs/cli.md says isn't there yet, by its name, and nothing else.
"""

from __future__ import annotations

import re

import pytest

from aiorun.cli.main import COMMANDS
from tests.cli.program import AIORUN, run
from tests.conftest import CHECKOUT, need

_COMMAND = re.compile(r"^   ([a-z]+)(?:, [a-z])? ", re.MULTILINE)
_FLAG = re.compile(r"^   (-[\w-]+(?: value)?(?:, -[\w-]+(?: value)?)*)", re.MULTILINE)

# What the runc of today has besides those of Debian's: docs/differences.md names the versions.
NEWER = {
    "create": {"--pidfd-socket value"},
    "run": {"--pidfd-socket value"},
    "exec": {"--pidfd-socket value"},
    "update": {"--cpu-burst value", "--cpu-idle value"},
    "checkpoint": {"--link-remap", "--tcp-skip-in-flight"},
}


def runcs_commands() -> list[str]:
    listed = run(need("runc"), "--help").stdout.partition("COMMANDS:\n")[2].partition("\n\n")[0]
    return _COMMAND.findall(listed)


def flags_in(help: str) -> set[str]:
    """Each form of each flag, with `value` after it where it takes one: {"--bundle value", "-b value"}."""
    options = help.rpartition("OPTIONS:\n")[2]
    return {form for line in _FLAG.findall(options) for form in line.split(", ")}


def not_yet() -> set[str]:
    """The commands that the documentation says are missing."""
    text = " ".join((CHECKOUT / "docs" / "cli.md").read_text().split())
    sentence = re.search(r"prints the help\.((?: `[a-z]+`,?(?: and)?)*) (?:is|are) not there yet", text)
    return set(re.findall("`([a-z]+)`", sentence[1])) if sentence else set()


def test_every_command_of_runc_is_there_or_said_to_be_missing() -> None:
    missing = set(runcs_commands()) - COMMANDS.keys() - {"help"}
    assert missing == not_yet()


def test_every_flag_of_every_command_of_runc_is_there() -> None:
    """Of the commands that are there; the missing flags are named all at once."""
    missing = {}
    for name in runcs_commands():
        if name in COMMANDS:
            theirs = flags_in(run(need("runc"), name, "--help").stdout) | NEWER.get(name, set())
            missing[name] = sorted(theirs - flags_in(run(*AIORUN, name, "--help").stdout))
    assert missing.keys() >= {"create", "start", "run", "state", "kill", "delete", "list", "ps", "spec", "features"}
    assert {name: flags for name, flags in missing.items() if flags} == {}


def test_every_global_flag_of_runc_is_there() -> None:
    theirs, ours = flags_in(run(need("runc"), "--help").stdout), flags_in(run(*AIORUN, "--help").stdout)
    assert {"--root value", "--debug", "-v"} <= theirs
    assert theirs - ours == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_taken_with_one_dash_too(name: str) -> None:
    """containerd's shim says `-no-subreaper`."""
    for form in flags_in(run(*AIORUN, name, "--help").stdout) - {"--help", "-h"}:
        flag, _, value = form.partition(" ")
        words = [flag.replace("--", "-"), *(["0"] if value else [])]  # a number, and a duration without a unit
        said = run(*AIORUN, name, *words, "--help=x").stderr  # the mistake after it ends the command
        assert 'for -help: parse error"' in said, said
