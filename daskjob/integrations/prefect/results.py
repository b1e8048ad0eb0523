"""Results of decorated flows, kept by Prefect's server: a block that needs no other storage.

A result is an artifact of its flow run, of Prefect's type ``result``, which no page lists, and goes
with the flow run.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    ArtifactFilterType,
)
from prefect.client.schemas.sorting import ArtifactSort
from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import WritableFileSystem

#: How many bytes a result may have.
RESULT_BYTES = 4 * 2**20
_LIMIT = f"{RESULT_BYTES / 2**20:.1f} MiB"
NAME = "daskjob-results"
_TYPE = "result"


class DaskJobResults(WritableFileSystem):
    """Keeps the result of a flow run at Prefect's server.

    Results of tasks are not kept: there may be very many, and the flow has them in memory.
    """

    _block_type_name = "DaskJob Results"
    _block_type_slug = "daskjob-results"
    _description = "Keeps the results of decorated flows at Prefect's server."

    async def aread_path(self, path: str) -> bytes:
        """Return a result."""
        async with get_client() as client:
            found = await client.read_artifacts(**_wanted(path))
        return _content(found, path)

    def read_path(self, path: str, _sync: bool = True) -> Any:
        """Return a result."""
        del _sync
        with get_client(sync_client=True) as client:
            found = client.read_artifacts(**_wanted(path))
        return _content(found, path)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Keep the result of a flow."""
        if TaskRunContext.get() is None:
            async with get_client() as client:
                await client.create_artifact(_artifact(path, content))

    def write_path(self, path: str, content: bytes, _sync: bool = True) -> Any:
        """Keep the result of a flow."""
        del _sync
        if TaskRunContext.get() is None:
            with get_client(sync_client=True) as client:
                client.create_artifact(_artifact(path, content))

    def _resolve_path(self, path: str) -> None:
        """Return ``None``: a key of this storage is no path of a file.

        Prefect asks where the block has lost its id, which it does on the way to a Dask worker.
        """


async def saved_results() -> UUID:
    """Return the id of the block, which is saved at the server if it is missing."""
    block: Any = await results_block()
    return UUID(str(block._block_document_id))


async def results_block() -> DaskJobResults:
    """Return the block, which is saved at the server if it is missing."""
    async with get_client() as client:
        try:
            found: Any = await DaskJobResults.aload(NAME, client=client)
        except ValueError:
            found = DaskJobResults()
            await found.asave(NAME, overwrite=True, client=client)
    kept: DaskJobResults = found
    return kept


def _artifact(path: str, content: bytes) -> ArtifactCreate:
    if len(content) > RESULT_BYTES:
        raise ValueError(
            f"the result of the flow has {len(content) / 2**20:.1f} MiB, and Prefect's server "
            f"takes {_LIMIT}; write it to a storage and return its address, "
            "or give the flow a result_storage"
        )
    return ArtifactCreate(
        key=_key(path),
        type=_TYPE,
        data=base64.b64encode(content).decode(),
        flow_run_id=_flow_run(),
    )


def _flow_run() -> UUID | None:
    context: Any = FlowRunContext.get()
    flow_run = getattr(context, "flow_run", None)
    known = getattr(flow_run, "id", None) or os.environ.get("PREFECT__FLOW_RUN_ID")
    return UUID(str(known)) if known else None


def _wanted(path: str) -> dict[str, Any]:
    return {
        "artifact_filter": ArtifactFilter(
            key=ArtifactFilterKey(any_=[_key(path)]), type=ArtifactFilterType(any_=[_TYPE])
        ),
        "sort": ArtifactSort.CREATED_DESC,
        "limit": 1,
    }


def _content(found: list[Any], path: str) -> bytes:
    if not found:
        # Prefect lets a flow complete whose result could not be kept, with a warning in its log.
        raise ValueError(
            f"Prefect's server has no result {path}: it may be larger than {_LIMIT}; "
            "the log of the flow run says why"
        )
    return base64.b64decode(found[0].data)


def _key(path: str) -> str:
    """Return an artifact's key, which has small letters, digits and dashes alone."""
    return f"daskjob-result-{hashlib.sha256(path.encode()).hexdigest()[:40]}"
