"""A client and a real operator: real jobs from submission to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from daskjob.core.errors import NotFound, PolicyFailure, UserFailure
from tests.client.given import Given, given_client, twins
from tests.cluster.plugin import Kubernetes
from tests.operator.jobs import python_job
from tests.operator.process import OperatorProcess
from tests.waiting import until

SUMS = """
import json, os
from distributed import Client
with Client() as client:
    print("adding")
    total = client.submit(sum, range(100)).result()
with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
    json.dump({"total": total}, file)
"""
FAILS = "import os; print('attempt', os.environ['DASKJOB_ATTEMPT']); raise KeyError('date')"


@asynccontextmanager
async def world(
    kubernetes: Kubernetes, namespace: str, form: str, folder: Path
) -> AsyncIterator[Given]:
    """Open a client, with an operator that watches its namespace."""
    operator = OperatorProcess(kubernetes.kubeconfig, namespace, folder / "operator.log")
    await operator.start()
    try:
        async with given_client(kubernetes, namespace, form) as given:
            yield given
    finally:
        await operator.stop()


async def text_of(chunks: Any) -> str:
    return b"".join([chunk.data async for chunk in chunks]).decode()


@twins
async def test_jobs_run_from_submission_to_their_end(
    form: str, with_crds: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    image = with_crds.image("dask")
    async with world(with_crds, namespace, form, tmp_path) as given:
        sums = python_job(image, SUMS, name="sums", dask=True)
        fails = python_job(image, FAILS, name="fails", backoffLimit=1)
        fails["spec"]["backoff"] = {"initialSeconds": 1}
        sleeps = python_job(image, "import time; time.sleep(999)", name="sleeps")
        refs = [await given.client.submit(found) for found in (sums, fails, sleeps)]
        following = [
            asyncio.create_task(text_of(given.client.logs(ref, follow=True))) for ref in refs[:2]
        ]

        ended = await given.client.wait(refs[0])
        assert ended.status.result == {"total": 4950}
        assert await given.client.result(refs[0]) == {"total": 4950}
        assert "adding\n" in await following[0]
        assert (await given.client.why(refs[0])).headline.startswith("sums succeeded")

        with pytest.raises(UserFailure, match="KeyError: 'date'") as caught:
            await given.client.wait(refs[1])
        assert (caught.value.reason, caught.value.exit_code) == ("BackoffLimitExceeded", 1)
        assert "attempt 1" in caught.value.log_tail
        followed = [line for line in (await following[1]).splitlines() if "attempt" in line]
        assert followed == ["attempt 0", "attempt 1"]
        reasons = [event.reason for event in await given.client.events(refs[1])]
        assert len(reasons) >= 2

        await until(lambda: _runs(given, refs[2]), pause=0.2)
        assert await given.client.cancel(refs[2])
        with pytest.raises(PolicyFailure, match="Cancelled"):
            await given.client.wait(refs[2])
        assert not await given.client.cancel(refs[2])
        assert given.messages == []

        await given.client.delete(refs[2])
        with pytest.raises(NotFound):
            await given.client.get(refs[2])


async def _runs(given: Given, ref: Any) -> bool:
    return bool((await given.client.get(ref)).status.phase == "Running")
