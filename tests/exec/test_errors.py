"""What exec says when it can't: runc's words, one line, status 255. And its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine
from tests.exec.conftest import Box, Boxes
from tests.runtime.life import complaint

UNABLE = "unable to start container process: "


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("--", 'exec: "--": executable file not found in $PATH'),
    ],
)
def test_a_program_that_cannot_be_executed_is_told_in_runcs_words(box: Box, program: str, why: str) -> None:
    assert box.refuses(program) == UNABLE + why


@pytest.mark.parametrize(("content", "why"), [("#!/nosuch\n", "no such file or directory"), ("no program", "exec format error")])
def test_what_the_kernel_does_not_execute_is_told_too(ours: Box, content: str, why: str) -> None:
    """runc exits 1, and says so on the container's standard error."""
    program = ours.rootfs / "bin" / "odd"
    program.write_text(content)
    program.chmod(0o755)
    assert ours.refuses("odd") == f'{UNABLE}exec "odd": {why}'


def test_a_directory_that_is_not_there_is_not_made(box: Box) -> None:
    said = box.refuses("true", flags=["--cwd", "/zz"])
    assert said == f'{UNABLE}chdir to cwd ("/zz") set in config.json failed: no such file or directory'
    assert not (box.rootfs / "zz").exists()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["-u", "a"], 'parsing a as int for uid failed: strconv.Atoi: parsing "a": invalid syntax'),
        (["-u", "1:b"], 'parsing b as int for gid failed: strconv.Atoi: parsing "b": invalid syntax'),
        (["-g", "-1"], "additional-gids must be a positive number -1"),
        (["--detach", "--tty"], "cannot allocate tty if runc will detach without setting console socket"),
        (["--console-socket", "/x"], "cannot use console socket if runc will not detach or allocate tty"),
        (["--tty", "--console-socket", "/x"], "cannot use console socket if runc will not detach or allocate tty"),
    ],
)
def test_flags_that_make_no_sense_are_told_in_runcs_words(box: Box, flags: list[str | Path], why: str) -> None:
    assert box.refuses("true", flags=flags) == why


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--cwd", "zz"], "process.cwd: Cwd must be an absolute path"),
        (["-e", "FOO"], "process.env[2]: invalid environment variable: missing '=' in \"FOO\""),
        (["-e", "=x"], "process.env[2]: invalid environment variable: name cannot be empty"),
        (["-u", "5000000000"], "process.user.uid: must be from 0 to 4294967294"),
        (["-u", "-1"], "process.user.uid: must be from 0 to 4294967294"),
        (["-g", "5000000000"], "process.user.additionalGids[0]: must be from 0 to 4294967294"),
        (["--preserve-fds", "-1"], "--preserve-fds -1: not a number of file descriptors"),
        (["--process", "/nosuch"], "open '/nosuch': no such file or directory"),
        (["--process", "/tmp"], "/tmp is not a regular file"),
    ],
)
def test_flags_that_are_wrong_are_named(ours: Box, flags: list[str | Path], why: str) -> None:
    assert ours.refuses("true", flags=flags) == why


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"cwd": "/", "args": []}, "process.args: args must not be empty"),
        ({"args": ["true"]}, "process.cwd: is required"),
        ({"cwd": "x", "args": ["true"]}, "process.cwd: Cwd must be an absolute path"),
        ({"cwd": "/", "args": ["true"], "user": {"uid": True}}, "process.user.uid: must be an integer, not a boolean"),
        ({"cwd": "/"}, "process args cannot be empty"),
        ([], "process: must be an object, not an array"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_json_path(ours: Box, tmp_path: Path, document: object, why: str) -> None:
    (tmp_path / "p").write_text(json.dumps(document))
    assert ours.refuses(flags=["-p", tmp_path / "p"]) == why


def test_a_file_that_is_no_json_is_named(ours: Box, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("{")
    assert ours.refuses(flags=["-p", tmp_path / "p"]).startswith(f"{tmp_path}/p is not valid JSON: ")


def test_without_a_program_there_is_nothing_to_do(box: Box) -> None:
    assert box.refuses() == "process args cannot be empty"


@pytest.mark.parametrize(
    ("id", "why"),
    [
        ("nosuch", "container does not exist"),
        ("", "container id cannot be empty"),
        ("../x", "invalid container ID format"),
    ],
)
def test_a_container_that_is_not_there_is_told_in_runcs_words(runtime: CommandLine, id: str, why: str) -> None:
    ended = runtime("exec", id, "true")
    assert (ended.returncode, complaint(ended)) == (255, f"exec failed: {why}")


def test_a_stopped_container_refuses_in_runcs_words(runtime: CommandLine, boxes: Boxes) -> None:
    box = boxes(runtime, args=["true"])
    os.waitpid(-1, 0)
    assert box.refuses("true") == "cannot exec in a stopped container"


def test_a_created_container_takes_an_exec(runtime: CommandLine, bundle: Bundles) -> None:
    runtime("create", "--bundle", bundle(args=["sleep", "1000"]), "x", check=True)
    assert runtime("exec", "x", "echo", "hello", check=True).stdout == "hello\n"
    assert runtime.state("x")["status"] == "created"
    runtime("delete", "--force", "x", check=True)


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)])
def test_the_programs_status_is_ours(box: Box, script: str, status: int) -> None:
    ended = box.exec("sh", "-c", f"echo out; echo err >&2; {script}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "out\n", "err\n")


def test_the_log_has_one_line_of_a_failure(box: Box, tmp_path: Path) -> None:
    ended = box.command_line("--log", tmp_path / "log", "--log-format", "json", "exec", box.id, "nosuch")
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line)["msg"] == f'exec failed: {UNABLE}exec: "nosuch": executable file not found in $PATH'
    assert (ended.returncode, ended.stdout) == (255, "")
