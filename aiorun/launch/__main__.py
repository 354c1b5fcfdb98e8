"""The start of the launcher: `python -I -S -X utf8 …/aiorun/launch/__main__.py FD`. aiorun.launch.client runs it."""

import os
import sys

sys.path.append(__file__.rsplit("/", 3)[0] or "/")

from aiorun.launch.launcher import main

os._exit(main(sys.argv[1:]))
