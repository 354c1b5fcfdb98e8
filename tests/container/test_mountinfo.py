"""What else is mounted on the host is no hindrance."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Bundles, CommandLine


@pytest.mark.parametrize("name", ["a\x0bb\x0cc", "a\u2028b\x85c", "a b\tc\nd\\e"], ids=["feeds", "unicode", "escaped"])
def test_a_mount_point_of_any_name_keeps_no_container_from_running(
    aiorun: CommandLine, bundle: Bundles, tmp_path: Path, name: str
) -> None:
    """Anybody may mount a FUSE file system at such a name."""
    point = tmp_path / name
    point.mkdir()
    made = bundle(args=["echo", "hello"])
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], check=True)
    try:
        assert aiorun("run", "--bundle", made, "box", check=True).stdout == "hello\n"
        assert aiorun("run", "--no-pivot", "--bundle", made, "box", check=True).stdout == "hello\n"
    finally:
        subprocess.run(["umount", point], check=True)
