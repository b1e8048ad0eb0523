"""A work pool's template: the DaskJob of a flow run, with variables for its deployments. Pure."""

from __future__ import annotations

from typing import Any

from daskjob.integrations.prefect.in_pod import ENDED

#: Within it, Prefect ends the flow's process, and the hooks of a cancellation run in another one.
GRACE_SECONDS = 60


def job_template() -> dict[str, Any]:
    """Return the DaskJob that runs a flow, with Prefect's placeholders."""
    runner = _pod("job-runner", {"resources": "{{ runner_resources }}"})
    runner["spec"]["terminationGracePeriodSeconds"] = GRACE_SECONDS
    scheduler = _pod("scheduler", {"args": ["dask", "scheduler"]})
    args = ["dask", "worker", "--nthreads", "1"]
    worker = _pod("worker", {"args": args, "resources": "{{ worker_resources }}"})
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"namespace": "{{ namespace }}"},
        "spec": {
            "backoffLimit": "{{ restarts }}",
            # Prefect retries flows: only a process that was killed is started again.
            "failurePolicy": {"rules": [_ended()]},
            "activeDeadlineSeconds": "{{ timeout_seconds }}",
            "ttlSecondsAfterFinished": "{{ finished_job_ttl }}",
            "job": runner,
            "cluster": {
                "spec": {
                    "scheduler": scheduler,
                    "worker": {"replicas": "{{ n_workers }}", **worker},
                }
            },
        },
    }


def _ended() -> dict[str, Any]:
    return {
        "name": "flow-run-ended",
        "action": "FailJob",
        "onExitCodes": {"operator": "In", "values": [ENDED]},
    }


def _pod(name: str, container: dict[str, Any]) -> dict[str, Any]:
    found = {
        "name": name,
        "image": "{{ image }}",
        "imagePullPolicy": "{{ image_pull_policy }}",
        **container,
    }
    return {"spec": {"serviceAccountName": "{{ service_account_name }}", "containers": [found]}}
