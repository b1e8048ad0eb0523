"""An executor of Dagster that runs each step as a task of Dask workers.

It takes the place of dagster-dask's ``kube`` cluster, whose KubeCluster does not exist any more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dagster import (
    DagsterEvent,
    DagsterEventType,
    Executor,
    Field,
    InitExecutorContext,
    IntSource,
    Noneable,
    Permissive,
    StringSource,
    executor,
    multiple_process_executor_requirements,
)
from dagster._core.errors import DagsterError, raise_execution_interrupts
from dagster._core.execution.api import create_execution_plan, execute_plan
from dagster._core.execution.retries import RetryMode
from dagster._core.instance import DagsterInstance
from dagster._utils import iterate_with_context

from daskjob.core.names import ENV_SCHEDULER_ADDRESS

_CONFIG = {
    "address": Field(
        Noneable(StringSource),
        is_required=False,
        description="The address of a running scheduler. By default $DASK_SCHEDULER_ADDRESS, which "
        "the runner of a DaskJob has; without it, a KubeCluster is started for the run.",
    ),
    "image": Field(
        Noneable(StringSource),
        is_required=False,
        description="The image of scheduler and workers; it has Dagster and the user's code.",
    ),
    "n_workers": Field(IntSource, is_required=False, description="The number of workers."),
    "adapt": Field(
        {"minimum": IntSource, "maximum": IntSource},
        is_required=False,
        description="Bounds within which the number of workers follows the steps.",
    ),
    "namespace": Field(Noneable(StringSource), is_required=False),
    "cluster": Field(
        Permissive(), is_required=False, description="More arguments of daskjob.KubeCluster."
    ),
}

#: Dagster redirects the output of the process while it runs a step: two in one process block each
#: other for ever. So a worker with several threads runs one step at a time.
_one_step = threading.Lock()


class StepLost(DagsterError):
    """Dask could not run a step to its end: a worker was killed. The run fails."""


@executor(
    name="daskjob", requirements=multiple_process_executor_requirements(), config_schema=_CONFIG
)
def daskjob_executor(init_context: InitExecutorContext) -> Executor:
    """Run each step on a Dask worker: of the DaskJob around it, or of a KubeCluster for the run.

    Workers need the user's code, and an instance of Dagster whose storage they can reach.
    """
    return DaskJobExecutor(init_context.executor_config)


class DaskJobExecutor(Executor):
    """Submits the steps of a run to Dask, each after those that it depends on."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    @property
    def retries(self) -> RetryMode:
        """A worker retries a step as its RetryPolicy says."""
        return RetryMode.ENABLED

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[DagsterEvent]:
        """Yield the events of all steps."""
        from distributed import as_completed

        with self._client(plan_context.job_name, plan_context.run_id) as client:
            futures = _submitted(client, plan_context, execution_plan)
            done = as_completed(futures, loop=client.loop, with_results=True, raise_errors=False)
            for future, result in iterate_with_context(raise_execution_interrupts, done):
                if future.status != "finished":
                    raise StepLost(f"{future.key} did not end: {_cause(result)}")
                yield from result

    @contextmanager
    def _client(self, job: str, run_id: str) -> Iterator[Any]:
        """Connect to the scheduler; start a cluster for the run if there is none."""
        from distributed import Client

        address = self._config.get("address") or os.environ.get(ENV_SCHEDULER_ADDRESS)
        if address:
            with Client(address, set_as_default=False) as client:
                yield client
            return
        from daskjob import KubeCluster

        with KubeCluster(**cluster_arguments(self._config, job, run_id)) as cluster:
            if adapt := self._config.get("adapt"):
                cluster.adapt(**adapt)
            with Client(cluster, set_as_default=False) as client:
                yield client


def cluster_arguments(config: Mapping[str, Any], job: str, run_id: str) -> dict[str, Any]:
    """Return the arguments of the KubeCluster of a run."""
    from daskjob.core.names import generated_prefix

    named = {
        key: config[key]
        for key in ("image", "n_workers", "namespace")
        if config.get(key) is not None
    }
    # The first digits of the run's id are in Dagster's lists.
    name = f"{generated_prefix(job)[:30].rstrip('-')}-{run_id[:8]}"
    found = {"name": name, "quiet": True, **named, **(config.get("cluster") or {})}
    spec = found.get("custom_cluster_spec")
    if isinstance(spec, Mapping):
        # Its own name would be that of the clusters of all runs.
        meta = {**(spec.get("metadata") or {}), "name": found["name"]}
        found["custom_cluster_spec"] = {**spec, "metadata": meta}
    return found


def _submitted(client: Any, plan_context: Any, execution_plan: Any) -> list[Any]:
    futures: dict[str, Any] = {}
    for level in execution_plan.get_steps_to_execute_by_level():
        for step in level:
            needed = {key for each in step.step_inputs for key in each.dependency_keys}
            futures[step.key] = client.submit(
                _run_step,
                # Dask starts it after these.
                [futures[key] for key in needed if key in futures],
                plan_context.reconstructable_job,
                plan_context.dagster_run,
                plan_context.run_config,
                [step.key],
                plan_context.instance.get_ref(),
                execution_plan.known_state,
                key=f"{step.key}-{plan_context.run_id[:8]}",
                # A step has effects; it is Dagster that retries it.
                pure=False,
                retries=0,
            )
    return list(futures.values())


def _run_step(
    after: Sequence[object],
    job: Any,
    run: Any,
    run_config: Any,
    step_keys: Sequence[str],
    instance_ref: Any,
    known_state: Any,
) -> list[DagsterEvent]:
    """Run a step, on a worker; return its events."""
    del after
    with _one_step, DagsterInstance.from_ref(instance_ref) as instance:
        _check_first(instance, run.run_id, step_keys)
        subset = job.get_subset(op_selection=run.resolved_op_selection)
        plan = create_execution_plan(
            subset, run_config=run_config, step_keys_to_execute=step_keys, known_state=known_state
        )
        return list(
            execute_plan(
                plan,
                subset,
                instance,
                run,
                run_config=run_config,
                retry_mode=RetryMode.ENABLED,
            )
        )


def _check_first(instance: DagsterInstance, run_id: str, step_keys: Sequence[str]) -> None:
    """Reject a step that has started before: Dask runs again what a lost worker was running.

    A step has effects, so only Dagster decides whether it is tried again.
    """
    started = instance.all_logs(run_id, of_type=DagsterEventType.STEP_START)
    if any(entry.step_key in step_keys for entry in started):
        raise StepLost("the worker that was running it is lost")


def _cause(result: Any) -> object:
    """Return the exception of a future that failed; distributed gives it with its traceback."""
    return result[1] if isinstance(result, tuple) and len(result) > 1 else result
