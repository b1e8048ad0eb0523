"""The trigger that waits for a DaskJob in the triggerer, and streams its log.

All jobs of a connection and a namespace share one watch. The event has all that the task needs: by
the time that the task resumes, the job may be gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from daskjob.core.errors import DaskJobError, Forbidden, NotFound
from daskjob.integrations.airflow.link_text import LINK_KEY, dashboard_link
from daskjob.integrations.airflow.log_lines import Lines
from daskjob.integrations.airflow.shared_clients import shared_client
from daskjob.integrations.airflow.summary import Progress, event_of, failed_event, summary_of
from daskjob.submit.jobs import Job, JobRef

if TYPE_CHECKING:
    from daskjob import AsyncJobClient

#: How long the rest of the log is waited for after the end of the job.
LOG_SECONDS = 15.0
#: Between two updates of the XCom ``daskjob`` of a running job.
XCOM_SECONDS = 30.0
#: How long the cancellation of a job may take: it goes on when Airflow no longer waits for it.
KILL_SECONDS = 120.0


class DaskJobTrigger(BaseTrigger):
    """Wait until a job has ended; yield one event.

    ``deadline`` is when ``execution_timeout`` of the task is over, in seconds since 1970.
    """

    def __init__(
        self,
        name: str = "",
        namespace: str = "",
        uid: str = "",
        *,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        get_logs: bool = True,
        deadline: float | None = None,
        operator_timeout_seconds: float = 60.0,
        dashboard_url: str = "",
        on_kill_action: str = "cancel_job",
    ) -> None:
        super().__init__()
        self.name = name
        self.namespace = namespace
        self.uid = uid
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context
        self.get_logs = get_logs
        self.deadline = deadline
        self.operator_timeout_seconds = operator_timeout_seconds
        self.dashboard_url = dashboard_url
        self.on_kill_action = on_kill_action
        self._known_link = ""
        self._pushed_at = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class, and the arguments that are not the defaults.

        A triggerer with an older daskjob rejects arguments that it does not know.
        """
        kind = type(self)
        given = {key: getattr(self, key) for key in _ARGUMENTS}
        known = {key: value for key, value in given.items() if value != _ARGUMENTS[key]}
        return f"{kind.__module__}.{kind.__qualname__}", known

    @property
    def ref(self) -> JobRef:
        """The job."""
        return JobRef(self.name, self.namespace, self.uid)

    # What subclasses for other clouds replace

    def make_hook(self) -> Any:
        """Return the hook whose connection leads to the cluster: any asynchronous one."""
        from daskjob.integrations.airflow.hooks import AsyncDaskJobHook

        return AsyncDaskJobHook(
            conn_id=self.kubernetes_conn_id,
            in_cluster=self.in_cluster,
            config_file=self.config_file,
            cluster_context=self.cluster_context,
        )

    # The wait

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the event of the job's end, or of what keeps this trigger from seeing it."""
        try:
            event = await self._event()
        except NotFound as error:
            event = failed_event(self.ref, "gone", str(error))
        except Forbidden as error:
            text = f"{error} (the triggerer needs it too, not only the workers)"
            event = failed_event(self.ref, "rejected", text, error="Forbidden")
        except DaskJobError as error:
            kind = "error" if error.retryable else "rejected"
            event = failed_event(self.ref, kind, str(error), error="Permanent")
        except AirflowNotFoundException as error:
            event = failed_event(self.ref, "rejected", str(error), error="Permanent")
        except Exception as error:  # The task resumes, whatever has happened here.
            self.log.exception("the trigger of %s failed", self.name)
            event = failed_event(self.ref, "error", f"{type(error).__name__}: {error}")
        yield TriggerEvent({**event, "link": self._known_link})

    async def on_kill(self) -> None:
        """Do what ``on_kill_action`` is: a person has ended the task; no restart calls it."""
        if self.on_kill_action == "keep_job":
            return
        # Airflow may cancel this method a second after it has called it.
        ending = asyncio.create_task(self._end())
        _endings.add(ending)
        ending.add_done_callback(_endings.discard)
        await asyncio.shield(ending)

    async def _end(self) -> None:
        async with asyncio.timeout(KILL_SECONDS), self._client() as client:
            with suppress(NotFound):
                if self.on_kill_action == "delete_job":
                    await client.delete(self.ref, force=True)
                else:
                    await client.cancel(self.ref)
        self.log.info("the task was ended: %s of %s", self.on_kill_action, self.name)

    def _client(self) -> Any:
        return shared_client(self._key, self._made_client)

    @property
    def _key(self) -> Hashable:
        return (
            type(self),
            self.kubernetes_conn_id,
            self.in_cluster,
            self.config_file,
            self.cluster_context,
            self.namespace,
        )

    async def _made_client(self) -> AsyncJobClient:
        # Their imports take a second: the loop goes on meanwhile.
        from daskjob.integrations.airflow.background import imported

        client = await imported("daskjob.submit.client.async_client")
        await imported("daskjob.integrations.airflow.hopeless")
        await imported("daskjob.kube.kubeconfig")
        made: AsyncJobClient
        if type(self).make_hook is not DaskJobTrigger.make_hook:
            hooks = await imported("daskjob.integrations.airflow.hooks")
            made = await hooks.async_job_client(self.make_hook(), self.namespace)
            return made
        lookup = await imported("daskjob.integrations.airflow.lookup")
        given = {
            "in_cluster": self.in_cluster,
            "kube_config_path": self.config_file,
            "cluster_context": self.cluster_context,
        }
        found = await lookup.found_connection_async(self.kubernetes_conn_id, given)
        made = client.AsyncJobClient(
            self.namespace or found.namespace,
            credentials=found.credentials(),
            notify=self.log.warning,
        )
        return made

    async def _event(self) -> dict[str, Any]:
        left = None if self.deadline is None else max(0.0, self.deadline - time.time())
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._client())
            log = asyncio.create_task(self._stream(client)) if self.get_logs else None
            try:
                async with asyncio.timeout(left) as limit:
                    event = await self._seen(client)
            except TimeoutError:
                if not limit.expired():
                    raise
                text = f"{self.name} has not ended within the execution_timeout of its task"
                event = failed_event(self.ref, "timeout", text)
            else:
                if log is not None and event["status"] == "ended":
                    await asyncio.wait({log}, timeout=LOG_SECONDS)
            finally:
                if log is not None:
                    log.cancel()
                    await asyncio.wait({log})
        return event

    async def _seen(self, client: AsyncJobClient) -> dict[str, Any]:
        """Return the event for the end of the job, or for a job that cannot start."""
        began, progress = time.monotonic(), Progress()
        async with aclosing(_or_none(client, self.ref, self.operator_timeout_seconds)) as states:
            async for job, is_new in states:
                if job.status.finished:
                    return event_of(job, "ended")
                waited = time.monotonic() - began
                if found := await self._hopeless(job, waited):
                    return found
                if is_new:
                    if line := progress.line(job, time.monotonic()):
                        self.log.info("%s", line)
                    await self._publish(job)
        raise NotFound(f"{self.name} was deleted before it ended")

    async def _hopeless(self, job: Job, waited: float) -> dict[str, Any] | None:
        from daskjob.integrations.airflow.hopeless import hopeless

        error = hopeless(job, waited, self.operator_timeout_seconds)
        if error is None:
            return None
        name = next(kind.__name__ for kind in type(error).__mro__ if "airflow" in kind.__module__)
        event = event_of(job, "hopeless")
        text = getattr(error, "message", "") or str(error)
        return {**event, "message": text, "error": name, "reason": getattr(error, "reason", "")}

    async def _stream(self, client: AsyncJobClient) -> None:
        """Log the lines of the job; a log that cannot be read fails nothing."""
        lines = Lines()
        try:
            async with aclosing(client.logs(self.ref, follow=True)) as chunks:
                async for chunk in chunks:
                    for number, text in enumerate(lines.of(chunk)):
                        self.log.info("%s", text)
                        if number % 50 == 49:
                            # A program that prints much does not stop the other triggers.
                            await asyncio.sleep(0)
        except DaskJobError as error:
            self.log.warning("the log of %s cannot be read: %s", self.name, error)
        for text in lines.rest():
            self.log.info("%s", text)

    async def _publish(self, job: Job) -> None:
        """Store the link to the dashboard and the job's state for the pages of Airflow."""
        link = dashboard_link(job, self.dashboard_url)
        if link and link != self._known_link:
            self._known_link = link
            self.log.info("Dask dashboard: %s", link)
            await self._push(LINK_KEY, link)
        if time.monotonic() - self._pushed_at >= XCOM_SECONDS:
            self._pushed_at = time.monotonic()
            await self._push("daskjob", summary_of(job))

    async def _push(self, key: str, value: object) -> None:
        ti = self.task_instance
        if ti is None:
            return
        # Airflow below 3.3 has none; nothing depends on it.
        with suppress(Exception):
            from airflow.sdk.bases.xcom import BaseXCom

            await BaseXCom.aset(
                key=key,
                value=value,
                dag_id=ti.dag_id,
                task_id=ti.task_id,
                run_id=ti.run_id,
                map_index=-1 if ti.map_index is None else ti.map_index,
            )


async def _or_none(
    client: AsyncJobClient, ref: JobRef, seconds: float
) -> AsyncGenerator[tuple[Job, bool], None]:
    """Yield the states of a job, each with ``True``; the first one again after some seconds.

    A job without an operator does not change.
    """
    async with aclosing(client.watch(ref)) as states:
        latest: Job | None = None
        pending: asyncio.Task[Job] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(states))
                has_status = latest is None or latest.status.job_status
                done, _ = await asyncio.wait({pending}, timeout=None if has_status else seconds)
                if not done:
                    assert latest is not None
                    yield latest, False
                    continue
                try:
                    latest, pending = pending.result(), None
                except StopAsyncIteration:
                    return
                yield latest, True
        finally:
            if pending is not None and not pending.done():
                pending.cancel()
                await asyncio.wait({pending})


#: What goes on after ``on_kill``: the event loop itself keeps no task alive.
_endings: set[asyncio.Task[None]] = set()
#: The arguments that are stored, each with its default.
_ARGUMENTS: dict[str, Any] = {
    "name": "",
    "namespace": "",
    "uid": "",
    "kubernetes_conn_id": "kubernetes_default",
    "in_cluster": None,
    "config_file": None,
    "cluster_context": None,
    "get_logs": True,
    "deadline": None,
    "operator_timeout_seconds": 60.0,
    "dashboard_url": "",
    "on_kill_action": "cancel_job",
}
