"""Flows that run one job, in a process that tests kill: ``program KIND FIELDS [FLOW_RUN]``."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Pending

from daskjob.integrations.prefect import DaskJob, arun_daskjob, run_daskjob


@flow(name="blocking", log_prints=False)
def blocking(fields: dict[str, Any]) -> Any:
    """Call the task."""
    return run_daskjob(DaskJob(**fields))


@flow(name="submitting")
def submitting(fields: dict[str, Any]) -> Any:
    """Submit the task to a thread."""
    return run_daskjob.submit(DaskJob(**fields)).result()


@flow(name="asynchronous")
async def asynchronous(fields: dict[str, Any]) -> Any:
    """Await the task."""
    return await arun_daskjob(DaskJob(**fields))


@flow(name="without-task")
def without_task(fields: dict[str, Any]) -> Any:
    """Trigger the block in the flow."""
    run = DaskJob(**fields).trigger()
    run.wait_for_completion()
    return run.fetch_result()


FLOWS: dict[str, Any] = {
    "blocking": blocking,
    "submitting": submitting,
    "asynchronous": asynchronous,
    "without-task": without_task,
}


def main(kind: str, fields: str, flow_run: str = "") -> None:
    """Run a flow: a new run, or one whose process is gone."""
    wanted = FLOWS[kind]
    with get_client(sync_client=True) as client:
        if flow_run:
            client.set_flow_run_state(UUID(flow_run), Pending(), force=True)
            found = client.read_flow_run(UUID(flow_run))
        else:
            found = client.create_flow_run(wanted, parameters={"fields": json.loads(fields)})
    print("flow run", found.id, flush=True)
    result = run_flow(wanted, flow_run=found, parameters={"fields": json.loads(fields)})
    if asyncio.iscoroutine(result):
        result = asyncio.run(result)
    print("result", json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
