"""The same mistakes beside the real runc: the same exit status, the same words on the same stream."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aiorun.cli.main import COMMANDS
from tests.cli.program import AIORUN, run
from tests.conftest import need

RUNCS = frozenset(
    "checkpoint create delete events exec features kill list pause ps restore resume run spec start state update".split()
)

MISTAKES = [
    ["nosuch"],
    ["help", "nosuch"],
    ["--nosuch"],
    ["-x"],
    ["--nosuch=y", "list"],
    ["--debug=maybe", "list"],
    ["--log"],
    ["---debug"],
    ["--log-format", "x", "list"],
    ["--log-format=x", "list"],
    ["--log", "no/such/file", "list"],
    ["--log", "no/such/file", "--log-format", "json", "list"],
    ["--log-format", "json", "nosuch"],
    ["--", "--x"],
    ["spec", "x"],
    ["spec", "-b"],
    ["spec", "x", "--nosuch"],
    ["spec", "--", "--bundle"],
    ["spec", "-b", "x", "--bundle", "y"],
    ["spec", '--rootless=\x1b\u202e\\"'],
    ["create"],
    ["create", "a", "b"],
    ["create", "--no-pivot=x", "a"],
    ["create", "--preserve-fds=x", "a"],
    ["create", "--preserve-fds=99999999999999999999", "a"],
    ["create", "a"],
    ["create", "a", "-b", "."],
    ["run"],
    ["run", "a", "b"],
    ["run", "a"],
    ["start"],
    ["start", "a", "--x"],
    ["start", "nope"],
    ["state"],
    ["state", "a", "b"],
    ["state", "nope"],
    ["state", ""],
    ["state", "a/b"],
    ["state", "a\nb"],
    ["kill"],
    ["kill", "a", "b", "c"],
    ["kill", "nope"],
    ["kill", "nope", "KILL", "--all"],
    ["delete"],
    ["delete", "a", "b"],
    ["delete", "nope"],
    ["delete", "--", "--force"],
    ["delete", "nope", "--force"],
    ["pause"],
    ["pause", "nope"],
    ["pause", "a", "--nosuch"],
    ["resume", "a", "b"],
    ["resume", "nope"],
    ["update"],
    ["update", "a", "b"],
    ["update", "nope"],
    ["update", "nope", "--memory", "1"],
    ["update", "--pids-limit", "x", "nope"],
    ["events"],
    ["events", "nope"],
    ["events", "--interval", "0", "nope"],
    ["events", "--interval", "x", "a"],
    ["list", "x"],
    ["list", "-f"],
    ["list", "-f", "x"],
    ["list", "-f", "json", "--format", "json"],
    ["list", "-q=x"],
    ["list"],
    ["list", "-f", "json"],
    ["list", "-q"],
    ["ps"],
    ["ps", "nope", "--nosuch"],
    ["ps", "-f", "x", "nope"],
    ["exec"],
    ["exec", "a"],
    ["exec", "nope", "true"],
    ["exec", "--nosuch", "a"],
    ["exec", "nope"],
    ["exec", "--preserve-fds=x", "nope", "true"],
    ["exec", "-g", "x", "nope", "true"],
    ["exec", "--tty=x", "nope", "true"],
    ["exec", "--process"],
    ["exec", "-c", "CAP_X", "nope", "true"],
    ["exec", "a/b", "true"],
    ["exec", "", "true"],
    ["exec", "-e"],
    ["exec", "nope", "--", "true"],
    ["exec", "--cwd"],
    ["pause", "a", "b"],
    ["pause", "--x", "nope"],
    ["pause", ""],
    ["resume"],
    ["resume", "a/b"],
    ["update", "--memory", "x", "nope"],
    ["update", "-r", "no/file", "nope"],
    ["update", "--blkio-weight=x", "nope"],
    ["update", "--cpu-quota", "1.5", "nope"],
    ["events", "a", "b"],
    ["events", "--interval", "0s", "nope"],
    ["events", "--interval", "x", "nope"],
    ["events", "--interval=-1s", "nope"],
    ["events", "--stats", "nope"],
    ["events", "--interval", "5", "nope"],
    ["features", "x"],
    ["features", "--x"],
    ["features", "-h=x"],
    ["spec", "--rootless=maybe"],
    ["spec", "--help", "x"],
    ["kill", "nope", "0"],
    ["kill", "", "KILL"],
    ["state", "--x", "nope"],
    ["list", "--format=x"],
    ["list", "--quiet=0", "x"],
    ["list", "-f", "table", "-q", "extra"],
    ["ps", "nope", "-ef"],
    ["ps", "--format", "json", "nope"],
    ["ps", "--format=json", "a", "b"],
    ["ps", "a/b"],
    ["delete", "--force", "nope"],
    ["delete", "-f", "a", "b"],
    ["delete", ""],
    ["delete", "-x"],
    ["delete", "-f", ""],
    ["delete", "-f", "a/b"],
    ["start", ""],
    ["start", "a", "b"],
    ["start", "-h=x"],
    ["run", "-b", "no/dir", "a"],
    ["run", "--console-socket"],
    ["run", "--pid-file"],
    ["run", "-d=x", "a"],
    ["run", "--keep=x", "a"],
    ["run", "a/b"],
    ["run", ""],
    ["create", "-b", "no/dir", "a"],
    ["create", "--pidfd", "x", "a"],
    ["create", "--bundle", "/proc/self/mem", "a"],
    ["create", "a/b"],
    ["create", ""],
    ["create", "--preserve-fds", "-1", "a"],
    ["--root"],
    ["--rootless", "x", "list"],
    ["--rootless=", "list"],
    ["--systemd-cgroup=x", "list"],
    ["--criu"],
    ["--help", "x"],
    ["help", "create", "x"],
    ["h"],
    ["--version=x"],
    ["-h"],
    ["--log", "/proc/nope", "list"],
    ["--log", "/", "list"],
    ["--log-format=", "list"],
    ["--log-format", "JSON", "list"],
    ["checkpoint"],
    ["checkpoint", "nope"],
    ["checkpoint", "a", "b"],
    ["checkpoint", "--manage-cgroups-mode", "x", "nope"],
    ["checkpoint", "--empty-ns", "x", "nope"],
    ["checkpoint", "--page-server", "x", "nope"],
    ["restore"],
    ["restore", "a", "b"],
    ["restore", "nope"],
    ["restore", "--lsm-mount-context"],
    ["restore", "--lsm-profile"],
    ["restore", "--manage-cgroups-mode=x", "nope"],
    ["restore", "--image-path", "no/dir", "nope"],
]


def run_runc(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run runc by its bare name, which it puts into some of its errors."""
    return run("runc", *arguments, executable=need("runc"), **options)


def run_aiorun(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(*AIORUN, *arguments, **options)


def needs_command(arguments: list[str]) -> None:
    """Skip where `arguments` are for a command that isn't written yet."""
    named = [word for word in arguments if word in RUNCS]
    works_without = any(word.startswith("--log") or word in ("--nosuch=y", "--debug=maybe") for word in arguments)
    if named and named[0] not in COMMANDS and not works_without:
        pytest.skip(f"{named[0]} isn't there yet")


def comparable(stderr: str) -> str:
    """stderr without what differs by nature: the time, the name, and the newline that runc has in a message by accident."""
    text = re.sub(r'time(":|=)"[^"]+"', r"time\1", stderr)
    text = re.sub(r"(No help topic for '.*')\\n\"", r'\1"', text)
    return re.sub(r"\brunc\b", "aiorun", text)


@pytest.mark.parametrize("arguments", MISTAKES, ids=lambda words: " ".join(words).encode("unicode_escape").decode())
def test_a_mistake_ends_as_runcs(tmp_path: Path, arguments: list[str]) -> None:
    needs_command(arguments)
    root = ["--root", str(tmp_path / "root")]
    theirs = run_runc(*root, *arguments, cwd=tmp_path)
    ours = run_aiorun(*root, *arguments, cwd=tmp_path)
    assert (ours.returncode, comparable(ours.stderr)) == (theirs.returncode, comparable(theirs.stderr))
    assert comparable(ours.stdout).split("\n\n")[0] == comparable(theirs.stdout).split("\n\n")[0]


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_log_file_holds_what_runcs_does(tmp_path: Path, format: str) -> None:
    logs = []
    for number, program in enumerate((run_runc, run_aiorun)):
        log = tmp_path / str(number)
        ended = program("--log", log, "--log-format", format, "spec", "x")
        logs.append((ended.returncode, comparable(ended.stderr), comparable(log.read_text()), log.stat().st_mode))
    assert logs[0] == logs[1]
    if format == "json":
        assert set(json.loads((tmp_path / "1").read_text())) == {"level", "msg", "time"}
