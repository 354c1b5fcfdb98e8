"""containerd and dockerd of a test's own: their own directories, sockets and namespace, gone when the test is over."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

from tests.conftest import CHECKOUT, make_root_file_system, need
from tests.leaks import mounts
from tests.waiting import until

AIORUN = str(CHECKOUT / ".venv" / "bin" / "aiorun")
_SHIM_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"  # containerd-shim-runc-v2, iptables, runc
_SECONDS = 120
_numbers = itertools.count(1)

Ended = subprocess.CompletedProcess[str]

_CONTAINERD = """\
version = 2
root = "{where}/root"
state = "{where}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{where}/containerd.sock"
[ttrpc]
address = "{where}/containerd.ttrpc"
"""


class Daemon:
    """A program that serves until it's told to end. What it says is in `where`/NAME.log."""

    def __init__(self, where: Path, *argv: str) -> None:
        self.log = where / f"{Path(argv[0]).name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PATH": _SHIM_PATH}, cwd=where
            )

    def serves(self, *client: str) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        return run(*client).returncode == 0

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_SECONDS)


def run(*argv: str) -> Ended:
    return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False)


class Containerd:
    """containerd, and ctr with a namespace of its own: `containerd("tasks", "ls")`."""

    def __init__(self, where: Path, cgroup_parent: str) -> None:
        self.where, self._cgroup_parent = where, cgroup_parent
        self.socket = f"{where}/containerd.sock"
        self.namespace = f"aiorun-test-{os.getpid()}-{next(_numbers)}"
        self.rootfs = where / "rootfs"
        make_root_file_system(self.rootfs)
        (where / "config.toml").write_text(_CONTAINERD.format(where=where))
        self._daemon = Daemon(where, need("containerd"), "--config", f"{where}/config.toml")
        until(lambda: self._daemon.serves(*self.argv("version")), "containerd to serve")

    def argv(self, *words: str) -> list[str]:
        return [need("ctr"), "--address", self.socket, "--namespace", self.namespace, *words]

    def run_argv(self, *words: str) -> list[str]:
        """`ctr run` with these flags, id and command; `--` stands before the id."""
        flags, (id, *command) = words[: words.index("--")], words[words.index("--") + 1 :]
        own = ("--runc-binary", AIORUN, "--cgroup", f"{self._cgroup_parent}/{id}", "--env", "PATH=/bin")
        return self.argv("run", *own, *flags, "--rootfs", str(self.rootfs), id, *command)

    def __call__(self, *words: str) -> Ended:
        return run(*(self.run_argv(*words[1:]) if words[0] == "run" else self.argv(*words)))

    @property
    def runtime_root(self) -> Path:
        """Where the shim has aiorun keep this namespace's containers."""
        return Path("/run/containerd/runc") / self.namespace

    def close(self) -> None:
        for task in self("tasks", "ls", "--quiet").stdout.split():
            self("tasks", "rm", "--force", task)
        for container in self("containers", "ls", "--quiet").stdout.split():
            self("containers", "rm", container)
        self._daemon.end()
        unmount(self.where)
        shutil.rmtree(self.runtime_root, ignore_errors=True)


class Docker:
    """dockerd on a containerd of its own, with aiorun as its default runtime, and an image `box` of busybox."""

    def __init__(self, where: Path, cgroup_parent: str) -> None:
        self.where = where
        for name in ("containerd", "docker"):
            (where / name).mkdir()
        self._containerd = Containerd(where / "containerd", cgroup_parent)
        self._daemon = Daemon(
            where / "docker", need("dockerd"), "--data-root", f"{where}/docker/data", "--exec-root", f"{where}/docker/exec",
            "--pidfile", f"{where}/docker/pid", "--host", f"unix://{where}/docker.sock", "--containerd", self._containerd.socket,
            "--containerd-namespace", self._containerd.namespace, "--containerd-plugins-namespace", "aiorun-plugins",
            "--iptables=false", "--ip6tables=false", "--bridge", "none", "--storage-driver", "vfs",
            "--add-runtime", f"aiorun={AIORUN}", "--default-runtime", "aiorun", "--cgroup-parent", cgroup_parent,
        )  # fmt: skip
        until(lambda: self._daemon.serves(*self.argv("version")), "dockerd to serve")
        self._import_image()

    def _import_image(self) -> None:
        archive = self.where / "box.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(self._containerd.rootfs, ".")
        imported = self("import", str(archive), "box")
        assert imported.returncode == 0, imported.stderr

    def argv(self, *words: str) -> list[str]:
        return [need("docker"), "--host", f"unix://{self.where}/docker.sock", *words]

    def run_argv(self, *words: str) -> list[str]:
        """`docker run` with these flags and command; `--` stands between them."""
        flags, command = words[: words.index("--")], words[words.index("--") + 1 :]
        return self.argv("run", "--network", "none", *flags, "box", *command)

    def __call__(self, *words: str) -> Ended:
        return run(*(self.run_argv(*words[1:]) if words[0] == "run" else self.argv(*words)))

    def checked(self, *words: str) -> str:
        """What it printed; the test fails where it didn't work."""
        ended = self(*words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @property
    def runtime_root(self) -> Path:
        return self.where / "docker" / "exec" / "runtime-runc" / self._containerd.namespace

    def close(self) -> None:
        for container in self("ps", "--all", "--quiet").stdout.split():
            self("rm", "--force", container)
        self._daemon.end()
        self._containerd.close()
        unmount(self.where)


def unmount(where: Path) -> None:
    for place, _ in sorted(mounts(), reverse=True):
        if place.startswith(f"{where}/"):
            subprocess.run([need("umount"), place], check=True)
