"""The notebook beside a cluster at the API server: created, found, reached."""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from daskjob.core import names
from daskjob.core.diagnose import crash_loop, waiting_for
from daskjob.core.errors import DaskJobError, NotFound, Timeout
from daskjob.core.manifests import Manifest, ObjectRef, mapping
from daskjob.core.pods import pod_facts
from daskjob.kube.api import Api
from daskjob.kube.followed_pod import Backend
from daskjob.kube.objects import get_object, watching
from daskjob.kube.port_forward import LOOPBACK, Notify, PortForward, forwarding
from daskjob.kube.resources import PODS, Selection
from daskjob.submit.client.owned import create_owned
from daskjob.submit.clusters.cluster import Cluster


class NotebookFailed(DaskJobError):
    """The pod of a notebook crashes."""


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook that can be reached, through a forward."""

    forward: PortForward
    token: str

    @property
    def link(self) -> str:
        """The local URL, with the token: anyone who has it can run code in the cluster."""
        return f"http://{self.forward.address}/lab?token={self.token}"


async def add_notebook(api: Api, cluster: Cluster, manifests: Sequence[Manifest]) -> None:
    """Create what a notebook consists of, owned by its cluster; what exists stays.

    Raises
    ------
    Conflict
        A name belongs to something else.
    DaskJobError
        The API server rejects an object.
    """
    for manifest in (_secret(cluster), *manifests):
        await create_owned(api, manifest, cluster.ref)


async def is_complete(api: Api, cluster: Cluster) -> bool:
    """Return whether the last object exists: a creation may have been interrupted."""
    try:
        await get_object(api, ObjectRef("Deployment", cluster.ref.namespace, cluster.notebook))
    except NotFound:
        return False
    return True


def _secret(cluster: Cluster) -> Manifest:
    token = base64.b64encode(secrets.token_urlsafe(32).encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": cluster.notebook},
        "type": "Opaque",
        "data": {names.NOTEBOOK_TOKEN: token},
    }


async def notebook_token(api: Api, cluster: Cluster) -> str:
    """Return the token of a cluster's notebook.

    Raises
    ------
    Forbidden
        The user may not read the Secret.
    NotFound
        There is no Secret, or no token in it.
    """
    ref = ObjectRef("Secret", cluster.ref.namespace, cluster.notebook)
    data = mapping((await get_object(api, ref)).get("data"))
    with suppress(KeyError, ValueError, binascii.Error):
        return base64.b64decode(str(data[names.NOTEBOOK_TOKEN]), validate=True).decode()
    raise NotFound(
        f"{ref} has no {names.NOTEBOOK_TOKEN}, which the notebook of {cluster.name} needs"
    )


@asynccontextmanager
async def notebook_forward(
    api: Api,
    cluster: Cluster,
    *,
    port: int = 0,
    address: str = LOOPBACK,
    timeout_seconds: float | None = None,
    notify: Notify | None = None,
) -> AsyncIterator[Notebook]:
    """Forward a local port to a cluster's notebook during the block.

    Raises
    ------
    PortTaken
        The local port is in use.
    NotebookFailed
        The notebook crashes; with the reason.
    Timeout
        It cannot be reached; with the reason.
    """
    token = await notebook_token(api, cluster)
    selector = f"{names.LABEL_NOTEBOOK}={names.label_value(cluster.name)}"
    backend = Backend(
        cluster.ref.namespace, selector, names.PORT_NOTEBOOK, f"the notebook of {cluster.name}"
    )
    async with forwarding(
        api, backend, port=port, preferred_port=names.PORT_NOTEBOOK, address=address, notify=notify
    ) as forward:
        await _ready(api, backend, forward, timeout_seconds)
        yield Notebook(forward, token)


async def _ready(
    api: Api, backend: Backend, forward: PortForward, timeout_seconds: float | None
) -> None:
    """Wait until the notebook answers; a crash of its pod ends the wait, with the reason."""
    state = _State()
    answers = asyncio.create_task(forward.ready(timeout_seconds))
    watch = asyncio.create_task(_until_crash(api, backend, state))
    try:
        await asyncio.wait({answers, watch}, return_when=asyncio.FIRST_COMPLETED)
        if watch.done() and not answers.done():
            watch.result()
        await answers
    except Timeout as error:
        raise Timeout(f"{error}; {state.problem}" if state.problem else str(error)) from None
    finally:
        for task in (answers, watch):
            task.cancel()
        await asyncio.gather(answers, watch, return_exceptions=True)


@dataclass
class _State:
    """Why the pod does not run yet."""

    problem: str = ""


async def _until_crash(api: Api, backend: Backend, state: _State) -> None:
    """Watch the pods of a notebook.

    Raises
    ------
    NotebookFailed
        One crashes.
    """
    selection = Selection(PODS, backend.namespace, labels=backend.labels)
    async with watching(api, selection) as changes:
        async for change in changes:
            if change.manifest is None:
                continue
            pod = pod_facts(change.manifest)
            waits = waiting_for(pod)
            state.problem = waits.message if waits else ""
            if (found := crash_loop(pod)) is not None:
                raise NotebookFailed(
                    f"{backend.subject} crashes: {found.message} Its image must have JupyterLab; "
                    f"its log: kubectl logs -n {backend.namespace} {pod.ref.name}"
                )
