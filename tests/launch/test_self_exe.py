"""CVE-2019-5736, played by a real container: it executes /proc/self/exe, which is our interpreter, and tries to write to it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import leaks
from tests.conftest import CHECKOUT, Bundles, Config
from tests.launch.world import OPTIONS, PYTHON, World
from tests.launch.world import world as world

# The commands seal themselves; without the defence they don't.
_AIORUN = f"""\
import os, sys
sys.path.append({str(CHECKOUT)!r})
from aiorun.launch import sealed
if os.environ["SEAL"] != "1":
    sealed.ensure = lambda: None
from aiorun.cli.main import main
os._exit(main(sys.argv[1:]))
"""

# Runs in the container, in the host's interpreter. While that runs it can't be written to (ETXTBSY), so it hands
# an open file on to a shell, which tries again when nobody runs from it any more. It only opens, and writes nothing.
_ATTACK = """\
import os
def attempt(path, flags):
    try:
        os.open(path, flags)
        return "open"
    except OSError as error:
        return os.strerror(error.errno)
print("while it runs:", attempt("/proc/self/exe", os.O_WRONLY), flush=True)
os.dup2(os.open("/proc/self/exe", os.O_PATH), 9)
os.execv("/bin/sh", ["sh", "-c", "exec 8>>/proc/self/fd/9 && echo then: open"])
"""


def give_python(config: Config, rootfs: Path) -> None:
    """The libraries that the host's interpreter needs, read-only, so that the attacker's copy of it starts at all."""
    for name in ("usr", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (rootfs / name).symlink_to(os.readlink(f"/{name}"))
        elif Path("/", name).is_dir():
            (rootfs / name).mkdir()
            mount = {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["rbind", "ro"]}
            config["mounts"].append(mount)


def play(world: World, bundle: Path, root: Path, python: Path, *, seal: bool) -> list[str]:
    """What the attacker says. Created and started, so that no command of ours runs from the interpreter meanwhile."""

    def aiorun(*arguments: str | Path) -> None:
        argv = [python, *OPTIONS, "/run/aiorun.py", "--root", root, *arguments]
        with open(bundle / "said", "ab") as said:  # not a pipe, which the container would hold open
            subprocess.run(world.argv(*argv), env=environment, check=True, timeout=60, stdout=said, stderr=said)

    world.path("/run/aiorun.py").write_text(_AIORUN)
    environment = {"SEAL": str(int(seal))}
    (bundle / "said").write_bytes(b"")
    aiorun("create", "--bundle", bundle, "--pid-file", bundle / "pid", "attacker")
    try:
        pidfd = os.pidfd_open(int((bundle / "pid").read_text()))
        aiorun("start", "attacker")
        assert leaks.ended(pidfd)
        os.close(pidfd)
    finally:
        aiorun("delete", "--force", "attacker")
    return (bundle / "said").read_text().splitlines()


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python of this test's own: it's what is attacked."""
    python = tmp_path / "opt" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(PYTHON, python)
    (tmp_path / "opt" / "lib").symlink_to(Path(PYTHON).parent.parent / "lib")
    return python


@pytest.mark.parametrize("how", ["as the program", "as the interpreter of a script"])
def test_a_container_that_runs_proc_self_exe_cannot_write_to_the_interpreter(
    world: World, bundle: Bundles, root_dir: Path, python: Path, how: str
) -> None:
    attacker = bundle(args=["/proc/self/exe", "/attack"] if how == "as the program" else ["/attack"])
    config = bundle.read(attacker)
    give_python(config, attacker / "rootfs")
    config["process"]["env"].append(f"PYTHONHOME={Path(PYTHON).parent.parent}")
    bundle.write(attacker, config)
    (attacker / "rootfs" / "attack").write_text("#!/proc/self/exe\n" + _ATTACK)
    (attacker / "rootfs" / "attack").chmod(0o755)
    before = hashlib.sha256(python.read_bytes()).digest()

    assert play(world, attacker, root_dir, python, seal=False)[-1] == "then: open"  # the attack is a real one
    said = play(world, attacker, root_dir, python, seal=True)
    assert said[0] == "while it runs: Read-only file system"
    assert "Read-only file system" in said[-1]
    assert hashlib.sha256(python.read_bytes()).digest() == before
