"""``python -m daskjob``: the command line."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] in ([""], [os.getcwd()]):
    # With -m Python puts the current folder there; a user's rich.py in it is not the library.
    del sys.path[0]

from daskjob.submit.cli import main

main()
