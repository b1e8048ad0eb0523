"""Prefect's tasks on Dask: on the job's own cluster, and with the truth about lost workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import distributed
from distributed.scheduler import KilledWorker
from prefect.context import FlowRunContext
from prefect.states import Crashed
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from daskjob.core.errors import WrongType

ADDRESS = "DASK_SCHEDULER_ADDRESS"
_TABLES = {
    "cluster": '{"n_workers": 4}',
    "adapt": '{"minimum": 1, "maximum": 10}',
    "client": '{"timeout": 30}',
}


class DaskJobFuture(PrefectDaskFuture):
    """A task on Dask, which also ends if its workers die.

    prefect-dask leaves such a task run in the state Running.
    """

    submitted: Submitted | None = None

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the task; afterwards, its state is final unless the time was over."""
        try:
            found = self._wrapped_future.result(timeout=timeout)
        except distributed.TimeoutError:
            return
        except Exception as error:
            # What the task itself raises is in a state: this is of Dask, or of its worker.
            self._crash(error)
            return
        self._take(found)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Return the result of the task."""
        if self._final_state is None:
            self.wait(timeout)
        if self._final_state is None:
            return super().result(timeout=timeout, raise_on_failure=raise_on_failure)
        return self._final_state.result(raise_on_failure=raise_on_failure, _sync=True)

    @property
    def state(self) -> Any:
        """The state of the task run; of a task that Dask has lost, Crashed."""
        if self._final_state is None and self._wrapped_future.status in (
            "error",
            "cancelled",
            "lost",
        ):
            self.wait()
        return self._final_state or super().state

    def _take(self, found: Any) -> None:
        from prefect.client.schemas.objects import State

        if isinstance(found, State):
            self._final_state = found

    def _crash(self, error: BaseException) -> None:
        state = Crashed(message=lost_text(error), data=error)
        self._final_state = state
        if self.submitted is not None:
            _report(self.task_run_id, self.submitted, state)


def lost_text(error: BaseException) -> str:
    """Return what became of a task, for its state."""
    if isinstance(error, KilledWorker):
        return (
            f"{type(error).__name__}: the workers that ran the task died "
            f"{error.allowed_failures + 1} times, such as for want of memory; "
            "the log of the workers shows how"
        )
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Submitted:
    """A task run, as the flow knows it."""

    name: str
    task_key: str
    flow_run_id: Any
    tags: frozenset[str]


def _report(task_run_id: Any, submitted: Submitted, state: Any) -> None:
    """Emit the state of a task run, from which the server records it.

    The process that ran the task emits them otherwise; it may not have come so far.
    """
    from prefect.client.schemas.objects import TaskRun
    from prefect.logging.loggers import get_logger
    from prefect.utilities.engine import emit_task_run_state_change_event

    run = TaskRun(
        id=task_run_id,
        name=submitted.name,
        task_key=submitted.task_key,
        dynamic_key=str(task_run_id),
        flow_run_id=submitted.flow_run_id,
        tags=sorted(submitted.tags),
        state=state,
    )
    try:
        # Without the exception, which the server does not take.
        emit_task_run_state_change_event(run, None, Crashed(message=state.message))
    except Exception as error:
        # The flow run has the state in any case.
        get_logger("daskjob").warning("the state of %s was not reported: %s", run.name, error)


class DaskJobTaskRunner(DaskTaskRunner):
    """Runs tasks on the Dask cluster of the job, inside a DaskJob; elsewhere on a KubeCluster.

    ::

        @flow(task_runner=DaskJobTaskRunner())
        def nightly(): ...

    Without arguments it takes ``DASK_SCHEDULER_ADDRESS``, which every DaskJob sets. Without that
    variable it creates a ``daskjob.KubeCluster`` of ``cluster_kwargs``. All arguments are those of
    ``prefect_dask.DaskTaskRunner``. In a flow that is packed here and run in a job, it is the job
    that has the variable.
    """

    def __init__(
        self,
        cluster: Any = None,
        address: str | None = None,
        cluster_class: str | Callable[[], Any] | None = None,
        cluster_kwargs: dict[str, Any] | None = None,
        adapt_kwargs: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
        performance_report_path: str | None = None,
    ) -> None:
        tables = {"cluster": cluster_kwargs, "adapt": adapt_kwargs, "client": client_kwargs}
        for name, value in tables.items():
            if value is not None and not isinstance(value, dict):
                raise WrongType(
                    f"DaskJobTaskRunner: {name}_kwargs: {value!r:.80} is not allowed; write a "
                    f"dictionary, such as {_TABLES[name]}"
                )
        self._given: tuple[Any, ...] | None = None
        if not (cluster or address or cluster_class):
            own = (cluster_kwargs, adapt_kwargs, client_kwargs, performance_report_path)
            self._given = (None, None, None, *own)
            # Inside a job, its cluster is there: what a cluster elsewhere would be is not needed.
            address = os.environ.get(ADDRESS) or None
            if address:
                cluster_kwargs = adapt_kwargs = None
            else:
                cluster_class = "daskjob.KubeCluster"
        super().__init__(
            cluster=cluster,
            address=address,
            cluster_class=cluster_class,
            cluster_kwargs=cluster_kwargs,
            adapt_kwargs=adapt_kwargs,
            client_kwargs=client_kwargs,
            performance_report_path=performance_report_path,
        )

    def __reduce__(self) -> Any:
        """Let the process that unpickles it look for its own cluster."""
        if self._given is None:
            return super().__reduce__()
        return type(self), self._given

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Any = None,
        dependencies: Any = None,
    ) -> DaskJobFuture:
        """Submit a task to the Dask cluster."""
        made = super().submit(task, parameters, wait_for=wait_for, dependencies=dependencies)
        future = DaskJobFuture(wrapped_future=made.wrapped_future, task_run_id=made.task_run_id)
        context: Any = FlowRunContext.get()
        future.submitted = Submitted(
            name=f"{task.name}-{str(made.task_run_id)[:3]}",
            task_key=task.task_key,
            flow_run_id=getattr(getattr(context, "flow_run", None), "id", None),
            tags=frozenset(task.tags),
        )
        return future
