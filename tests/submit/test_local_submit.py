"""Submission to this machine: a run in the background, once for each token."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from daskjob.core.errors import Conflict, Invalid, NotFound, PolicyFailure, UserFailure
from daskjob.core.manifests import Manifest
from daskjob.submit.local import LocalJobs
from daskjob.submit.local_background import NotStarted


def job(code: str, name: str = "sums", **spec: object) -> Manifest:
    def pod(*args: str) -> Manifest:
        return {"spec": {"containers": [{"name": "main", "image": "any", "args": list(args)}]}}

    cluster = {"scheduler": pod("dask", "scheduler"), "worker": pod("dask", "worker")}
    cluster["worker"]["replicas"] = 0
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "job": pod("python", "-c", code),
            "cluster": {"spec": cluster},
            **spec,
        },
    }


SUMS = """
import json, os
print("adding")
json.dump({"total": 3}, open(os.environ["DASKJOB_RESULT_FILE"], "w"))
"""


def test_a_job_runs_in_the_background_to_its_end(client: LocalJobs) -> None:
    ref = client.submit(job(SUMS))
    assert ref.name == "sums"
    phases = [seen.status.phase for seen in client.watch(ref)]
    assert phases[-1] == "Succeeded"
    assert client.wait(ref).ref == ref
    assert client.result(ref) == {"total": 3}
    assert b"".join(chunk.data for chunk in client.logs(ref)) == b"adding\n"
    failing = client.submit(job("raise KeyError('date')", "failing"))
    with pytest.raises(UserFailure, match="KeyError") as caught:
        client.wait(failing, timeout_seconds=60)
    assert "KeyError: 'date'" in caught.value.log_tail


def test_a_token_is_run_once_also_by_several_callers_at_once(client: LocalJobs) -> None:
    with ThreadPoolExecutor(4) as pool:
        refs = list(pool.map(lambda _: client.submit(job("pass"), token="t"), range(4)))
    assert len(set(refs)) == 1
    client.wait(refs[0], timeout_seconds=60)
    # Also after its end.
    again = client.submit(job("pass"), token="t")
    assert again == refs[0]
    assert again.differences == ()
    other = client.submit(job("pass", backoffLimit=3), token="t")
    assert other == refs[0]
    assert other.differences == ("spec backoffLimit: 0 → 3",)
    assert len(client.list()) == 1
    with pytest.raises(Conflict, match=r"args\[2\]: 'pass' → 'print\(\)'"):
        client.submit(job("print()"), token="t")


def test_a_job_goes_on_after_the_process_that_submitted_it(client: LocalJobs) -> None:
    code = f"from daskjob import JobClient; print(JobClient.local().submit({job('input()')!r}).uid)"
    sleeping = code.replace("input()", "import time; time.sleep(60)")
    done = subprocess.run([sys.executable, "-c", sleeping], capture_output=True, check=True)
    (found,) = client.list()
    assert found.ref.uid == done.stdout.decode().strip()
    with pytest.raises(Conflict, match="belongs to another submission"):
        client.submit(job("pass"))
    assert client.cancel(found.ref)
    with pytest.raises(PolicyFailure):
        client.wait(found.ref, timeout_seconds=60)


def test_what_cannot_run_here_is_an_error(client: LocalJobs) -> None:
    with pytest.raises(Invalid, match="backoffLimit"):
        client.submit(job("pass", backoffLimit=-1))
    shared = job("pass", clusterRef={"name": "shared"})
    del shared["spec"]["cluster"]
    with pytest.raises(NotStarted, match="no clusters on this machine"):
        client.submit(shared)
    with pytest.raises(NotFound):
        client.find()


def test_a_job_is_submitted_suspended_and_runs_once_it_is_resumed(client: LocalJobs) -> None:
    ref = client.submit(job(SUMS, suspend=True))
    seen = client.watch(ref)
    assert next(state for state in seen if state.status.suspended).status.phase == "Suspended"
    client.scale(ref, 1)
    assert client.get(ref).manifest["spec"]["cluster"]["spec"]["worker"]["replicas"] == 1
    client.scale(ref, 0)
    client.resume(ref)
    ended = client.wait(ref, timeout_seconds=60)
    assert ended.status.result == {"total": 3}
    assert len(ended.status.attempts) == 1
    for verb in (client.suspend, client.resume, lambda ref: client.scale(ref, 1)):
        with pytest.raises(Conflict, match="has ended and"):
            verb(ref)
    client.delete(ref)
    with pytest.raises(NotFound):
        client.resume(ref)
