"""The start of the command line: `python -I -S -X utf8 …/aiorun/__main__.py ARGUMENTS`.

Kept tiny, since Python compiles a script anew at each start.
"""

import os
import sys

# -I leaves the script's directory out. At the end, so that what lies beside aiorun never shadows the standard library.
sys.path.append(__file__.rsplit("/", 2)[0] or "/")

from aiorun.cli.main import main

# All is written by then. The interpreter's own clearing up would cost a sixth of the command's time.
os._exit(main(sys.argv[1:]))
