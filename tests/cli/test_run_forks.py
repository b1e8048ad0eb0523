"""Scheduler and workers that are forked from one Python: as processes, and as what runs in them."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.cli.command import Daskjob, job

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

LOOK = """\
import json, os, random, sys
from distributed import Client

def look():
    import importlib.util, psutil, tempfile
    # The oldest supported Dask may be there without it.
    draws = [random.random]
    if importlib.util.find_spec("numpy"):
        draws.append(__import__("numpy.random").random.rand)
    process = psutil.Process()
    try:
        raise ValueError
    except ValueError as error:
        context = repr(error.__context__)
    shown = [each.cmdline() for each in [process, *process.parents()]]
    return {
        "titles": [words for words in shown if words[:1] == ["dask"]],
        "numbers": [draw() for draw in draws],
        "context": context,
        "words": sys.argv[:1],
        "variables": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MINE")},
        "temporary": tempfile.gettempdir(),
        "agent": "DASKJOB_AGENT_TOKEN" in os.environ,
        "path": os.getcwd() in sys.path,
    }

if __name__ == "__main__":
    with Client() as client:
        workers = list(client.run(look).values())
        print(json.dumps({"workers": workers, "scheduler": client.run_on_scheduler(look)}))
"""


def test_forked_processes_are_as_different_as_new_ones(daskjob: Daskjob) -> None:
    done = daskjob("run", "-q", "-w", 2, daskjob.script(LOOK))
    assert done.code == 0, done.err
    found = json.loads(done.out)
    first, second = found["workers"]
    scheduler = found["scheduler"]
    for worker in (first, second):
        assert {tuple(words[:2]) for words in worker["titles"]} == {("dask", "worker")}
        assert worker["agent"] is False
        assert worker["variables"] == {"OMP_NUM_THREADS": "1", "MINE": None}
    assert {tuple(words[:2]) for words in scheduler["titles"]} == {("dask", "scheduler")}
    assert (scheduler["agent"], scheduler["path"]) == (True, True)
    assert scheduler["words"] == ["dask scheduler"]
    assert scheduler["temporary"] != first["temporary"]
    assert {place["context"] for place in (first, second, scheduler)} == {"None"}
    for numbers in zip(*(place["numbers"] for place in (first, second, scheduler)), strict=True):
        assert len(set(numbers)) == 3


@pytest.mark.parametrize(
    ("change", "variables"),
    [
        ({"env": [{"name": "MINE", "value": "1"}]}, {"OMP_NUM_THREADS": "1", "MINE": "1"}),
        ({"env": [{"name": "OMP_NUM_THREADS", "value": "3"}]}, {"OMP_NUM_THREADS": "3"}),
        ({"args": ["dask", "worker", "--no-nanny"]}, {"OMP_NUM_THREADS": "1"}),
    ],
    ids=["another variable", "another number of threads", "without a nanny"],
)
def test_workers_unlike_their_scheduler_are_executed(
    daskjob: Daskjob, change: dict[str, Any], variables: dict[str, str]
) -> None:
    daskjob.script(LOOK)
    manifest = job(["python", "script.py"], workers=1, worker=change)
    done = daskjob("run", "-q", daskjob.manifest(manifest))
    assert done.code == 0, done.err
    found = json.loads(done.out)
    [worker] = found["workers"]
    assert worker["titles"] == []
    assert variables.items() <= worker["variables"].items()
    assert [words[:2] for words in found["scheduler"]["titles"]] == [["dask", "scheduler"]]
