"""Every example of README.md, docs/ and the command's help does what it says."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiorun.cli.main import COMMANDS
from tests.conftest import CHECKOUT, Bundles, need, need_criu, need_root
from tests.docs.shell import Command, Shell, matches, parse
from tests.docs.tables import DOCUMENTS

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ROOTS = (CHECKOUT, CHECKOUT / "aiorun", CHECKOUT / "aiorun" / "plan")  # the operations' table names files of plan/ alone
_FILE = re.compile(r"`((?:[a-z0-9_]+/)*[a-z0-9_]+\.(?:py|toml)|(?:tests|scripts|docs|aiorun)/[a-z_/.]*)`")
_HELP_COMMAND = re.compile(r"^ {4}# (.*)$", re.MULTILINE)


@pytest.fixture
def shell(tmp_path: Path, cgroup_parent: str) -> Iterator[Shell]:
    need_root()
    need("busybox")
    shell = Shell(tmp_path, cgroup_parent)
    yield shell
    shell.close()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_examples_of_a_document_print_what_it_shows(document: Path, shell: Shell, tmp_path: Path) -> None:
    """In order, in one directory: a document tells one story. A python block's output is the text block right after it."""
    blocks = _BLOCK.findall(document.read_text())
    for (kind, code), (next_kind, following) in zip(blocks, [*blocks[1:], ("", "")], strict=False):
        if kind == "console":
            shell.check(parse(code))
        elif kind == "python":
            (tmp_path / "example.py").write_text(code)
            printed, status = shell.run(Command(f"{shlex.quote(str(CHECKOUT))}/.venv/bin/python example.py"))
            assert status == 0, printed
            assert matches(following.strip() if next_kind == "text" else "", printed), f"{code}\nprinted:\n{printed}"


# What has to be there for the examples of a command's help, which stand for themselves.
PREPARE = {
    "create": ["recvtty --no-stdin mybundle/tty.sock >/dev/null & until [ -S mybundle/tty.sock ]; do sleep 0.01; done"],
    "delete": ["aiorun create --bundle quiet web"],
    "events": ["aiorun create --bundle quiet web"],
    "exec": ["aiorun create --bundle quiet web"],
    "kill": ["aiorun create --bundle quiet web"],
    "list": ["aiorun create --bundle quiet web"],
    "checkpoint": ["aiorun run --detach --bundle mybundle web </dev/null >/dev/null 2>&1"],
    "pause": ["aiorun create --bundle quiet web"],
    "ps": ["aiorun create --bundle quiet web"],
    "restore": [
        "aiorun run --detach --bundle mybundle web </dev/null >/dev/null 2>&1",
        "aiorun checkpoint --image-path saved web",
    ],
    "resume": ["aiorun create --bundle quiet web", "aiorun pause web"],
    "start": ["aiorun create --bundle quiet web"],
    "state": ["aiorun create --bundle quiet web"],
    "update": ["aiorun create --bundle quiet web"],
}


@pytest.mark.parametrize("name", [*COMMANDS, "help"])
def test_the_examples_of_help_work(name: str, shell: Shell, bundle: Bundles, tmp_path: Path) -> None:
    if name in ("checkpoint", "restore"):
        need_criu()
        bundle(args=["sleep", "100"], change=without_cgroup).rename(tmp_path / "mybundle")
    else:
        bundle(terminal=True, change=without_cgroup).rename(tmp_path / "mybundle")
    bundle(args=["sleep", "100"], change=without_cgroup).rename(tmp_path / "quiet")
    for line in PREPARE.get(name, []):
        assert shell.run(Command(line)) == ("", 0)
    text = help_of(name)
    commands = [line for line in _HELP_COMMAND.findall(text) if not line.startswith("recvtty ")]
    assert commands, f"{name} has no example"
    for line in commands:
        typed = ["exit"] if line == "aiorun run hello" and "echo" not in text else []
        printed, status = shell.run(Command(line, typed))
        assert status == 0, f"{line}: {printed}"


def help_of(name: str) -> str:
    module = importlib.import_module(f"aiorun.cli.{COMMANDS[name][0] if name in COMMANDS else 'help'}")
    text: str = module.COMMAND.examples if name in COMMANDS else module._PROGRAM
    return text


def without_cgroup(config: dict[str, dict[str, object]]) -> None:
    del config["linux"]["cgroupsPath"]


def test_the_readmes_two_commands_are_there_and_demo_works() -> None:
    """scripts/test is what runs this."""
    first_screen = (CHECKOUT / "README.md").read_text().partition("\n## ")[0]
    commands = re.findall(r"^    (scripts/\w+)", first_screen, re.MULTILINE)
    assert commands == ["scripts/demo", "scripts/test"]
    need_root()
    demo = subprocess.run(CHECKOUT / commands[0], capture_output=True, text=True, timeout=300, check=False)
    assert demo.returncode == 0, demo.stderr
    assert "Hello from a terminal" in demo.stdout


COMING = ("library.md", "security.md")  # pages that others are writing


def test_links_lead_somewhere() -> None:
    missing = [
        f"{document.name}: {target}"
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / target).exists() and Path(target).name not in COMING
    ]
    assert not missing


def test_links_to_a_heading_lead_somewhere() -> None:
    missing = []
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", document.read_text()):
            headings = anchors((document.parent / target if target else document).read_text())
            missing += [] if anchor in headings else [f"{document.name}: {target}#{anchor}"]
    assert not missing


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [("a … c", "a b c", True), ("a\n…\nc", "a\nb\nb\nc", True), ("a", "ab", False), ("", "", True), ("", "x", False)],
)
def test_an_ellipsis_stands_for_anything_and_nothing_else_does(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same


def test_a_console_block_is_commands_with_what_they_print() -> None:
    block = "$ one \\\n>   more\nprinted\n$ two\n/ # typed\n"
    assert list(parse(block)) == [
        Command("one \\\n  more", [], ["printed"]),
        Command("two", ["typed"], ["/ # typed"]),
    ]


def test_files_that_documents_name_are_there() -> None:
    """`store.py`, `init/main.py`, `scripts/bench`: in the checkout or in aiorun/."""
    missing = []
    for document in DOCUMENTS:
        named = _FILE.findall(document.read_text())
        missing += [f"{document.name}: {name}" for name in named if not any((root / name).exists() for root in ROOTS)]
    assert not missing
