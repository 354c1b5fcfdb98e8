"""What `import aiorun` and each command load is in the tables below, no more and no less (docs/design.md, the import budget).

Each import is paid at every start. Who adds one adds it here, and sees what it costs: `python -X importtime`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiorun import cgroups
from tests.conftest import CHECKOUT, Bundles, need_root

PYTHON = [sys.executable, "-I", "-S", "-X", "utf8"]
MAIN = CHECKOUT / "aiorun" / "__main__.py"

# Runs __main__ as the start script does, also where it starts itself anew to be sealed, and tells what was loaded meanwhile.
PROBE = f"""\
import posix, sys
before = set(sys.modules)
leave = posix._exit
def tell(status):
    with open(__file__ + ".loaded", "w") as file:
        file.write(" ".join(set(sys.modules) - before))
    leave(status)
posix._exit = tell
exec(compile(open({str(MAIN)!r}).read(), {str(MAIN)!r}, "exec"), {{"__name__": "__main__", "__file__": {str(MAIN)!r}}})
"""


def modules(names: str, *more: frozenset[str]) -> frozenset[str]:
    """Ours: "cli.main" is aiorun.cli.main, and brings aiorun.cli and aiorun with it."""
    found = {f"aiorun.{name}".removesuffix(".") for name in names.split()}
    packages = {name[:at] for name in found for at, character in enumerate(name) if character == "."}
    return frozenset(found | packages).union(*more)


# The standard library's. `os` brings the first six, and _collections_abc where there is no archive; the others are C, and
# `_ctypes`, `_json` and `termios` files of their own.
ALWAYS = frozenset("os os.path posixpath genericpath stat _stat gc select".split())
JSON = ALWAYS | {"_json"}
CONTAINER = JSON | {"fcntl"}
INIT = CONTAINER | {"_ctypes", "_socket", "errno"}

# Ours.
FRAME = modules("errors wire.record wire.text cli.main cli.command cli.flags cli.log cli.output console.standard_streams")
VERSION = modules("_version cli.version", FRAME)
SPEC = modules("spec.document spec.checks spec.shapes wire.json")
CGROUP = modules("cgroups.cgroup cgroups.files cgroups.layout cgroups.limits cgroups.v1 undo linux.mountinfo")
STORE = modules("store wire.json linux.pidfd runtime", FRAME, CGROUP)
WAITING = modules("waiter linux.poll runtime.process", STORE)
PLAN = modules(
    "plan.capabilities plan.devices plan.host plan.mounts plan.namespaces plan.options plan.process "
    "wire.ops wire.plan runtime.compile"
)
DELETE = modules("runtime.status runtime.delete runtime.hooks", WAITING)
SPAWN = modules(
    "cli.bundle cli.shared_flags runtime.init console.signals wire.protocol linux.file "
    "linux._call linux.interface linux.memory linux.mount linux.numbers linux.process linux.socket launch.sealed launch.failure "
    "launch.spawn "
    "init.main init.devices init.identity init.mounts init.program init.root init.seal init.state",
    SPEC, PLAN,
)  # fmt: skip
CREATE = modules("cli.create runtime.create cgroups.devices", SPAWN, DELETE)

COMMANDS = {
    "--version": (ALWAYS, VERSION),
    "help": (ALWAYS, modules("cli.help cli.tables", VERSION)),
    "--log-format json nosuch": (JSON, modules("wire.log_json wire.json", FRAME)),
    "spec": (JSON, modules("cli.spec spec.defaults undo", SPEC, FRAME)),
    "features": (
        JSON | {"_ctypes"},
        modules("cli.features runtime.features spec.defaults", SPEC, VERSION)
        | modules(
            "plan.capabilities plan.devices plan.host plan.mounts plan.namespaces plan.options plan.process wire.ops wire.plan "
            "linux._call linux.numbers linux.seccomp linux.libseccomp"
        ),
    ),
    "plan": (
        INIT,
        modules("cli.plan cli.tables cli.bundle cli.shared_flags", SPEC, PLAN, DELETE)
        | modules(
            "runtime.create runtime.init launch.failure wire.protocol "
            "linux._call linux.file linux.numbers linux.process linux.socket"
        ),
    ),
}
# As far as they come, for want of a container and of images.
CRIU = modules("cli.criu_flags runtime.criu.images runtime.criu.messages runtime.criu.service plan.restore")
COMMANDS |= {
    "checkpoint nosuch": (
        INIT,
        modules("cli.checkpoint runtime.checkpoint runtime.create runtime.init console.signals wire.protocol", CRIU, PLAN, DELETE)
        .union(modules("launch.failure linux._call linux.file linux.numbers linux.process linux.socket"))
        .difference({"aiorun.cgroups.limits", "aiorun.cgroups.v1"}),
    ),
    "restore --detach nosuch": (
        INIT,
        modules("cli.restore runtime.restore runtime.run runtime.start", CRIU, CREATE)
        - {"aiorun.cli.create", "aiorun.cgroups.devices"},
    ),
}
# In this order, on one container.
LIFE = {
    "create c": (INIT, CREATE),
    "state c": (CONTAINER | {"pwd"}, modules("cli.state runtime.status", STORE)),
    "list": (CONTAINER | {"pwd"}, modules("cli.list cli.shared_flags cli.tables runtime.status", STORE)),
    "ps --format json c": (CONTAINER, modules("cli.ps cli.shared_flags runtime.ps waiter linux.poll", STORE)),
    "pause c": (CONTAINER, modules("cli.pause runtime.pause runtime.status console.signals waiter linux.poll", STORE)),
    "resume c": (CONTAINER, modules("cli.resume runtime.pause runtime.status", STORE)),
    "update --pids-limit 20 c": (
        CONTAINER,
        modules(
            "cli.update cli.sizes cgroups.restore runtime.update runtime.status spec.document spec.checks spec.shapes "
            "waiter linux.poll",
            STORE,
        ),
    ),
    "events --stats c": (
        CONTAINER,
        modules("cli.events runtime.events cgroups.oom cgroups.stats runtime.status", WAITING),
    ),
    "exec c true": (INIT, modules("cli.exec runtime.exec runtime.status plan.exec spec.process", SPAWN, WAITING)),
    "start c": (CONTAINER, modules("cli.start runtime.start wire.protocol", DELETE)),
    "kill c KILL": (CONTAINER, modules("cli.kill runtime.kill runtime.status", WAITING)),
    "delete --force c": (CONTAINER, modules("cli.delete", DELETE)),
    "run r": (INIT, modules("cli.run runtime.run runtime.start", CREATE)),
}


def loaded(tmp_path: Path, cwd: Path, *arguments: str | Path, main: Path = MAIN) -> set[str]:
    """The modules that this command line has loaded by its end."""
    probe = tmp_path / "probe.py"
    probe.write_text(PROBE.replace(str(MAIN), str(main)))
    subprocess.run([*PYTHON, str(probe), *map(str, arguments)], cwd=cwd, stdin=subprocess.DEVNULL, timeout=60, check=False)
    # A module that the archive doesn't have, since it was edited, brings this one.
    return set((tmp_path / "probe.py.loaded").read_text().split()) - {"__future__"}


def compare(found: set[str], listed: tuple[frozenset[str], frozenset[str]]) -> None:
    ours = {name for name in found if name.partition(".")[0] == "aiorun"}
    assert sorted(found - ours) == sorted(listed[0])
    assert ours == listed[1]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_loads_what_is_listed(tmp_path: Path, bundle: Bundles, line: str) -> None:
    if line == "plan" or line.startswith("restore"):
        need_cgroup_v1()
    directory = bundle()
    if line == "spec":
        (directory / "config.json").unlink()
    compare(loaded(tmp_path, directory, *line.split()), COMMANDS[line])


def test_the_commands_of_a_containers_life_load_what_is_listed(tmp_path: Path, root_dir: Path, bundle: Bundles) -> None:
    need_root()
    need_cgroup_v1()
    directory = bundle()
    found = {line: loaded(tmp_path, directory, "--root", root_dir, *line.split()) for line in LIFE}
    for line, listed in LIFE.items():
        compare(found[line], listed)


def need_cgroup_v1() -> None:
    """v2's modules are others, and as many."""
    if cgroups.layout().version != cgroups.V1:
        pytest.skip("the tables are those of a host with cgroup v1")


def test_a_command_loads_the_same_without_the_archive(tmp_path: Path, bundle: Bundles) -> None:
    package = tmp_path / "aiorun"
    shutil.copytree(CHECKOUT / "aiorun", package, ignore=shutil.ignore_patterns("__pycache__"))
    without = loaded(tmp_path, bundle(), "plan", main=package / "__main__.py")
    subprocess.run([sys.executable, "-m", "aiorun.launch.archive"], cwd=tmp_path, check=True)
    archived = loaded(tmp_path, bundle(), "plan", main=package / "__main__.py")
    assert archived == without - {"_collections_abc"}


def test_importing_the_library_loads_nothing_dear() -> None:
    """Neither trio nor anything of ours comes before a name is asked for."""
    script = f"""\
import sys
before = set(sys.modules)
sys.path.append({str(CHECKOUT)!r})
import aiorun
print(*set(sys.modules) - before)
"""
    found = subprocess.run([*PYTHON, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(found) == ["__future__", "aiorun"]
