"""A real scheduler and its lease: it lives while it is renewed, and ends afterwards."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from asyncio.subprocess import PIPE, STDOUT

import pytest
from distributed.core import rpc

from daskjob.classic.lease import lease_variables, renew

SECONDS = 2.0


@pytest.mark.check(56)
async def test_scheduler_lives_as_long_as_its_lease_is_renewed() -> None:
    preload = {"name": "DASK_DISTRIBUTED__SCHEDULER__PRELOAD", "value": "['json']"}
    variables = lease_variables({"env": [preload]}, SECONDS)
    command = (sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0")
    scheduler = await asyncio.create_subprocess_exec(
        *(*command, "--host", "127.0.0.1", "--no-dashboard"),
        env={**os.environ, **variables},
        stdout=PIPE,
        stderr=STDOUT,
    )
    assert scheduler.stdout is not None
    text = ""
    try:
        async with asyncio.timeout(60):
            while not (found := re.search(r"Scheduler at: +(\S+)", text)):
                text += (await scheduler.stdout.readline()).decode()
            async with rpc(found[1]) as comm:
                end = time.monotonic() + 2 * SECONDS
                while time.monotonic() < end:
                    await renew(comm)
                    await asyncio.sleep(SECONDS / 3)
                assert scheduler.returncode is None
            text += (await scheduler.stdout.read()).decode()
            assert await scheduler.wait() == 0
    finally:
        if scheduler.returncode is None:
            scheduler.kill()
            await scheduler.wait()
    assert "The client of this cluster is gone for 2 s: closing" in text
    assert "Traceback" not in text
    # Nothing to renew any more, which is no error.
    async with rpc(found[1], timeout=1) as comm:
        await renew(comm)
