"""Workers of a script have what a LocalCluster's would have: the same script, run by ``python``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Daskjob, Done

LOOK = """\
import json, os, resource, sys, time
import dask
from distributed import Client, LocalCluster, get_worker

def look():
    import only_here
    from dask import config
    memory = get_worker().memory_manager
    return {
        "module": only_here.VALUE,
        "env": [os.environ.get(name) for name in NAMES],
        "cwd": os.getcwd(),
        "file": open("data.txt").read(),
        "path": [place for place in sys.path if "inherit" in place],
        "config": [config.get(key, None) for key in KEYS],
        "memory": [memory.memory_target_fraction, memory.memory_spill_fraction],
        "umask": os.umask(0o22),
        "nice": os.nice(0),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "cpus": sorted(os.sched_getaffinity(0)),
        "zone": time.tzname,
        "folder": get_worker().local_directory.partition("/named/")[0],
    }

NAMES = ("ODD", "GONE", "HOME", "OMP_NUM_THREADS", "OF_NANNY", "OF_PRELOAD", "OF_ARGUMENT",
    "GIVEN", "PYTHONPATH", "DASKJOB_INHERITED", "DASKJOB_UNSET")
KEYS = ("mine.deep", "early", "tuple", "from-variable", "late-variable",
    "distributed.worker.memory.target", "distributed.worker.preload")

def changed():
    os.environ["ODD"] = "a$b $(HOME) \\u00fc\\n'2'"
    os.environ.pop("HOME")
    os.environ.pop("GONE")
    os.environ["OMP_NUM_THREADS"] = "2"
    os.environ["TZ"] = "Asia/Tokyo"
    os.environ["GIVEN"] = "changed"
    os.environ["DASK_LATE_VARIABLE"] = "7"
    sys.path.insert(0, os.path.abspath("inherited"))
    os.makedirs("inherited/named", exist_ok=True)
    os.chdir("inherited")
    dask.config.set({
        "mine.deep": {"list": [1, {"key": None}]},
        "tuple": (1, (2, 3)),
        "distributed.worker.memory.target": 0.5,
        "distributed.worker.preload": [os.path.abspath("preload.py")],
        "distributed.nanny.environ": {"OF_NANNY": "n"},
        "temporary-directory": os.path.abspath("named"),
    })
    os.umask(0o27)
    os.nice(1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (900, 1000))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
"""

EVERYTHING = (
    "import os\nos.environ['DASK_FROM_VARIABLE'] = 'v'\nimport dask.config\n"
    "dask.config.set({'early': 1})\n"
    + LOOK
    + """
if __name__ == "__main__":
    changed()
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with Client(env={"OF_ARGUMENT": "x"}, **options) as client:
        print(json.dumps([client.submit(look, workers=[n], pure=False).result() for n in (0, 1)]))
"""
)


def prepared(daskjob: Daskjob) -> None:
    folder = daskjob.work / "inherited"
    folder.mkdir()
    (folder / "only_here.py").write_text("VALUE = 'found'\n")
    (folder / "data.txt").write_text("relative")
    (folder / "preload.py").write_text(
        "import os\ndef dask_setup(worker):\n    os.environ['OF_PRELOAD'] = 'p'\n"
    )


def by_python(daskjob: Daskjob, script: Path, **env: str) -> str:
    """What the script prints without daskjob."""
    done = subprocess.run(
        [sys.executable, script],
        env={**daskjob.environment, **env},
        cwd=daskjob.work,
        capture_output=True,
        text=True,
        check=True,
    )

    for left in daskjob.temporary.glob("dask-*"):
        shutil.rmtree(left)
    return done.stdout


def scripts_output(done: Done) -> str:
    assert done.code == 0, done.err
    return done.text


def test_workers_have_what_those_of_a_local_cluster_have(daskjob: Daskjob) -> None:
    prepared(daskjob)
    script = daskjob.script(EVERYTHING)
    env = {"GONE": "1"}
    done = daskjob("run", "-q", "-e", "GIVEN=secret", script, env=env)
    expected = json.loads(by_python(daskjob, script, GIVEN="secret", **env))
    found = json.loads(scripts_output(done))
    for worker in (*expected, *found):
        # Workers add the folder of their own files.
        worker["path"] = [p for p in worker["path"] if "/dask-scratch-space" not in p]
    assert found == expected
    assert found[0]["module"] == "found"
    assert not list((daskjob.work / "inherited" / "named").glob("daskjob-*"))


SEQUENCE = """\
import os, time
import dask
from distributed import Client, LocalCluster

def look():
    return os.environ.get("STATE"), os.getcwd().rpartition("/")[2], dask.config.get("state", None)

def show(client):
    names = sorted(worker["name"] for worker in client.scheduler_info()["workers"].values())
    print(names, sorted(client.run(look).values(), key=str))

def until(client, count):
    while len(client.ncores()) != count:
        time.sleep(0.01)

if __name__ == "__main__":
    plain = {"dashboard_address": ":0", "threads_per_worker": 1}
    with Client(n_workers=2, **plain) as client:
        show(client)
        assert client.gather(client.map(abs, range(20))) == list(range(20))
        client.cluster.scale(3)
        client.wait_for_workers(3)
        show(client)
        client.cluster.scale(1)
        until(client, 1)
        show(client)
        client.cluster.scale(2)
        client.wait_for_workers(2)
        show(client)
        address = client.cluster.workers[0].worker_address
        print(client.submit(os.getpid, workers=0).result() == client.run(os.getpid)[address])
    os.environ["STATE"] = "second"
    with Client(n_workers=2, **plain) as client:
        show(client)
        kept = client.submit(sum, [1, 2], workers=[1])
        print(kept.result())
    os.chdir("..")
    with dask.config.set({"state": 3}):
        client = Client(n_workers=1, **plain)
    show(client)
    client.restart()
    show(client)
    client.close()
    del os.environ["STATE"]
    with Client(n_workers=2, **plain) as client:
        show(client)
"""


def test_each_cluster_of_a_script_has_the_state_of_its_moment(daskjob: Daskjob) -> None:
    script = daskjob.script(SEQUENCE)
    assert scripts_output(daskjob("run", "-q", script)) == by_python(daskjob, script)


OPTIONS = """\
import dask
from distributed import Client, get_worker

def look():
    worker = get_worker()
    names = [preload.name.rpartition("/")[2] for preload in worker.preloads]
    return worker.death_timeout, worker.lifetime // 10, names, dask.config.get("of-argument.a")

if __name__ == "__main__":
    open("loaded.py", "w").write("def dask_setup(worker): worker.loaded = True\\n")
    options = {"lifetime": "600 s", "lifetime_stagger": "1 s", "lifetime_restart": True}
    with Client(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", death_timeout=99,
        preload=["loaded.py"], protocol="tcp://", config={"of-argument": {"a": 1}}, **options
    ) as client:
        print(client.submit(look).result()[2:], client.submit(look).result()[0])
        print(client.submit(lambda: 58 <= get_worker().lifetime // 10 <= 60).result())
"""


def test_arguments_of_workers_reach_them(daskjob: Daskjob) -> None:
    script = daskjob.script(OPTIONS)
    done = daskjob("run", script)
    assert scripts_output(done) == by_python(daskjob, script)
    assert "no effect" not in done.err


GRAPHS = """\
import os, sys
import dask, dask.bag
from distributed import Client

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath("modules"))
    os.environ["FACTOR"] = "3"
    os.chdir("modules")
    import times
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        print(client.compute(dask.delayed(times.run)(times.Number(1))).result())
        print(dask.bag.from_sequence(map(times.Number, range(3))).map(times.run).compute())
        print(client.submit(times.run, times.Number(2)).result())
"""


def test_graphs_may_refer_to_modules_that_the_script_finds(daskjob: Daskjob) -> None:
    folder = daskjob.work / "modules"
    folder.mkdir()
    (folder / "offset.txt").write_text("10")
    (folder / "times.py").write_text(
        "import os\nFACTOR = int(os.environ['FACTOR'])\nOFFSET = int(open('offset.txt').read())\n"
        "class Number:\n    def __init__(self, value):\n        self.value = value\n"
        "def run(number):\n    return number.value * FACTOR + OFFSET\n"
    )
    script = daskjob.script(GRAPHS)
    assert scripts_output(daskjob("run", "-q", script)) == "13\n[10, 13, 16]\n16\n"


ORDINARY = """\
import os, sys, logging, warnings, argparse, tempfile, multiprocessing
import dask.bag
from distributed import Client
try:
    import numpy, dask.array
except ImportError:
    pass  # the oldest distributed is tested without it
os.environ.setdefault("KMP_INIT_AT_FORK", "FALSE")
os.environ["PYTEST_CURRENT_TEST"] = "mine"
logging.basicConfig()
warnings.simplefilter("ignore")
client = Client()
assert client.submit(sum, [1, 2]).result() == 3
names = sorted(worker["name"] for worker in client.scheduler_info()["workers"].values())
print("asked for", sys.modules["_daskjob_cluster"].RUN.asked, names)
"""


def test_ordinary_script_keeps_the_workers_that_started_with_it(daskjob: Daskjob) -> None:
    script = daskjob.script(ORDINARY, "ordinary.py")
    (daskjob.work / "folder").mkdir()
    (daskjob.work / "folder" / "__main__.py").write_text(ORDINARY)
    cells = [{"cell_type": "code", "source": ORDINARY, "metadata": {}, "outputs": []}]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (daskjob.work / "book.ipynb").write_text(json.dumps(notebook))
    ways: list[tuple[Any, ...]] = [
        (script,),
        ("-m", "ordinary"),
        ("folder",),
        ("book.ipynb",),
        ("python", "-u", "ordinary.py"),
        ("/bin/sh", "-c", f"cd . && {sys.executable} ordinary.py"),
    ]
    ended = [daskjob("run", "-w", 1, "-t", 1, *way) for way in ways]
    ended.append(daskjob("run", "-w", 1, "-t", 1, "-", input=ORDINARY.encode()))
    for done in ended:
        assert done.text == "asked for {} [0]\n", done.err


OPTIMIZES = "dask.config.get('optimization.fuse.active')"
CHANGES = [
    ("os.environ['NEW'] = '1'", "os.getenv('NEW')", "1"),
    ("os.environ.pop('HOME')", "os.getenv('HOME')", "None"),
    ("sys.path.append('/nowhere')", "'/nowhere' in sys.path", "True"),
    ("os.chdir('/')", "os.getcwd()", "/"),
    ("dask.config.set({'optimization.fuse.active': True})", OPTIMIZES, "True"),
    ("os.umask(0o77)", "os.umask(0o77)", "63"),
]


@pytest.mark.parametrize(("change", "seen", "expected"), CHANGES)
def test_change_that_matters_renews_the_workers_before_the_first_task(
    daskjob: Daskjob, change: str, seen: str, expected: str
) -> None:
    text = (
        f"import os, sys, dask\nfrom distributed import Client\n{change}\n"
        "def look():\n    import os, sys, dask\n"
        f"    return {seen}\n"
        "client = Client(timeout=1)\n"
        "print(len(client.ncores()), client.submit(look).result())\n"
    )
    done = daskjob("run", "-w", 1, "-t", 1, daskjob.script(text))
    assert scripts_output(done) == f"1 {expected}\n"
    assert not [line for line in done.messages if "died" in line or "lost" in line]


CHILDREN = """\
import multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor

def use(number):
    from distributed import Client
    with Client() as client:
        return client.submit(os.environ.get, "STATE").result()

if __name__ == "__main__":
    os.environ["STATE"] = "by the parent"
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            print(method, *pool.map(use, range(2)))
    code = "import os, distributed as d; print(d.Client().submit(os.environ.get, 'STATE').result())"
    subprocess.run([sys.executable, "-c", code])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "STATE": "by env="})
"""


def test_processes_of_the_script_have_workers_with_their_own_state(daskjob: Daskjob) -> None:
    done = daskjob("run", "-w", 1, "-q", daskjob.script(CHILDREN))
    assert scripts_output(done).splitlines() == [
        "fork by the parent by the parent",
        "spawn by the parent by the parent",
        "by the parent",
        "by env=",
    ]


def test_values_of_variables_are_in_no_file_once_the_workers_are_there(daskjob: Daskjob) -> None:
    text = (
        "import os, pathlib, dask\nfrom distributed import Client\n"
        "os.environ['TOKEN'] = 'sec' + 'ret-of-the-script'\n"
        "dask.config.set({'token': 'sec' + 'ret-of-the-script'})\n"
        "client = Client()\n"
        "assert client.submit(os.getenv, 'TOKEN').result() == 'sec' + 'ret-of-the-script'\n"
        f"for folder in ({str(daskjob.temporary)!r}, {str(daskjob.state)!r}):\n"
        "    for path in pathlib.Path(folder).rglob('*'):\n"
        "        if path.is_file() and b'ret-of-the-script' in path.read_bytes():\n"
        "            print(path)\n"
    )
    script = daskjob.script(text)
    done = daskjob("run", "-w", 1, script)
    assert scripts_output(done) == ""
    kept = [path for path in daskjob.state.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"ret-of-the-script" in path.read_bytes()]


def test_setting_of_the_scheduler_is_named_once(daskjob: Daskjob) -> None:
    text = (
        "import dask\nfrom distributed import Client\n"
        "dask.config.set({'distributed.scheduler.allowed-failures': 9})\n"
        "for _ in range(2):\n    with Client() as client:\n        print(len(client.ncores()))\n"
        "import sys; print(sys.modules['_daskjob_cluster'].RUN.asked)\n"
    )
    done = daskjob("run", "-w", 1, daskjob.script(text))
    assert scripts_output(done) == "1\n1\n{}\n"
    (line,) = [line for line in done.messages if "allowed-failures" in line]
    assert "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES" in line


def test_setting_of_the_scheduler_may_come_from_outside(daskjob: Daskjob) -> None:
    text = (
        "import dask\nfrom distributed import Client\n"
        "def look(dask_scheduler):\n    return dask_scheduler.allowed_failures\n"
        "print(Client().run_on_scheduler(look))\n"
    )
    setting = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=9"
    preload = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD=absent_module"
    done = daskjob("run", "-w", 1, "-q", "-e", setting, "-e", preload, daskjob.script(text))
    assert scripts_output(done) == "9\n"
