"""Prefect's own server as the storage of decorated flows: of their bundles, and of their results.

A bundle is a flow with its parameters, as Prefect packs them. It is a block Secret of the server:
encrypted, shown on no page, and deleted once its flow run has completed. Nothing here unpickles it.

``python -m daskjob.integrations.prefect.server_storage WORK_POOL`` writes this into a work pool,
which only ``submit_to_work_pool`` needs; calls do without.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
import zlib
from typing import Any
from uuid import UUID

from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool, WorkPoolStorageConfiguration
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.integrations.prefect.results import saved_results

#: How many bytes a bundle may have, compressed. The server keeps them in its database.
BUNDLE_BYTES = 4 * 2**20
_HERE = "daskjob.integrations.prefect"
UPLOAD, EXECUTE = f"{_HERE}.upload_bundle", f"{_HERE}.execute_bundle"
COMMAND = f"python -m {_HERE}.server_storage"
#: The programs that run the steps. Without these, Prefect wants ``uv`` here and in the pods.
LAUNCHER = {"upload": [sys.executable], "execution": ["python"]}
_STEPS = {
    "bundle_upload_step": {UPLOAD: {"launcher": ["python"]}},
    "bundle_execution_step": {EXECUTE: {"launcher": ["python"]}},
}
_NOT_IN_NAMES = re.compile("[^a-z0-9]+")


class TooLarge(DaskJobError):
    """A bundle, or a result, is larger than Prefect's server is to keep."""


def is_here(pool: WorkPool) -> bool:
    """Return whether a work pool has this storage, or none, so that calls take this one."""
    step = pool.storage_configuration.bundle_upload_step
    return step is None or UPLOAD in step


def has_storage(pool: WorkPool) -> bool:
    """Return whether a work pool has a storage of its own."""
    storage = pool.storage_configuration
    return bool(storage.bundle_upload_step and storage.bundle_execution_step)


def with_storage(pool: WorkPool) -> WorkPool:
    """Return a work pool that has a storage: its own one, or this one."""
    if has_storage(pool):
        return pool
    storage = pool.storage_configuration.model_copy(update=_STEPS)
    return pool.model_copy(update={"storage_configuration": storage})


async def configure(name: str) -> None:
    """Let a work pool keep bundles and results at the server.

    Raises
    ------
    NotFound
        There is no such work pool.
    """
    results: UUID = await saved_results()
    storage = WorkPoolStorageConfiguration(**_STEPS, default_result_storage_block_id=results)
    async with get_client() as client:
        try:
            await client.update_work_pool(name, WorkPoolUpdate(storage_configuration=storage))
        except ObjectNotFound:
            raise no_pool(name) from None


def no_pool(name: str) -> NotFound:
    """Return the error about a work pool that does not exist."""
    return NotFound(
        f"Prefect's server at {PREFECT_API_URL.value()} has no work pool {name!r}; "
        f"prefect work-pool create --type daskjob {name}"
    )


def save(key: str, data: bytes) -> None:
    """Keep a bundle, or the files of one.

    Raises
    ------
    TooLarge
        It has more than ``BUNDLE_BYTES`` compressed.
    """
    packed = zlib.compress(data)
    if len(packed) > BUNDLE_BYTES:
        raise TooLarge(
            f"the flow, with its parameters and files, has {_mebibytes(len(packed))} compressed, "
            f"and Prefect's server takes {_mebibytes(BUNDLE_BYTES)}; let the flow read large data "
            "itself, or give the work pool a storage: prefect work-pool storage configure --help"
        )
    text = base64.b64encode(packed).decode()
    Secret(value=json.dumps(text)).save(_name(key), overwrite=True, _sync=True)


def load(key: str) -> bytes:
    """Return a bundle, or the files of one.

    Raises
    ------
    NotFound
        It was deleted, or never there.
    """
    found: Any
    try:
        found = Secret.load(_name(key), _sync=True)
        return zlib.decompress(base64.b64decode(found.get()))
    except (ValueError, binascii.Error, zlib.error) as error:
        raise NotFound(
            f"Prefect's server has no bundle {key} any more: its flow run has completed, or "
            "somebody deleted the block; call the flow again"
        ) from error


def delete(key: str) -> None:
    """Delete a bundle, if it is there."""
    try:
        Secret.delete(_name(key), _sync=True)
    except ValueError:
        return


def _name(key: str) -> str:
    """Return the name of a block, which has small letters, digits and dashes alone."""
    return f"daskjob-bundle-{_NOT_IN_NAMES.sub('-', key.lower())}"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def main(arguments: list[str]) -> int:
    """Configure a work pool; return an exit code."""
    import asyncio

    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(f"usage: {COMMAND} WORK_POOL", file=sys.stderr)
        return 2
    try:
        asyncio.run(configure(arguments[0]))
    except DaskJobError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Prefect's server keeps the flows and results of work pool {arguments[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
