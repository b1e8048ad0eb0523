"""Runs a module as ``python -m`` does, but without the working directory on the path.

Run by path, with the Python of the job, which may lack daskjob: ``python module_launcher.py MODULE
OPTION...``. The servers of a script find the script's folder by PYTHONPATH, as the workers of a
LocalCluster do; a ``logging.py`` where the script was started is not theirs.
"""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder of this file
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
