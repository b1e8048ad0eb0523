"""A full status of each kind: every field differs from its default."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from daskjob.core.names import Kind
from daskjob.core.shapes import Record
from daskjob.core.spec import DaskJob, parse
from daskjob.core.spec.policy import frozen
from daskjob.core.status import (
    AUTOSCALER_STATUS,
    CLUSTER_STATUS,
    GROUP_STATUS,
    JOB_STATUS,
    Attempt,
    AutoscalerStatus,
    ClusterPhase,
    ClusterStatus,
    Condition,
    GroupStatus,
    JobStatus,
    JobStatusWord,
    Progress,
    Workers,
)
from tests.core.specimens import full_job

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=60)
CONDITION = Condition("Stalled", True, "NoProgress", "no task moved", 3, NOW)

FULL_JOB = JobStatus(
    observed_generation=3,
    job_status=JobStatusWord.RUNNING,
    phase="Running",
    cluster_name="sums",
    job_runner_pod_name="sums-runner-1",
    start_time=NOW,
    end_time=LATER,
    reason="ExitCode",
    message="exited with 3",
    exit_code=3,
    attempt=1,
    attempt_start_time=NOW,
    attempts=(Attempt(0, "sums-runner", NOW, LATER, 3, "ExitCode", "exited with 3"),),
    failures=1,
    ignored=2,
    next_attempt_time=LATER,
    active_seconds=5,
    scheduler_identity="uid/container",
    workers_joined_time=NOW,
    workers=Workers(3, 2),
    progress=Progress(10, 4, 3, 2, NOW),
    dashboard_url="http://d",
    scheduler_address="tcp://s:8786",
    result={"sum": 3, "parts": [1, 2.5, None, {"deep": [True]}]},
    report={"tasks": {"total": 3}, "workers": [{"name": "w", "memory": 2**40}], "log": None},
    policy=frozen(parse(DaskJob, full_job()).policy),
    spec_hash="abc",
    ignored_spec_hash="abd",
    updated_at=LATER,
    conditions=(CONDITION,),
)
FULL_CLUSTER = ClusterStatus(
    observed_generation=2,
    phase=ClusterPhase.RUNNING,
    replicas=3,
    ready_replicas=2,
    synced_replicas=3,
    scheduler_failures=1,
    last_failure_time=NOW,
    scheduler_address="tcp://s:8786",
    dashboard_url="http://d",
    selector="a=b",
    updated_at=LATER,
    conditions=(CONDITION,),
)
FULL_GROUP = GroupStatus(2, 3, 2, "a=b", 4, NOW, LATER, (CONDITION,))
FULL_AUTOSCALER = AutoscalerStatus(2, 3, 1, "Wanted", "the scheduler wants 3", NOW, (CONDITION,))

FULL: dict[Kind, JobStatus | ClusterStatus | GroupStatus | AutoscalerStatus] = {
    Kind.JOB: FULL_JOB,
    Kind.CLUSTER: FULL_CLUSTER,
    Kind.GROUP: FULL_GROUP,
    Kind.AUTOSCALER: FULL_AUTOSCALER,
}
RECORDS: dict[Kind, Record] = {
    Kind.JOB: JOB_STATUS,
    Kind.CLUSTER: CLUSTER_STATUS,
    Kind.GROUP: GROUP_STATUS,
    Kind.AUTOSCALER: AUTOSCALER_STATUS,
}
