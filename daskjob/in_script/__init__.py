"""What runs inside the process of a local run's script: files found by path, never imported here.

``daskjob run`` puts this folder on the script's PYTHONPATH. The script's Python may be any, without
daskjob: the files import the standard library, dask and distributed only, and work with distributed
from 2024.1 and Python from 3.9 on.
"""
