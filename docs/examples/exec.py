"""More processes in one container: from start to end, and prepared first."""

import json
from pathlib import Path

import trio

import aiorun


async def main() -> None:
    spec = json.loads(Path("bundle/config.json").read_text())
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["sh", "-c", "while read line; do :; done"]
    async with (
        aiorun.Runtime() as runtime,
        runtime.container("box", spec=spec, bundle="bundle", stdin=aiorun.PIPE) as box,
    ):
        await box.start()
        result = await box.exec(["sh", "-c", "read name; echo hello $name; exit 3"], input=b"world\n", capture_output=True)
        print(result.stdout, result.exit.code)

        async with box.process(["sh"], terminal=aiorun.Size(24, 80), env={"PS1": "> "}) as shell:
            assert shell.terminal is not None
            print("prepared:", shell.pid > 0)  # nothing of it has run
            await shell.start()
            await shell.terminal.send_all(b"echo $((6 * 7)); exit\n")
            said = b""
            async for chunk in shell.terminal:
                said += chunk
            print("42" in said.decode().split(), await shell.wait())
        print(box.status)


trio.run(main)
