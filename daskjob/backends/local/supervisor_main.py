"""Runs the supervisor: ``python -I -S supervisor_main.py FD RUN``.

Python compiles a script at each start, but keeps the compiled modules that it imports.
"""

import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    # The folder of this package, behind the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(here))))
    from daskjob.backends.local.supervisor import main

    sys.exit(main())
