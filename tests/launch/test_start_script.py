"""The start script: absolute paths, nothing of the environment, the sealed interpreter where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiorun.launch import sealed
from aiorun.launch.start_script import start_script
from tests.conftest import CHECKOUT, need
from tests.launch.world import PYTHON, World
from tests.launch.world import world as world

SEALED = sealed.PLACE + "/" + sealed.key_of(PYTHON, os.stat(PYTHON)) + "/bin/" + os.path.basename(PYTHON)

TELL = """\
import json, os, sys
print(json.dumps([os.readlink("/proc/self/exe"), sys.argv[1:], sys.flags.isolated, sys.flags.no_site]))
"""

TELL_ENVIRONMENT = """\
import json
print(json.dumps([entry.partition("=")[0] for entry in open("/proc/self/environ").read().split("\\0") if entry]))
"""


def make(where: Path, python: str = PYTHON) -> Path:
    """A copy of the package in `where`, whose program tells what runs it, and its start script."""
    (where / "aiorun").mkdir(parents=True)
    for name in ("launch", "linux"):
        shutil.copytree(CHECKOUT / "aiorun" / name, where / "aiorun" / name)
    for name in ("__init__.py", "errors.py", "undo.py"):
        shutil.copy(CHECKOUT / "aiorun" / name, where / "aiorun" / name)
    (where / "aiorun" / "__main__.py").write_text(TELL)
    argv = [sys.executable, "-m", "aiorun.launch.start_script", "--python", python]
    made = subprocess.run(argv, cwd=where, capture_output=True, check=True)
    script = where / "aiorun.sh"
    script.write_bytes(made.stdout)
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("name", ["plain", "with blanks  and 'quotes' \"too\"", "$HOME `id` $(id) \\ *", "new\nline", "é"])
def test_any_path_and_any_argument_comes_through(tmp_path: Path, name: str) -> None:
    script = make(tmp_path / name)
    arguments = ["run", "", "a b", "*", "$PATH", "-c", "--", "'", "\n"]
    ended = subprocess.run([script, *arguments], capture_output=True, text=True, env={}, check=True)
    exe, *told = json.loads(ended.stdout)
    assert told == [arguments, 1, 1]
    assert exe in (PYTHON, SEALED)


def test_an_interpreter_below_a_strange_path_is_found(tmp_path: Path) -> None:
    python = tmp_path / "o'p t%2F@" / "bin" / "py thon"
    python.parent.mkdir(parents=True)
    shutil.copy(PYTHON, python)
    (python.parent.parent / "lib").symlink_to(Path(PYTHON).parent.parent / "lib")
    script = make(tmp_path / "package", str(python))
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout.startswith(f'["{python}"')


def test_a_venvs_interpreter_is_its_real_one(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to(PYTHON)
    assert start_script(str(link)) == start_script(PYTHON)
    assert str(link) not in start_script(str(link))


def test_it_falls_back_by_itself_and_takes_the_seal_once_it_is_there(world: World, tmp_path: Path) -> None:
    script = make(tmp_path / "package")
    assert world.run(script).startswith(f'["{PYTHON}"')
    world.sealed("tell(0)")
    assert world.run(script).startswith('["/run/aiorun-python/')
    world.shell("umount /run/aiorun-python/*/bin || true; rm -r /run/aiorun-python")
    assert world.run(script).startswith(f'["{PYTHON}"')


HOSTILE = {
    "PATH": "/nonexistent", "IFS": "/.-", "ENV": "{mark}", "BASH_ENV": "{mark}", "CDPATH": "/", "PS4": "$({mark})",
    "SHELLOPTS": "xtrace", "PYTHONPATH": "{evil}", "PYTHONHOME": "{evil}", "PYTHONSTARTUP": "{evil}/os.py", "HOME": "{evil}",
    "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1", "sealed": "{mark}", "LANG": "xx", "LC_ALL": "xx",
}  # fmt: skip


def test_the_environment_has_no_say(tmp_path: Path) -> None:
    """docs/security.md, P4."""
    script = make(tmp_path / "package")
    left = tmp_path / "left"
    mark = tmp_path / "mark"
    mark.write_text(f"#!/bin/sh\necho shell >>{left}\n")
    mark.chmod(0o755)
    evil = tmp_path / "evil"
    evil.mkdir()
    for module in ("os", "json", "sitecustomize", "usercustomize"):
        (evil / f"{module}.py").write_text(f"open({str(left)!r}, 'a').write('python')")
    environment = {name: value.format(mark=mark, evil=evil) for name, value in HOSTILE.items()}
    ended = subprocess.run([script, "x"], capture_output=True, text=True, env=environment, cwd=evil, check=True)
    assert (json.loads(ended.stdout)[1], ended.stderr, left.exists()) == (["x"], "", False)


def test_the_environment_reaches_the_program_as_it_is(tmp_path: Path) -> None:
    script = make(tmp_path / "package")
    (tmp_path / "package" / "aiorun" / "__main__.py").write_text(TELL_ENVIRONMENT)
    environment = dict.fromkeys("PATH IFS HOME sealed python a_b X".split(), "value")
    told = json.loads(subprocess.run([script], capture_output=True, text=True, env=environment, check=True).stdout)
    assert set(told) - {"PWD", "OLDPWD", "SHLVL", "_"} == set(environment)  # those four are the shell's own doing


def test_it_runs_no_program_but_python(tmp_path: Path) -> None:
    script = make(tmp_path / "package")
    argv = [need("strace"), "-f", "-e", "trace=execve,fork,vfork,clone,clone3", "-o", str(tmp_path / "trace"), str(script)]
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    calls = [line for line in (tmp_path / "trace").read_text().splitlines() if "(" in line]
    assert ["execve" in line for line in calls] == [True, True]  # itself, and python


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "aiorun.launch.start_script", "--python", str(tmp_path)]
    ended = subprocess.run(argv, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    said = f'make the start script for "{tmp_path}": no program is there\n'
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", said)
