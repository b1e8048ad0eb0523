"""A task that waits for its job in the triggerer: before it, after it, and after its failures."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import mapping
from daskjob.core.status import JobStatus
from daskjob.integrations.airflow import errors
from daskjob.integrations.airflow.access import ClusterAccess
from daskjob.integrations.airflow.following import Follower
from daskjob.integrations.airflow.summary import ref_in, status_in
from daskjob.integrations.airflow.task import Task
from daskjob.integrations.airflow.triggers import DaskJobTrigger
from daskjob.submit.jobs import JobRef

#: How often a trigger that crashed is started again for one try.
MOST_CRASHES = 3
#: How long after ``execution_timeout`` Airflow ends the deferral itself, if no trigger does.
DEFERRAL_PAD_SECONDS = 120


class Deferral(ClusterAccess):
    """The part of ``DaskJobOperator`` that leaves the wait to a trigger.

    It is no operator: of one without an ``__init__`` of its own, mapped tasks would have no inlets,
    and Airflow fails with them.
    """

    trigger_cls: ClassVar[type[DaskJobTrigger]] = DaskJobTrigger
    get_logs: bool
    operator_timeout_seconds: float
    dashboard_url: str
    on_kill_action: str
    #: The address of the dashboard, for the link.
    known_dashboard: str
    _follower: Follower | None
    if TYPE_CHECKING:
        execution_timeout: timedelta | None
        defer: Any

        # Of the operator.
        def _open(self) -> AbstractContextManager[None]: ...
        def _run(self, task: Task) -> Any: ...
        def _end(self, ref: JobRef) -> None: ...
        def _concluded(self, ref: JobRef, status: JobStatus, result: object) -> Any: ...

    def _defer(self, task: Task, ref: JobRef) -> NoReturn:
        timeout = self._timeout_seconds
        left = None if timeout is None else task.started_at + timeout
        pad = None if timeout is None else max(1.0, timeout + DEFERRAL_PAD_SECONDS)
        self.defer(
            trigger=self.trigger_cls(**self.trigger_arguments(ref), deadline=left),
            method_name="execute_complete",
            timeout=pad,
        )
        raise AssertionError("a task that waits in the triggerer goes on in execute_complete")

    def trigger_arguments(self, ref: JobRef) -> dict[str, Any]:
        """Return the arguments of the trigger, for subclasses to extend."""
        return {
            "name": ref.name,
            "namespace": ref.namespace,
            "uid": ref.uid,
            **self.access_arguments,
            "get_logs": self.get_logs,
            "operator_timeout_seconds": self.operator_timeout_seconds,
            "dashboard_url": self.dashboard_url,
            "on_kill_action": self.on_kill_action,
        }

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        """Take the event of the trigger, as ``execute`` takes the end of the job."""
        self._follower = Follower()
        event = event or {"status": "error", "message": "the trigger sent an empty event"}
        task, kind = Task(context), str(event.get("status"))
        self.known_dashboard = str(event.get("link") or "")
        with self._open():
            if kind == "ended":
                task.push("daskjob", event["daskjob"])
                return self._concluded(ref_in(event), status_in(event), event.get("result"))
            if kind == "error":
                return self._again(task, str(event.get("message")))
            raise self._failure(event, kind)

    def _failure(self, event: Mapping[str, Any], kind: str) -> DaskJobError:
        ref, message = ref_in(event), str(event.get("message") or kind)
        if kind == "gone":
            return errors.NotFound(message)
        self.log.error("%s is cancelled: %s", ref.name, message)
        self._end(ref)
        if kind == "timeout":
            return errors.Timeout(message)
        return errors.by_name(str(event.get("error") or ""), message, mapping(event))

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any
    ) -> Any:
        """Resume after the triggerer; also if the trigger crashed, or its time was over."""
        try:
            return super().resume_execution(  # type: ignore[misc]
                next_method, next_kwargs, context
            )
        except TaskDeferralTimeout:
            ref, _number = Task(context).remembered()
            with self._open():
                if ref is not None:
                    self._end(ref)
            raise
        except TaskDeferralError as error:
            with self._open():
                return self._again(Task(context), str(error))

    def _again(self, task: Task, message: str) -> Any:
        """Follow the job again after the trigger failed; it goes on meanwhile."""
        count = task.count_crash()
        if count > MOST_CRASHES:
            raise errors.ApiError(
                f"the trigger failed {count} times; the job continues, and the next try follows "
                f"it: {message}"
            )
        self.log.warning("the trigger failed and is started again: %s", message)
        return self._run(task)

    @property
    def _timeout_seconds(self) -> float | None:
        return self.execution_timeout.total_seconds() if self.execution_timeout else None
