"""A user who isn't root, made for the test alone: whatever of /etc names him shows in this process's mount namespace only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT, Change, CommandLine, Config, changed, make_root_file_system, need

UID, GID, NAME = 54321, 54322, "aiorun-test"
FIRST, COUNT = 700000, 65536  # what /etc/subuid and /etc/subgid grant him


class User:
    """His home and $XDG_RUNTIME_DIR below `where`, and how he calls a program."""

    def __init__(self, where: Path) -> None:
        self.home, self.runtime_dir = where / "home", where / "run"
        for directory in (self.home, self.runtime_dir):
            directory.mkdir(mode=0o700)
            self.own(directory)
        self._setpriv = need("setpriv")
        if self.run(["test", "-r", str(CHECKOUT / "aiorun/__main__.py")], check=False).returncode:
            pytest.skip("the checkout is closed to other users")

    @staticmethod
    def own(top: Path) -> None:
        """Make a file, or a directory with all that is in it, his."""
        for directory, directories, files in os.walk(top):
            for name in (*directories, *files):
                os.chown(Path(directory, name), UID, GID, follow_symlinks=False)
        os.chown(top, UID, GID, follow_symlinks=False)

    def argv(self, argv: list[str]) -> list[str]:
        return [self._setpriv, f"--reuid={UID}", f"--regid={GID}", "--clear-groups", *argv]

    @property
    def environment(self) -> dict[str, str]:
        own = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime_dir), "USER": NAME, "TMPDIR": str(self.home)}
        return {**{name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}, **own}

    def run(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        usual = {"capture_output": True, "text": True, "check": True, "env": self.environment, "cwd": self.home, "timeout": 60}
        return subprocess.run(self.argv(argv), stdin=subprocess.DEVNULL, **{**usual, **options})

    def bundle(self, change: Change = None, *, args: list[str] | None = None, terminal: bool = False) -> Path:
        """A bundle of his with `spec --rootless`'s document, as it stands but for what it runs, and `change` put over it."""
        number = len(list(self.home.glob("bundle-*")))
        bundle = self.home / f"bundle-{number}"
        make_root_file_system(bundle / "rootfs")
        self.own(bundle)
        self.run([str(CHECKOUT / ".venv/bin/aiorun"), "spec", "--rootless"], cwd=bundle)
        config: Config = Config(**_read(bundle))
        config["process"] |= {"terminal": terminal, "args": args or ["true"]}
        _write(bundle, changed(config, change))
        return bundle


def _read(bundle: Path) -> Config:
    import json

    config: Config = json.loads((bundle / "config.json").read_text())
    return config


def _write(bundle: Path, config: Config) -> None:
    import json

    (bundle / "config.json").write_text(json.dumps(config))


class UsersCommandLine(CommandLine):
    """A runtime as the user calls it; with his $XDG_RUNTIME_DIR, and without --root unless `root` is given."""

    def __init__(self, command: str, user: User, root: Path | None = None) -> None:
        super().__init__(command, root or user.runtime_dir / Path(command).name)
        self.user = user
        self._explicit = root is not None

    def argv(self, *args: str | Path) -> list[str]:
        flags = ["--root", str(self.root)] if self._explicit else []
        return self.user.argv([self.command, *flags, *map(str, args)])

    def __call__(self, *args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return super().__call__(*args, **{"env": self.user.environment, "cwd": self.user.home, **options})


def ranges(config: Config) -> None:
    """Himself as root, and after that all ids that he was granted."""
    for member, own in (("uidMappings", UID), ("gidMappings", GID)):
        config["linux"][member] = [
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": FIRST, "size": COUNT},
        ]
