"""What tests are made of: bundles, command lines, containers and terminals, each gone when its test is over."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from ptyprocess import PtyProcess

from tests import leaks
from tests.leaks import leaves_nothing as leaves_nothing

CHECKOUT = Path(__file__).resolve().parent.parent
COMMAND_SECONDS = 60  # no command takes this long: it hangs

Config = dict[str, Any]
Change = Config | Callable[[Config], object] | None
_numbers = itertools.count(1)


# On a machine that is busy an example may take as long as it likes.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_configure() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:  # by nohup, or a shell's &: what the tests start would ignore them too
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    leaks.enclose()


# --- bundles ---------------------------------------------------------------------------------------------------


def make_root_file_system(directory: Path) -> None:
    """A root file system of static busybox: every applet, and the directories that the default mounts need."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox isn't installed (busybox-static)")
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    shutil.copy(busybox, directory / "bin" / "busybox")
    for applet in _applets(busybox):
        (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/tmp:/bin/sh\n")
    (directory / "etc" / "group").write_text("root:x:0:\nalice:x:1000:\n")


_known_applets: dict[str, list[str]] = {}


def _applets(busybox: str) -> list[str]:
    if busybox not in _known_applets:
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        _known_applets[busybox] = [name for name in listed.stdout.split() if name != "busybox"]
    return _known_applets[busybox]


def changed(config: Config, change: Change) -> Config:
    """`config` with `change` put over it: a dict member by member (None removes one), or a function that is given it."""
    if callable(change):
        change(config)
        return config
    for name, value in (change or {}).items():
        if value is None:
            config.pop(name, None)
        elif isinstance(value, dict) and isinstance(config.get(name), dict):
            changed(config[name], value)
        else:
            config[name] = value
    return config


class Bundles:
    """Makes bundles: `bundle()`, `bundle(args=["sh", "-c", "…"])`, `bundle({"hostname": "x"}, terminal=True)`."""

    def __init__(self, where: Path, cgroup_parent: str) -> None:
        self.where = where
        self.cgroup_parent = cgroup_parent

    def __call__(self, change: Change = None, *, args: list[str] | None = None, terminal: bool = False) -> Path:
        """The directory of a new bundle: busybox, `runc spec`'s document (without a terminal), `change` put over it."""
        name = f"bundle-{next(_numbers)}"
        bundle = self.where / name
        make_root_file_system(bundle / "rootfs")
        config: Config = json.loads((CHECKOUT / "tests" / "default_config.json").read_text())
        config["process"]["terminal"] = terminal
        config["process"]["args"] = args or ["true"]
        config["linux"]["cgroupsPath"] = f"{self.cgroup_parent}/{name}"
        self.write(bundle, changed(config, change))
        return bundle

    @staticmethod
    def write(bundle: Path, config: object) -> None:
        (bundle / "config.json").write_text(json.dumps(config, indent=2))

    @staticmethod
    def read(bundle: Path) -> Config:
        config: Config = json.loads((bundle / "config.json").read_text())
        return config


@pytest.fixture
def bundle(tmp_path: Path, cgroup_parent: str) -> Bundles:
    """A factory of bundles, whose containers' cgroups are below this test's parent."""
    return Bundles(tmp_path, cgroup_parent)


@pytest.fixture
def cgroup_parent(leaves_nothing: None) -> Iterator[str]:
    """The test's own cgroup parent, "/name" in every hierarchy. Fails the test that leaves a cgroup below it."""
    parent = f"/aiorun-test-{os.getpid()}-{next(_numbers)}"
    yield parent
    leaks.fail_for(leaks.remove_cgroups(parent))


@pytest.fixture
def root_dir(tmp_path: Path, leaves_nothing: None) -> Iterator[Path]:
    """The test's own `--root`. Fails the test that leaves a container in it."""
    root = tmp_path / "root"
    yield root
    leaks.fail_for(leaks.remove_containers(root))


# --- command lines ---------------------------------------------------------------------------------------------


class CommandLine:
    """A runtime's command line with the test's `--root`: `aiorun("state", "x")` runs it to its end.

    Output goes to files, not pipes: a container that `create` leaves would hold a pipe open for ever.
    """

    def __init__(self, command: str, root: Path) -> None:
        self.command = command
        self.root = root

    def argv(self, *args: str | Path) -> list[str]:
        return [self.command, "--root", str(self.root), *map(str, args)]

    def __call__(
        self, *args: str | Path, input: str = "", check: bool = False, timeout: float = COMMAND_SECONDS, **popen: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run it; `check` fails the test with what it said unless it exits 0. Other options are Popen's."""
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            stdin.write(input.encode())
            stdin.seek(0)
            options = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "env": dict(os.environ), **popen}
            ended = subprocess.run(self.argv(*args), timeout=timeout, check=False, **options)
            out, err = (_written(stream) for stream in (stdout, stderr))
        if check and ended.returncode:
            pytest.fail(f"{Path(self.command).name} {' '.join(map(str, args))} exited {ended.returncode}: {err or out}")
        return subprocess.CompletedProcess(ended.args, ended.returncode, out, err)

    def popen(self, *args: str | Path, **popen: Any) -> subprocess.Popen[bytes]:
        """Start it. The test reaps it."""
        return subprocess.Popen(self.argv(*args), **popen)

    def state(self, id: str) -> Config:
        """What `state` prints."""
        state: Config = json.loads(self("state", id, check=True).stdout)
        return state


def _written(stream: Any) -> str:
    stream.seek(0)
    text: bytes = stream.read()
    return text.decode(errors="surrogateescape")


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")


def need(program: str) -> str:
    """The path of a program of the host; skips the test, and says so, where it isn't installed."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} isn't installed")
    return found


def need_criu() -> None:
    """Skips the test, and says why, where criu isn't installed or can't work on this kernel."""
    checked = subprocess.run([need("criu"), "check"], capture_output=True, text=True, check=False)
    if checked.returncode:
        pytest.skip(f"criu doesn't work here: {checked.stderr.strip().splitlines()[-1]}")


@pytest.fixture
def aiorun(root_dir: Path) -> CommandLine:
    """aiorun's command line, as root, with the test's own `--root`."""
    need_root()
    return CommandLine(str(CHECKOUT / ".venv" / "bin" / "aiorun"), root_dir)


@pytest.fixture
def runc(tmp_path: Path, leaves_nothing: None) -> Iterator[CommandLine]:
    """runc's command line, to compare with; skips where it isn't installed."""
    need_root()
    root = tmp_path / "runc-root"
    yield CommandLine(need("runc"), root)
    leaks.fail_for(leaks.remove_containers(root))


@pytest.fixture
def container(aiorun: CommandLine, cgroup_parent: str) -> Iterator[Callable[..., str]]:
    """A factory of containers: `container(bundle, …)` is the id of a created one, deleted when the test ends."""
    made: list[str] = []

    def create(bundle: Path, *flags: str | Path, **popen: Any) -> str:
        id = f"c{next(_numbers)}"
        made.append(id)
        aiorun("create", "--bundle", bundle, *flags, id, check=True, **popen)
        return id

    yield create
    for id in made:
        aiorun("delete", "--force", id)


# --- terminals -------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(leaves_nothing: None) -> Iterator[Callable[..., PtyProcess]]:
    """`terminal(argv, size=(rows, columns), …)` starts a program on a terminal of its own, as a person's shell does."""
    started: list[PtyProcess] = []

    def spawn(argv: list[str], *, size: tuple[int, int] = (24, 80), **options: Any) -> PtyProcess:
        # readline, which pytest imports, puts LINES and COLUMNS into C's environment behind os.environ's back
        child = PtyProcess.spawn(argv, dimensions=size, **{"env": dict(os.environ), **options})
        started.append(child)
        return child

    yield spawn
    for child in started:
        if not child.terminated and child.isalive():
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        child.fileobj.close()
        child.closed = True
