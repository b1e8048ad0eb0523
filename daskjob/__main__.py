"""``python -m daskjob``: the command line."""

from daskjob.submit.cli import main

main()
