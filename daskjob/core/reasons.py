"""Why an attempt or a job ended, or what it waits for: one enum, each word with its situation.

No I/O here. ``jobStatus`` never takes one of these: outside readers know five words only (design
§2.3). Reasons are for ``status.reason``, conditions, events, ``failurePolicy.rules[].onReasons``
and exit codes.
"""

from __future__ import annotations

from enum import StrEnum


class ReasonClass(StrEnum):
    """Whose doing an end was; it decides whether a failure is counted, and the exit code."""

    USER = "User"
    INFRASTRUCTURE = "Infrastructure"
    POLICY = "Policy"
    INVALID = "Invalid"


class Reason(StrEnum):
    """The documented reasons (design §3.2)."""

    #: The runner's main container exited with a code other than 0, of its own accord.
    EXIT_CODE = "ExitCode"
    #: The runner's main container needed more memory than its limit and was killed by the kernel.
    OOM_KILLED = "OOMKilled"
    #: The scheduler never answered: it crashed again and again, or its command is wrong.
    SCHEDULER_FAILED = "SchedulerFailed"
    #: No worker ever became ready and they crash again and again: the job can never run a task.
    WORKERS_FAILED = "WorkersFailed"
    #: The node pushed the runner out, or never let it in: memory, disk, preemption, capacity.
    EVICTED = "Evicted"
    #: The node of the runner is gone or does not answer.
    NODE_LOST = "NodeLost"
    #: The runner was deleted or killed from outside before it had an exit code.
    RUNNER_LOST = "RunnerLost"
    #: The scheduler had answered and is gone or has restarted: every task and result is lost.
    SCHEDULER_LOST = "SchedulerLost"
    #: An image does not exist, may not be pulled, or its registry does not answer.
    IMAGE_PULL = "ImagePull"
    #: No node has room for a pod, or none fits its constraints.
    UNSCHEDULABLE = "Unschedulable"
    #: The namespace's quota has no room for a pod.
    QUOTA_EXCEEDED = "QuotaExceeded"
    #: An admission plugin or webhook refuses a pod.
    REJECTED = "Rejected"
    #: A volume cannot be attached or mounted.
    VOLUME_MOUNT = "VolumeMount"
    #: A Secret or ConfigMap that a container needs does not exist, or lacks a key.
    CONFIG_MISSING = "ConfigMissing"
    #: A node cannot create or start a container, or gives its pod no network.
    CONTAINER_FAILED = "ContainerFailed"
    #: Attempts failed more often than ``backoffLimit`` allows.
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
    #: All attempts together took longer than ``activeDeadlineSeconds``.
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    #: One attempt took longer than ``attemptDeadlineSeconds``.
    ATTEMPT_DEADLINE_EXCEEDED = "AttemptDeadlineExceeded"
    #: The runner's container did not run within ``startupDeadlineSeconds``.
    STARTUP_DEADLINE_EXCEEDED = "StartupDeadlineExceeded"
    #: No task moved for ``stallDeadlineSeconds`` while the runner ran, and stallAction is Fail.
    STALLED = "Stalled"
    #: Somebody set ``cancel``.
    CANCELLED = "Cancelled"
    #: Somebody set ``suspend``: the attempt was torn down and is not counted.
    SUSPENDED = "Suspended"
    #: The spec cannot work, however often it is tried.
    INVALID_SPEC = "InvalidSpec"
    #: A name that the job needs belongs to an object that is not the job's.
    NAME_CONFLICT = "NameConflict"

    @property
    def reason_class(self) -> ReasonClass:
        """Whose doing an end with this reason was."""
        return _CLASSES[self]


_CLASSES = {
    Reason.EXIT_CODE: ReasonClass.USER,
    Reason.OOM_KILLED: ReasonClass.USER,
    Reason.SCHEDULER_FAILED: ReasonClass.USER,
    Reason.WORKERS_FAILED: ReasonClass.USER,
    Reason.EVICTED: ReasonClass.INFRASTRUCTURE,
    Reason.NODE_LOST: ReasonClass.INFRASTRUCTURE,
    Reason.RUNNER_LOST: ReasonClass.INFRASTRUCTURE,
    Reason.SCHEDULER_LOST: ReasonClass.INFRASTRUCTURE,
    Reason.IMAGE_PULL: ReasonClass.INFRASTRUCTURE,
    Reason.UNSCHEDULABLE: ReasonClass.INFRASTRUCTURE,
    Reason.QUOTA_EXCEEDED: ReasonClass.INFRASTRUCTURE,
    Reason.REJECTED: ReasonClass.INFRASTRUCTURE,
    Reason.VOLUME_MOUNT: ReasonClass.INFRASTRUCTURE,
    Reason.CONFIG_MISSING: ReasonClass.INFRASTRUCTURE,
    Reason.CONTAINER_FAILED: ReasonClass.INFRASTRUCTURE,
    Reason.BACKOFF_LIMIT_EXCEEDED: ReasonClass.POLICY,
    Reason.DEADLINE_EXCEEDED: ReasonClass.POLICY,
    Reason.ATTEMPT_DEADLINE_EXCEEDED: ReasonClass.POLICY,
    Reason.STARTUP_DEADLINE_EXCEEDED: ReasonClass.POLICY,
    Reason.STALLED: ReasonClass.POLICY,
    Reason.CANCELLED: ReasonClass.POLICY,
    Reason.SUSPENDED: ReasonClass.POLICY,
    Reason.INVALID_SPEC: ReasonClass.INVALID,
    Reason.NAME_CONFLICT: ReasonClass.INVALID,
}

#: An attempt with such an end ends the job: trying again cannot change it, or nobody wants it.
FINAL_REASONS = frozenset(
    {
        Reason.DEADLINE_EXCEEDED,
        Reason.CANCELLED,
        Reason.INVALID_SPEC,
        Reason.NAME_CONFLICT,
    }
)
