"""What criu may answer, said by a program of the test's own in its place: the real one can't be brought to most of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from aiorun.runtime.criu.messages import ANSWER, DUMP, FEATURE_CHECK, NOTIFY, RESTORE, VERSION, encode
from tests.conftest import Bundles, CommandLine, need
from tests.container.configs import writable
from tests.runtime.life import cgroups_of, refused

# Answers what a test has put down for each request, in hexadecimal; "end" is to end with status 7, "-" to await the next request.
PROGRAM = """\
#!{python} -IS
import _socket, os, sys
server = _socket.socket(fileno=int(sys.argv[2]))
for answer in open({answers!r}).read().split():
    if not server.recv(1 << 16):
        break
    if answer == "end":
        os._exit(7)
    if answer != "-":
        server.send(bytes.fromhex(answer))
server.recv(1 << 16)
"""


class Criu:
    """Puts a program named criu before the real one, on a PATH of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._answers = directory / "answers"
        program = directory / "criu"
        program.write_text(PROGRAM.format(python=os.path.realpath(sys.executable), answers=str(self._answers)))
        program.chmod(0o755)
        self.env = {**os.environ, "PATH": f"{directory}:{os.environ.get('PATH', '')}"}

    def answers(self, *answers: dict[str, Any] | str) -> None:
        texts = [answer if isinstance(answer, str) else encode(answer, ANSWER).hex() for answer in answers]
        self._answers.write_text(" ".join(texts))


@pytest.fixture
def criu(tmp_path: Path) -> Criu:
    return Criu(tmp_path / "in-place-of-criu")


def version(major: int, minor: int, **more: Any) -> dict[str, Any]:
    return {"type": VERSION, "success": True, "version": {"major_number": major, "minor_number": minor, **more}}


RECENT = version(3, 17, sublevel=1)
NOTIFIED = {"type": NOTIFY, "success": True, "notify": {"script": "pre-dump"}}
FAILED = {"type": DUMP, "success": False, "cr_errno": 3, "cr_errmsg": "Error (criu/x.c:1): no\n"}
LOG = "(log file: {images}/dump.log)"
DUMPS: list[tuple[list[Any], list[str], str]] = [
    ([version(3, 1)], [], "CRIU version 30100 must be 31500 or higher"),
    ([version(3, 14, gitid="v3.14-2-gabc"), FAILED], [], f"criu failed: type DUMP errno 3: Error (criu/x.c:1): no {LOG}"),
    ([RECENT, {"type": FEATURE_CHECK, "success": True, "features": {"mem_track": False, "lazy_pages": True}}],
     ["--pre-dump"], "criu is missing features: [MemTrack]"),
    ([RECENT, {"type": FEATURE_CHECK, "success": True}], ["--lazy-pages"], "criu is missing features: [LazyPages]"),
    ([{"type": 0, "success": False}], [], "criu failed: type EMPTY errno 0"),
    ([RECENT, NOTIFIED, NOTIFIED, FAILED], [], f"criu failed: type DUMP errno 3: Error (criu/x.c:1): no {LOG}"),
    ([RECENT, NOTIFIED, "end"], [], "criu ended with status 7 before it answered"),
    (["end"], [], "criu ended with status 7 before it answered"),
    ([RECENT, "08"], [], "criu sent a number without an end"),
    ([RECENT, "0a"], [], "criu sent a number without an end"),
    ([RECENT, "120a00"], [], "criu sent a message that was cut"),
    ([RECENT, {"type": RESTORE, "success": True}], [], "criu answered a request of another type: RESTORE"),
    ([NOTIFIED], [], "criu answered a request of another type: NOTIFY"),
    ([RECENT, "00" * 70000], [], "read from criu: message too long"),
]  # fmt: skip


@pytest.mark.parametrize(("answers", "flags", "text"), DUMPS)
def test_a_dump_that_criu_does_not_do_is_an_error_and_the_container_goes_on(
    aiorun: CommandLine, bundle: Bundles, criu: Criu, tmp_path: Path, answers: list[Any], flags: list[str], text: str
) -> None:
    criu.answers(*answers)
    with open(os.devnull, "r+b") as null:
        aiorun(
            "run", "--detach", "--bundle", bundle(args=["sleep", "1000"]), "c", check=True, stdin=null, stdout=null, stderr=null
        )
    images = tmp_path / "images"
    ended = aiorun("checkpoint", "--image-path", images, *flags, "c", env=criu.env)
    assert refused(ended) == text.format(images=images)
    assert aiorun.state("c")["status"] == "running"
    aiorun("delete", "--force", "c", check=True)


def test_a_dump_that_succeeds_deletes_the_container(aiorun: CommandLine, bundle: Bundles, criu: Criu, tmp_path: Path) -> None:
    criu.answers(RECENT, NOTIFIED, {"type": DUMP, "success": True})
    with open(os.devnull, "r+b") as null:
        aiorun(
            "run", "--detach", "--bundle", bundle(args=["sleep", "1000"]), "c", check=True, stdin=null, stdout=null, stderr=null
        )
    aiorun("checkpoint", "--image-path", tmp_path / "images", "c", check=True, env=criu.env)
    assert (tmp_path / "images" / "descriptors.json").read_text() == '["/dev/null","/dev/null","/dev/null"]'
    assert refused(aiorun("state", "c")) == "container does not exist"


RESTORES: list[tuple[list[Any], list[str], str]] = [
    ([version(3, 1)], [], "CRIU version 30100 must be 31500 or higher"),
    ([version(3, 15)], ["--lsm-profile", "apparmor:x"], "--lsm-profile requires at least CRIU 3.16"),
    ([version(3, 15)], ["--lsm-mount-context", "x"], "--lsm-mount-context requires at least CRIU 3.16"),
    ([RECENT, {"type": RESTORE, "success": False}], [], "criu failed: type RESTORE errno 0 (log file: {images}/restore.log)"),
    ([RECENT, "end"], [], "criu ended with status 7 before it answered"),
    ([RECENT, {"type": RESTORE, "success": True}], [], "criu ended with status 0 after it had restored the container"),
    ([RECENT, {"type": NOTIFY, "success": True, "notify": {"script": "post-restore", "pid": 1 << 30}}], [],
     "criu named a process that is not there"),
]  # fmt: skip


@pytest.mark.parametrize(("answers", "flags", "text"), RESTORES)
def test_a_restore_that_criu_does_not_do_leaves_nothing(
    aiorun: CommandLine, bundle: Bundles, criu: Criu, tmp_path: Path, cgroup_parent: str, answers: list[Any], flags: list[str],
    text: str,
) -> None:  # fmt: skip
    criu.answers(*answers)
    images = tmp_path / "images"
    images.mkdir()
    (images / "descriptors.json").write_text('["/dev/null","pipe:[1]","x"]')
    command: list[str | Path] = ["restore", "--detach", "--bundle", bundle(writable()), "--image-path", images, *flags, "c"]
    assert refused(aiorun(*command, env=criu.env)) == text.format(images=images)
    assert refused(aiorun("state", "c")) == "container does not exist"
    assert cgroups_of(cgroup_parent) == []


@pytest.mark.parametrize("content", ["", "{}", "[", "7"])
def test_descriptors_that_are_none_are_an_error(
    aiorun: CommandLine, bundle: Bundles, criu: Criu, tmp_path: Path, content: str
) -> None:
    criu.answers()
    (tmp_path / "descriptors.json").write_text(content)
    ended = aiorun("restore", "--detach", "--bundle", bundle(), "--image-path", tmp_path, "c", env=criu.env)
    assert refused(ended).startswith(f'read "{tmp_path}/descriptors.json": ')


def test_without_criu_the_error_says_what_to_install(aiorun: CommandLine, bundle: Bundles, tmp_path: Path) -> None:
    hide = "for d in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do if [ -e $d/criu ]; then"
    hide += ' mount --bind /dev/null $d/criu; fi; done; exec "$@"'
    command = aiorun.argv("restore", "--detach", "--bundle", bundle(), "--image-path", tmp_path, "c")
    hidden = CommandLine(need("unshare"), aiorun.root)
    hidden.argv = lambda *args: [hidden.command, "--mount", "sh", "-c", hide, "sh", *map(str, args)]  # type: ignore[method-assign]
    text = "checkpoint and restore need criu, and it is not installed: its package is named criu (https://criu.org)"
    assert refused(hidden(*command)) == text
