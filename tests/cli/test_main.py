"""The frame around the commands: whatever happens, one whole sentence and the right exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiorun.cli.command import Command, wrong_number_of_arguments
from aiorun.cli.main import COMMANDS
from aiorun.cli.version import checkout_commit
from aiorun.spec.defaults import OCI_VERSION
from tests.cli.program import AIORUN, PYTHON, TRY, run
from tests.conftest import CHECKOUT, need, need_root


def sentence(stderr: str) -> str:
    """The message of the one line that stderr is."""
    match = re.fullmatch(r'time="[^"]+" level=error msg=("(?:[^"\\\n]|\\.)*"|[^ "\n]*)\n', stderr)
    assert match is not None, stderr
    text = match[1]
    return str(json.loads(text)) if text.startswith('"') else text


# --- what is printed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["help"], ["h"], ["--help"], ["-h"], ["--"], ["--help=true"]])
def test_help_names_every_command_and_succeeds(arguments: list[str]) -> None:
    ended = run(*AIORUN, *arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    for name, (_module, summary) in COMMANDS.items():
        assert re.search(f"^   {name} +{re.escape(summary)}$", ended.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help_teaches_it(name: str) -> None:
    ended = run(*AIORUN, name, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"NAME:\n   aiorun {name} - {COMMANDS[name][1]}\n\nUSAGE:\n   aiorun {name}")
    for part in ("\nDESCRIPTION:\n", "\nEXAMPLES:\n", "\nOPTIONS:\n"):
        assert part in ended.stdout
    assert f"aiorun {name}" in ended.stdout.partition("EXAMPLES:")[2]
    assert max(map(len, ended.stdout.partition("OPTIONS:")[0].splitlines())) <= 130
    assert run(*AIORUN, "help", name).stdout == ended.stdout


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_version_has_the_lines_that_docker_reads(flag: str) -> None:
    ended = run(*AIORUN, flag)
    assert (ended.returncode, ended.stderr) == (0, "")
    keys = [re.split(r"(?<=version) |: ", line)[0] for line in ended.stdout.splitlines()]
    assert keys[:4] == ["aiorun version", "commit", "spec", "python"]
    assert keys[4:] in ([], ["libseccomp"])
    assert ended.stdout.count("version") == 1
    assert f"spec: {OCI_VERSION}\n" in ended.stdout
    assert f"python: {'.'.join(map(str, sys.version_info[:3]))}\n" in ended.stdout


@pytest.mark.parametrize("layout", ["loose", "packed", "detached", "worktree", "none", "broken"])
def test_the_commit_is_read_from_any_checkout(tmp_path: Path, layout: str) -> None:
    git = need("git")
    checkout = tmp_path / "checkout"

    def call(*arguments: str) -> str:
        where = ["-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@example.org"]
        return run(git, *where, *arguments).stdout.strip()

    checkout.mkdir()
    if layout == "none":
        assert checkout_commit(str(checkout)) == ""
        return
    call("init", "--quiet")
    call("commit", "--quiet", "--allow-empty", "--message", "one")
    commit = call("rev-parse", "HEAD")
    if layout == "packed":
        call("pack-refs", "--all")
    elif layout == "detached":
        call("checkout", "--quiet", "--detach")
    elif layout == "worktree":
        call("worktree", "add", "--quiet", str(tmp_path / "tree"))
        checkout = tmp_path / "tree"
    elif layout == "broken":
        (checkout / ".git" / "HEAD").write_text("\x1b]0;gotcha")
        commit = ""
    assert checkout_commit(str(checkout)) == commit


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["nosuch"], ["help", "nosuch"], ["--", "nosuch", "--help"]])
def test_an_unknown_command_exits_3(arguments: list[str]) -> None:
    ended = run(*AIORUN, *arguments)
    assert (ended.returncode, ended.stdout, sentence(ended.stderr)) == (3, "", "No help topic for 'nosuch'")


@pytest.mark.parametrize(
    ("limits", "number", "fault"),
    [
        ((1, 1), 0, "exactly 1"),
        ((1, 1), 2, "exactly 1"),
        ((0, 0), 1, "exactly 0"),
        ((1, 2), 0, "a minimum of 1"),
        ((1, 2), 3, "a maximum of 2"),
        ((1, None), 0, "a minimum of 1"),
        ((1, 1), 1, ""),
        ((1, 2), 2, ""),
        ((1, None), 99, ""),
    ],
)
def test_a_wrong_number_of_arguments_is_told_in_runcs_words(limits: tuple[int, int | None], number: int, fault: str) -> None:
    said = wrong_number_of_arguments(Command(name="kill", arguments=limits), number)
    assert said == (fault and f'aiorun: "kill" requires {fault} argument(s)')


@pytest.mark.parametrize("root", ["/", "//", "/..", "/tmp/../", "."])
def test_the_root_of_the_system_is_no_root_directory(root: str) -> None:
    ended = run(*AIORUN, "--root", root, "spec", cwd="/")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert sentence(ended.stderr) == "Option --root argument should not be set to /"


def test_a_relative_root_needs_a_current_directory(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = run("sh", "-c", 'cd "$0"; rmdir "$0"; exec "$@"', gone, *AIORUN, "--root", "x", "spec")
    assert sentence(ended.stderr) == "find the current directory for --root x: no such file or directory"
    assert ended.returncode == 1


def test_criu_of_old_callers_is_taken_and_warned_of_with_debug_alone(tmp_path: Path) -> None:
    quiet = run(*AIORUN, "--criu", "/x", "spec", cwd=tmp_path)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    loud = run(*AIORUN, "--criu", "/x", "--debug", "help")
    assert 'level=warning msg="--criu is ignored' in loud.stderr


# --- how a failure is told ----------------------------------------------------------------------------------------


def test_a_commands_error_has_its_prefix_and_status() -> None:
    ended = run(*TRY, "try", "raise errors.AiorunError('container does not exist')")
    assert (ended.returncode, ended.stdout) == (255, "")
    assert sentence(ended.stderr) == "try failed: container does not exist"


def test_a_mistake_in_the_flags_of_a_command_is_no_failure_of_it() -> None:
    ended = run(*TRY, "try")
    assert ended.returncode == 1
    assert ended.stdout.startswith(
        "Incorrect Usage.\n\nNAME:\n   aiorun try - run a statement\n\nUSAGE:\n   aiorun try <statement>\n"
    )
    assert sentence(ended.stderr) == 'aiorun: "try" requires a minimum of 1 argument(s)'


CRASHES = [
    ("1 / 0", "unexpected error: ZeroDivisionError: division by zero", 255),
    ("open('/nope')", 'unexpected error on "/nope": no such file or directory', 255),
    ("raise OSError('odd')", "unexpected error: odd", 255),
    ("import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()", "interrupted", 130),
    ("raise SystemExit(0)", "unexpected error: SystemExit: 0", 255),
    ("raise MemoryError", "unexpected error: MemoryError: ", 255),
    ("def f(): f()\nf()", "unexpected error: RecursionError: maximum recursion depth exceeded", 255),
]


@pytest.mark.parametrize(("statement", "text", "status"), CRASHES)
def test_a_crash_is_one_sentence_and_no_traceback(statement: str, text: str, status: int) -> None:
    ended = run(*TRY, "try", statement)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert sentence(ended.stderr) == f"try failed: {text}"


@pytest.mark.parametrize(("statement", "text", "status"), CRASHES)
def test_a_crash_leaves_one_json_object_in_the_log(tmp_path: Path, statement: str, text: str, status: int) -> None:
    log = tmp_path / "log.json"
    ended = run(*TRY, "--log", log, "--log-format", "json", "try", statement)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", f"try failed: {text}\n")
    entry = json.loads(log.read_text())
    assert (entry["level"], entry["msg"]) == ("error", f"try failed: {text}")


def test_with_debug_the_traceback_comes_before_the_error_on_a_line_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    run(*TRY, "--debug", "--log", log, "--log-format", "json", "try", "1 / 0")
    _start, debug, error = [json.loads(line) for line in log.read_text().splitlines()]
    assert debug["level"] == "debug"
    assert debug["msg"].startswith("Traceback (most recent call last):\n")
    assert error["level"] == "error"


def test_names_that_drive_a_terminal_are_escaped_everywhere(tmp_path: Path) -> None:
    name = "x\n\x1b[2J\u202e\udcff"
    log = tmp_path / "log"
    ended = run(*AIORUN, "--log", log, name)
    assert ended.stderr == "No help topic for 'x\\n\\x1b[2J\\u202e\\xff'\n"
    assert log.read_text().endswith(" level=error msg=\"No help topic for 'x\\n\\x1b[2J\\u202e\\xff'\"\n")
    json_log = tmp_path / "log.json"
    run(*AIORUN, "--log", json_log, "--log-format", "json", name)
    assert json.loads(json_log.read_text())["msg"] == "No help topic for 'x\n\x1b[2J\u202e\ufffd'"
    assert json_log.read_text()[:-1].isprintable()


# --- closed standard streams --------------------------------------------------------------------------------------


def closed(fds: str, *argv: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return run("sh", "-c", f'exec "$@" {fds}', "sh", *argv, **options)


@pytest.mark.parametrize("fds", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_spoil_no_file(tmp_path: Path, fds: str) -> None:
    log = tmp_path / "log.json"
    ended = closed(fds, *AIORUN, "--log", log, "--log-format", "json", "spec", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr, log.read_text()) == (0, "", "", "")
    assert json.loads((tmp_path / "config.json").read_text())["hostname"] == "runc"
    ended = closed(fds, *AIORUN, "--log", log, "--log-format", "json", "spec", cwd=tmp_path)
    assert ended.returncode == 1
    assert json.loads(log.read_text())["msg"] == "File config.json exists. Remove it first"


def test_closed_streams_are_open_for_the_program(tmp_path: Path) -> None:
    look = 'for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done >"$0"'
    statement = f"import os; os.execv('/bin/sh', {['sh', '-c', look, str(tmp_path / 'fds')]!r})"
    assert closed("<&- >&- 2>&-", *TRY, "try", statement).returncode == 0
    assert (tmp_path / "fds").read_text().split()[::2] == ["/dev/null", "/dev/null"]


@pytest.fixture
def nobody_reads() -> Any:
    """The writing end of a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def test_a_broken_stderr_changes_no_exit_status(nobody_reads: int) -> None:
    assert run(*AIORUN, "nosuch", stderr=nobody_reads).returncode == 3
    assert run(*TRY, "try", "1 / 0", stderr=nobody_reads).returncode == 255


def test_output_that_nobody_reads_is_an_error_in_one_sentence(nobody_reads: int) -> None:
    ended = run(*AIORUN, "--version", stdout=nobody_reads)
    assert (ended.returncode, sentence(ended.stderr)) == (1, "write to standard output: broken pipe")


def test_usage_that_nobody_reads_does_not_hide_the_error(nobody_reads: int) -> None:
    ended = run(*AIORUN, "spec", "--nosuch", stdout=nobody_reads)
    assert (ended.returncode, sentence(ended.stderr)) == (1, "flag provided but not defined: -nosuch")


def test_a_full_disk_is_an_error_in_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        ended = run(*AIORUN, "--version", stdout=full)
    assert (ended.returncode, sentence(ended.stderr)) == (1, "write to standard output: no space left on device")


def test_a_full_pipe_in_non_blocking_mode_loses_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 65536)
        except BlockingIOError:
            break
    child = subprocess.Popen([*AIORUN, "--version"], stdout=writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        output = pipe.read()
    assert child.wait() == 0
    assert output.lstrip(b"x").startswith(b"aiorun version ")


# --- the root directory, and who may --------------------------------------------------------------------------------


def ask(expression: str, *, env: dict[str, str], before: list[str] | None = None, **options: Any) -> str:
    """What `expression` on aiorun.cli.command's names is, in a process of its own."""
    script = f"import sys; sys.path.append({str(CHECKOUT)!r})\nfrom aiorun.cli.command import *\nprint({expression})"
    ended = run(*(before or []), *PYTHON, "-c", script, env=env, **options)
    assert ended.stderr == ""
    return ended.stdout.rstrip("\n")


@pytest.mark.parametrize("env", [{}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "/run/user/0", "USER": "alice"}])
def test_roots_containers_are_below_run_whatever_the_environment(env: dict[str, str]) -> None:
    need_root()
    assert ask("default_root()", env=env) == "/run/aiorun"


@pytest.mark.parametrize(
    ("env", "root"),
    [
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/aiorun"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "USER": "alice"}, "/run/user/7/aiorun"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "USER": "root"}, "/run/aiorun"),
        ({"XDG_RUNTIME_DIR": ""}, "/run/aiorun"),
    ],
)
def test_root_in_a_user_namespace_has_the_users_directory(env: dict[str, str], root: str) -> None:
    unshare = need("unshare")
    assert ask("default_root()", env=env, before=[unshare, "--user", "--map-root-user"]) == root


@pytest.mark.parametrize(
    ("rootless", "ignores"), [("true", True), ("1", True), ("false", False), ("auto", False), ("AUTO", False), ("", False)]
)
def test_rootless_says_whether_cgroup_permissions_are_ignored(rootless: str, ignores: bool) -> None:
    need_root()
    asked = f"ignores_cgroup_permissions(Context(root='/x', log=None, rootless={rootless!r}))"
    assert ask(asked, env={}) == str(ignores)


def test_a_word_that_rootless_does_not_know_is_told_in_gos_words() -> None:
    ended = run(*TRY, "--rootless=x", "try", "from aiorun.cli.command import *; ignores_cgroup_permissions(context)")
    assert sentence(ended.stderr) == 'try failed: strconv.ParseBool: parsing "x": invalid syntax'
