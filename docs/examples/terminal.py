"""A container with a terminal: typed into, read from, resized, hung up."""

import trio

import aiorun


async def main() -> None:
    async with (
        aiorun.Runtime() as runtime,
        runtime.container("shell", bundle="bundle", terminal=aiorun.Size(24, 80)) as shell,
    ):
        assert shell.terminal is not None
        await shell.start()
        await shell.terminal.send_all(b"echo $((6 * 7)); exit\n")
        shell.terminal.resize(aiorun.Size(50, 132))
        said = b""
        async for chunk in shell.terminal:  # until the terminal is hung up
            said += chunk
        print("42" in said.decode().split(), shell.terminal.size)
        print(await shell.wait())


trio.run(main)
