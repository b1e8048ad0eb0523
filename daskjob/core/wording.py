"""The words of messages: those of a manifest, or those of a script and its options.

Who ran a script knows neither pods nor the fields of a DaskJob (design §5.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from daskjob.core.names import ANNOTATION_SCRIPT, SUBMITTED_SCRIPT

#: How to install the operator and the CRDs.
HOW_TO_INSTALL = "daskjob install"


@dataclass(frozen=True, slots=True)
class Words:
    """How messages name things, and the options that change them."""

    is_script: bool
    runner: str
    #: Options or fields.
    job_deadline: str
    memory: str
    runner_memory: str
    retries: str
    workers: str
    #: How workers offer a resource; ``{name}`` is its name.
    resources: str

    def of_pod(self, name: str) -> str:
        """Return the pod's name in brackets; empty for a script, which has no pods."""
        return "" if self.is_script else f" (pod {name})"

    def of_reason(self, reason: str) -> str:
        """Return the reason of a status in brackets; empty for a script."""
        return f" ({reason})" if reason and not self.is_script else ""

    def worker(self, name: str) -> str:
        """Return how a worker is named: without the job's name for a script."""
        if not self.is_script:
            return f"worker {name}"
        return f"worker {name.rpartition('-worker-')[2]}"


OF_MANIFESTS = Words(
    is_script=False,
    runner="the runner",
    job_deadline="activeDeadlineSeconds",
    memory="resources.limits.memory and --memory-limit of the workers",
    runner_memory="resources.limits.memory",
    retries="backoffLimit",
    workers="worker.replicas",
    resources="--resources {name}=1 in the command of the workers",
)
OF_SCRIPTS = Words(
    is_script=True,
    runner="the script",
    job_deadline="--timeout",
    memory="--memory",
    runner_memory="--memory",
    retries="--retries",
    workers="--workers N",
    resources="--env DASK_DISTRIBUTED__WORKER__RESOURCES='{{\"{name}\": 1}}'",
)


#: Of a script on a cluster: ``--timeout`` of ``submit`` is that of the command, not of the job.
OF_SUBMITTED_SCRIPTS = replace(
    OF_SCRIPTS, job_deadline="--deadline", runner_memory="--runner-memory"
)


def words_for(annotations: Mapping[str, object]) -> Words:
    """Return the words for a job with these annotations."""
    if annotations.get(ANNOTATION_SCRIPT) == SUBMITTED_SCRIPT:
        return OF_SUBMITTED_SCRIPTS
    return OF_SCRIPTS if ANNOTATION_SCRIPT in annotations else OF_MANIFESTS
