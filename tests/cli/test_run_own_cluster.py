"""Scripts that bring a cluster: ``Client(n_workers=3)``, ``LocalCluster(…)``: the run's workers."""

from __future__ import annotations

import json
import sys

import pytest

from daskjob.backends.local.run import machine_memory_bytes
from tests.cli.command import Daskjob, Done, job

#: What the script sees of its workers: their threads, and the memory of each.
SHAPE = """
import json
print(json.dumps(sorted([w["nthreads"], w["memory_limit"]]
    for w in client.scheduler_info()["workers"].values())))
print("sum", client.submit(sum, [1, 2]).result())
"""


def printed(done: Done) -> list[str]:
    """What the script itself printed."""
    return [line for line in done.text.splitlines() if not line.startswith("daskjob: ")]


def shape(done: Done) -> list[list[int]]:
    assert done.code == 0, done.err
    assert "sum 3" in done.text
    found = json.loads(printed(done)[0])
    assert isinstance(found, list)
    return found


def hints(done: Done) -> list[str]:
    """The messages that come from the script's process."""
    own = (
        "is running with",
        "is starting",
        "succeeded in",
        "failed in",
        "for details",
        "the script ran no",
    )
    lines = [*done.text.splitlines(), *done.err.splitlines()]
    messages = [line for line in lines if line.startswith("daskjob: ")]
    return [line for line in messages if not any(text in line for text in own)]


@pytest.mark.parametrize(
    ("arguments", "threads", "hint"),
    [
        (
            "n_workers=3, threads_per_worker=1",
            [1, 1, 1],
            "daskjob: n_workers=3, threads_per_worker=1 set the run's workers; "
            "`daskjob run -w 3 -t 1` does the same, and holds against scale() and adapt()",
        ),
        (
            "n_workers=1, threads_per_worker=3, silence_logs=False, name='mine'",
            [3],
            "daskjob: n_workers=1, threads_per_worker=3 set the run's workers; "
            "`daskjob run -w 1 -t 3` does the same, and holds against scale() and adapt()",
        ),
        (
            "processes=False, threads_per_worker=2, scheduler_port=8786, host='localhost'",
            [2],
            "daskjob: processes=False: tasks run in threads of one worker process beside the "
            "script (2 each), which shares no memory with it; "
            "`daskjob run -w 1 -t 2` does the same, and holds against scale() and adapt(); "
            "host, scheduler_port have no effect in a run",
        ),
    ],
)
def test_arguments_of_client_set_the_workers_of_the_run(
    daskjob: Daskjob, arguments: str, threads: list[int], hint: str
) -> None:
    script = daskjob.script(f"from distributed import Client\nclient = Client({arguments}){SHAPE}")
    done = daskjob("run", script)
    assert [row[0] for row in shape(done)] == threads
    assert hints(done) == [hint]


def test_memory_limit_and_resources_are_those_of_the_workers(daskjob: Daskjob) -> None:
    text = (
        "from dask.distributed import Client, LocalCluster\n"
        "cluster = LocalCluster(n_workers=1, threads_per_worker=1, memory_limit='1GB',\n"
        "    resources={'GPU': 2}, env={'FLAVOUR': 'a$b'}, dashboard_address=None)\n"
        "client = Client(cluster)" + SHAPE + "import os\n"
        "print('at', client.submit(os.getenv, 'FLAVOUR', resources={'GPU': 2}).result())\n"
    )
    done = daskjob("run", daskjob.script(text))
    assert shape(done) == [[1, 10**9]]
    assert "at a$b" in done.text
    (hint,) = hints(done)
    assert (
        "`daskjob run -w 1 -t 1 --memory 1GB` does the same, and holds against scale() and adapt()"
        in hint
    )


@pytest.mark.parametrize(
    "arguments",
    ["n_workers=0, threads_per_worker=1", "n_workers=0", "n_workers=0, memory_limit='300MB'"],
)
def test_no_option_does_what_a_cluster_does_that_starts_without_workers(
    daskjob: Daskjob, arguments: str
) -> None:
    script = (
        "from distributed import Client, LocalCluster\n"
        f"cluster = LocalCluster({arguments})\ncluster.adapt(minimum=0, maximum=1)\n"
        "print('sum', Client(cluster).submit(sum, [1, 2]).result())"
    )
    done = daskjob("run", daskjob.script(script))
    assert "sum 3" in done.text
    (hint,) = hints(done)
    assert hint.startswith("daskjob: n_workers=0")
    assert "`" not in hint


@pytest.mark.parametrize(("silence", "shown"), [("50", 0), ("'CRITICAL'", 0), ("False", 1)])
def test_silence_logs_is_passed_to_the_nannies(daskjob: Daskjob, silence: str, shown: int) -> None:
    script = daskjob.script(
        f"from distributed import Client\nclient = Client(n_workers=1, silence_logs={silence})\n"
        "client.restart()\nprint(client.submit(sum, [1, 2]).result())"
    )
    done = daskjob("run", script)
    assert done.text == "3\n"
    assert done.err.count("Restarting worker") == shown


SCALED = """\
import json
from distributed import Client
client = Client(n_workers=3)

def limits():
    return [worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()]

print(json.dumps(limits()))
client.submit(sum, [1, 2]).result()
client.cluster.scale(4)
client.wait_for_workers(4)
print(json.dumps(limits()))
client.cluster.close()
"""


def test_workers_share_the_memory_of_the_machine(daskjob: Daskjob) -> None:
    done = daskjob("run", "-t", 1, daskjob.script(SCALED))
    assert done.code == 0, done.err
    first, scaled = map(json.loads, printed(done))
    limit = machine_memory_bytes() // 3
    assert (first, scaled) == ([limit] * 3, [limit] * 4)
    assert "Traceback" not in done.err


def test_options_hold_against_arguments(daskjob: Daskjob) -> None:
    text = (
        "from distributed import Client\n"
        "client = Client(n_workers=3, threads_per_worker=2, memory_limit='2GB')\n"
        "client.wait_for_workers(3)" + SHAPE + "client.cluster.scale(2)\n"
        "client.cluster.adapt(minimum=2, maximum=4)\n"
    )
    done = daskjob("run", "-w", 1, "-t", 1, "--memory", "1GB", daskjob.script(text))
    assert shape(done) == [[1, 10**9]]
    first, wait, scale, adapt = hints(done)
    assert "wait_for_workers(3) waits for 1: `-w 1` holds" in wait
    assert "n_workers=3 has no effect: `-w 1` holds" in first
    assert "threads_per_worker=2 has no effect: `-t 1` holds" in first
    assert "memory_limit='2GB' has no effect: `--memory 953.7MiB` holds" in first
    assert "cluster.scale(2) has no effect: `-w 1` holds" in scale
    assert "cluster.adapt(…) has no effect: `-w 1` holds" in adapt


def test_options_that_say_the_same_as_the_arguments_are_silent(daskjob: Daskjob) -> None:
    text = f"from distributed import Client\nclient = Client(n_workers=1){SHAPE}"
    done = daskjob("run", "-w", 1, "-t", 2, daskjob.script(text))
    assert [row[0] for row in shape(done)] == [2]
    assert not hints(done)


def test_manifest_holds_against_arguments(daskjob: Daskjob) -> None:
    text = f"from distributed import Client\nclient = Client(n_workers=2, processes=False){SHAPE}"
    done = daskjob("run", daskjob.manifest(job(text, workers=1)))
    assert [row[0] for row in shape(done)] == [1]
    assert "n_workers=2 has no effect: the manifest holds" in hints(done)[0]


CLUSTERS = """\
import subprocess, sys, time
from distributed import Client, LocalCluster, get_client

def until(count, client):
    end = time.monotonic() + 60
    while len(client.ncores()) != count and time.monotonic() < end:
        time.sleep(0.05)
    return len(client.ncores())

class Mine(LocalCluster):
    pass

class MyClient(Client):
    pass

def on_worker():
    options = {"n_workers": 1, "processes": False, "dashboard_address": None}
    with Client() as inner, LocalCluster(**options) as cluster:
        return inner.cluster, type(cluster.scheduler).__name__, "_daskjob_cluster" in sys.modules

with LocalCluster(n_workers=2, threads_per_worker=1) as cluster:
    print("at once", len(cluster.workers), len(cluster.scheduler_info["workers"]))
    found = {worker.worker_address for worker in cluster.workers.values()}
    print("addresses", found == set(cluster.scheduler_info["workers"]))
    print("address", cluster.workers[0].address in found)
    with Client(cluster) as client:
        print("client", client.cluster is cluster, cluster.get_client() is client)
        print("link", cluster.dashboard_link == client.dashboard_link != "")
        print("type", type(cluster).__name__, isinstance(cluster, LocalCluster))
        cluster.scale(1)
        print("scaled", until(1, client), len(cluster.workers))
        print("task", client.submit(on_worker).result())
        adaptive = client.cluster.adapt(minimum=2, maximum=3)
        print("adapted", until(2, client), adaptive.minimum, adaptive.maximum)

with MyClient() as client:
    print("default", type(client).__name__, get_client() is client)
    with Mine(n_workers=1, processes=False, dashboard_address=None) as mine:
        print("mine", type(mine).__name__, len(mine.workers), type(mine.scheduler).__name__)
    client.shutdown()
"""


def test_clusters_of_a_script_share_the_workers_of_the_run(daskjob: Daskjob) -> None:
    done = daskjob("run", "-t", 1, daskjob.script(CLUSTERS))
    assert done.code == 0, done.err
    assert printed(done) == [
        "at once 2 2",
        "addresses True",
        "address True",
        "client True True",
        "link True",
        "type LocalCluster True",
        "scaled 1 1",
        "task (None, 'Scheduler', False)",
        "adapted 2 2 3",
        "default MyClient True",
        "mine Mine 1 Scheduler",
    ]
    assert len(hints(done)) == 1


ASYNC = """\
import asyncio
from distributed import Client, LocalCluster

async def main():
    async with LocalCluster(None, 1, 1, asynchronous=True) as cluster:
        async with Client(cluster, asynchronous=True) as client:
            print("cluster", await client.submit(sum, [1, 2]), len(cluster.workers))
            await cluster.scale(2)
            await client.wait_for_workers(2)
            print("scaled", len(cluster.scheduler_info["workers"]))
    async with Client(asynchronous=True, n_workers=1, threads_per_worker=1) as client:
        print("client", await client.submit(sum, [1, 2]), len(client.cluster.workers))
        await client.shutdown()

asyncio.run(main())
"""


def test_asynchronous_clusters_and_clients(daskjob: Daskjob) -> None:
    done = daskjob("run", "-t", 1, daskjob.script(ASYNC))
    assert done.code == 0, done.err
    assert printed(done) == ["cluster 3 1", "scaled 2", "client 3 1"]


MISTAKES = """\
from distributed import Client, LocalCluster
for make in (
    lambda: Client(n_wokers=3),
    lambda: Client(n_workers=1, thread_per_worker=1),
    lambda: LocalCluster(processes=False, memory="1GB", dashboard_address=None),
    lambda: Client(n_workers="three"),
    lambda: Client("tcp://127.0.0.1:9", n_workers=3),
):
    try:
        make()
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_mistyped_arguments_are_the_errors_that_they_are(daskjob: Daskjob) -> None:
    done = daskjob.run(daskjob.script(MISTAKES))
    assert done.code == 0, done.err
    assert printed(done) == [
        "TypeError Server.__init__() got an unexpected keyword argument 'n_wokers'",
        "TypeError Server.__init__() got an unexpected keyword argument 'thread_per_worker'",
        "TypeError Server.__init__() got an unexpected keyword argument 'memory'",
        "TypeError unsupported operand type(s) for /: 'int' and 'str'",
        "ValueError Unexpected keyword arguments: ['n_workers']",
    ]


def test_address_where_no_scheduler_answers_is_explained_once(daskjob: Daskjob) -> None:
    text = (
        "from distributed import Client\n"
        "for address in ('tcp://127.0.0.1:9', 'localhost:9'):\n"
        "    try:\n"
        "        Client(address, timeout=0.2)\n"
        "    except OSError as error:\n"
        "        print('failed')\n"
    )
    done = daskjob.run(daskjob.script(text))
    assert printed(done) == ["failed", "failed"]
    (hint,) = hints(done)
    assert "no scheduler answers at tcp://127.0.0.1:9" in hint
    assert "leave it out" in hint


@pytest.mark.parametrize("option", ["--quiet", "-q"])
def test_quiet_hides_the_hints_too(daskjob: Daskjob, option: str) -> None:
    text = "from distributed import LocalCluster\nLocalCluster(n_workers=0, threads_per_worker=1)\n"
    done = daskjob("run", option, daskjob.script(text))
    assert (done.code, done.out, done.err) == (0, b"", "")


def test_users_own_sitecustomize_and_path_stay(daskjob: Daskjob) -> None:
    folder = daskjob.work / "lib"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.marked = 'by sitecustomize'\n")
    text = (
        "import json, subprocess, sys\n"
        "child = [sys.executable, '-c', 'import sys; print(sys.path, sys.marked)']\n"
        "print(json.dumps([sys.path, sys.marked, sys.modules['sitecustomize'].__file__,\n"
        "    '_daskjob_cluster' in sys.modules,\n"
        "    subprocess.run(child, capture_output=True, text=True).stdout]))\n"
    )
    script = daskjob.script(text)
    path = {"PYTHONPATH": f"{folder}:{daskjob.environment['PYTHONPATH']}"}
    done = daskjob.run(script, env=path)
    assert done.code == 0, done.err
    where, marked, module, is_loaded, child = json.loads(done.text)
    assert where[:2] == [str(daskjob.work), str(folder)]
    assert not [place for place in where if place.endswith("in_script")]
    assert marked == "by sitecustomize"
    assert module == str(folder / "sitecustomize.py")
    assert not is_loaded
    assert "by sitecustomize" in child
    assert "in_script" not in child


def test_isolated_python_of_a_script_is_plain(daskjob: Daskjob) -> None:
    text = (
        "import subprocess, sys\n"
        "code = 'import distributed, sys; print(\"_daskjob_cluster\" in sys.modules)'\n"
        "for options in ([], ['-I'], ['-S', '-E']):\n"
        "    subprocess.run([sys.executable, *options, '-c', code])\n"
    )
    done = daskjob.run(daskjob.script(text))
    assert done.text.split()[:2] == ["True", "False"], sys.executable


TOGETHER = """\
from distributed import Client, LocalCluster

small, large = LocalCluster(n_workers=1), LocalCluster(n_workers=3)
first, second = Client(small), Client(large)
print(len(first.ncores()), len(second.ncores()))
held = first.submit(sum, [1, 2])
print(held.result(), second.submit(sum, [3, 4]).result())
large.close()
print(held.result(), first.submit(sum, [5, 6]).result(), len(first.ncores()) >= 1)
third = Client(n_workers=2)
print(len(third.ncores()), third.submit(sum, [7, 8]).result())
small.close()
print(third.submit(sum, [9, 10]).result())
"""


def test_clusters_that_are_open_together_are_all_usable(daskjob: Daskjob) -> None:
    done = daskjob("run", "-t", 1, daskjob.script(TOGETHER))
    assert done.code == 0, done.err
    assert printed(done) == ["3 3", "3 7", "3 11 True", "2 15", "19"]
    assert len([line for line in hints(done) if "LocalClusters are open" in line]) == 1


NEVER = """\
from distributed import Client, LocalCluster

for make in (
    lambda: Client(n_workers=1),
    lambda: LocalCluster(threads_per_worker=1),
    lambda: Client(processes=False),
    lambda: Client().cluster.wait_for_workers(1),
    lambda: Client().wait_for_workers(1),
):
    try:
        make()
    except (RuntimeError, TimeoutError) as error:
        print(type(error).__name__, error)
with LocalCluster(n_workers=0) as cluster, Client(cluster) as client:
    print(len(client.ncores()))
    client.submit(sum, [1, 2]).result()
"""


def test_script_that_needs_workers_under_w_0_never_waits_in_silence(daskjob: Daskjob) -> None:
    process = daskjob.start("run", "-w", 0, daskjob.script(NEVER))
    assert process.stderr is not None
    lines: list[str] = []
    while "no workers. Ask for some: --workers N" not in "".join(lines):
        line = process.stderr.readline().decode()
        assert line, lines
        lines.append(line)
    process.terminate()
    out, _ = process.communicate()
    given = "n_workers=1", "threads_per_worker=1", "processes=False"
    held = "`-w 0` holds"
    assert [line for line in out.decode().splitlines() if not line.startswith("daskjob: ")] == [
        *(
            f"RuntimeError the script asks for workers ({text}), and the run never has any: "
            f"{held}. Leave out -w 0."
            for text in given
        ),
        *[f"TimeoutError the run never has workers: {held}"] * 2,
        "0",
    ]


SLOW = """\
import os, sys
from distributed import Client

address = os.environ["DASK_SCHEDULER_ADDRESS"]
for client in (Client(address, timeout=0.5), Client(timeout="1s"), Client(timeout=1, n_workers=1)):
    print(len(client.ncores()), client.submit(sum, [1, 2]).result())
    client.close()
"""


def test_short_timeout_of_a_client_does_not_count_the_start_of_the_workers(
    daskjob: Daskjob,
) -> None:
    (daskjob.work / "slow.py").write_text(
        "import time\ndef dask_setup(worker):\n    time.sleep(3)\n"
    )
    slow = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(daskjob.work / "slow.py")}
    done = daskjob("run", "-t", 1, "-w", 1, daskjob.script(SLOW), env=slow)
    assert done.code == 0, done.err
    assert done.text == "1 3\n" * 3


PORT = """\
import socket, urllib.request
from distributed import Client, LocalCluster

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]

def leads(address):
    with urllib.request.urlopen(f"http://localhost:{port}/health") as answer:
        return answer.url == address.replace("/status", "/health"), answer.read()

with Client(n_workers=1, dashboard_address=f":{port}") as client:
    print(leads(client.dashboard_link))
    with LocalCluster(n_workers=1, dashboard_address=port) as second:
        print(second.dashboard_link == client.dashboard_link)
with LocalCluster(n_workers=1, dashboard_address=f"127.0.0.1:{port}") as cluster:
    print(leads(cluster.dashboard_link))
with socket.socket() as again:
    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    again.bind(("127.0.0.1", port))
"""


def test_port_of_the_dashboard_is_the_one_that_the_script_names(daskjob: Daskjob) -> None:
    done = daskjob("run", "-w", 1, daskjob.script(PORT))
    assert done.code == 0, done.err
    assert printed(done) == ["(True, b'ok')", "True", "(True, b'ok')"]
    assert [line for line in hints(done) if "cannot be used" in line]
