"""The job of the doctor: the smallest one that uses a worker, as ``daskjob submit`` makes it."""

from __future__ import annotations

import secrets

from daskjob.core.manifests import Manifest
from daskjob.submit.cluster_job.job import script_job
from daskjob.submit.cluster_job.program import Program
from daskjob.submit.settings.table import Settings

PREFIX = "daskjob-doctor"
#: If the doctor is killed.
SECONDS = 300
_CODE = (
    "from distributed import Client\n"
    "with Client() as client:\n"
    "    print(client.submit(sum, range(4)).result())\n"
)


def small_job(image: str) -> Manifest:
    """Return the job, under a name of its own."""
    settings = Settings(
        image=image,
        workers=1,
        cpu="100m",
        memory="400Mi",
        runner_cpu="100m",
        runner_memory="300Mi",
        scheduler_cpu="100m",
        scheduler_memory="300Mi",
        name=f"{PREFIX}-{secrets.token_hex(4)}",
        deadline=SECONDS,
        ttl=60,
    )
    program = Program(("python", "-c", _CODE), PREFIX)
    return script_job(program, settings).manifest


def pods_of(job: Manifest) -> dict[str, Manifest]:
    """Return the specs of its three pods, by their role."""
    cluster = job["spec"]["cluster"]["spec"]
    return {
        "runner": job["spec"]["job"]["spec"],
        "scheduler": cluster["scheduler"]["spec"],
        "worker": cluster["worker"]["spec"],
    }


def pod(spec: Manifest, namespace: str) -> Manifest:
    """Return a pod with one of these specs, for a check."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{PREFIX}-{secrets.token_hex(4)}",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": PREFIX},
        },
        "spec": {
            **spec,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": SECONDS,
            "terminationGracePeriodSeconds": 0,
        },
    }
