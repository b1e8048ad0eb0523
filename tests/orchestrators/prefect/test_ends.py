"""What becomes of a job if the process of its flow ends: no orphan, and no second job."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.orchestrators.prefect.conftest import Place, with_code
from tests.orchestrators.prefect.server import Server
from tests.waiting import wait_until

#: Runs until the file `go` exists on this machine; for ever on a cluster.
WAITS = """
import json, os, pathlib, time
print("waiting", flush=True)
go = pathlib.Path(os.environ.get("GO", "/no/such/file"))
while not go.exists():
    time.sleep(0.1)
with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
    json.dump("went", file)
"""


@pytest.mark.parametrize("kind", ["blocking", "submitting", "asynchronous", "without-task"])
def test_sigterm_cancels_the_job(kind: str, server: Server, machine: Place, run: Any) -> None:
    program = run(kind, with_code(machine, WAITS))
    machine.running(program.flow_run)
    program.end(signal.SIGTERM)
    machine.ended(program.flow_run, "Cancelled")
    assert len(machine.known(program.flow_run)) == 1
    wait_until(lambda: server.state(program.flow_run) == "Crashed", pause=0.2)


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_sigterm_cancels_the_job_of_a_cluster(kind: str, cluster: Place, run: Any) -> None:
    program = run(kind, with_code(cluster, WAITS))
    cluster.running(program.flow_run)
    program.end(signal.SIGTERM)
    cluster.ended(program.flow_run, "Cancelled")


def test_a_killed_flow_finds_its_job_again(
    server: Server, machine: Place, run: Any, tmp_path: Any
) -> None:
    fields = with_code(machine, WAITS, env={"GO": str(tmp_path / "go")})
    program = run("blocking", fields)
    job = machine.running(program.flow_run)
    program.end(signal.SIGKILL)
    again = run("blocking", fields, program.flow_run)
    wait_until(
        lambda: any("submitted by an earlier try" in m for m in server.logs(program.flow_run)),
        pause=0.2,
    )
    (tmp_path / "go").touch()
    output = again.process.communicate(timeout=120)[0]
    assert f"result {json.dumps('went')}" in output
    assert [one.ref for one in machine.known(program.flow_run)] == [job.ref]
    assert server.state(program.flow_run) == "Completed"


@pytest.mark.parametrize(("on_cancel", "phases"), [("keep", ["Running"]), ("delete", [])])
def test_on_cancel_decides_what_becomes_of_the_job(
    on_cancel: str, phases: list[str], machine: Place, run: Any
) -> None:
    program = run("blocking", with_code(machine, WAITS, on_cancel=on_cancel))
    job = machine.running(program.flow_run)
    program.end(signal.SIGTERM)
    assert [one.status.phase for one in machine.known(program.flow_run)] == phases
    if phases:
        machine.jobs.cancel(job.ref)
