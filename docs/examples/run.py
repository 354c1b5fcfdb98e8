"""A command in a container, from its creation to its end: what it says, how it ended, and a limit to its time."""

import json
from pathlib import Path

import trio

import aiorun


async def main() -> None:
    spec = json.loads(Path("bundle/config.json").read_text())
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["sh", "-c", "read name; echo hello $name; exit 3"]
    result = await aiorun.run(spec, bundle="bundle", input=b"world\n", capture_output=True, timeout=10)
    print(result.stdout, result.exit.code, result.timed_out)

    spec["process"]["args"] = ["sh", "-c", "echo busy; while :; do :; done"]
    result = await aiorun.run(spec, bundle="bundle", capture_output=True, timeout=0.5)
    print(result.stdout, result.exit.signal, result.timed_out)


trio.run(main)
