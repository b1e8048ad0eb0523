"""Why an attempt or a job ended or is waiting: one enum, with the meaning of each reason.

``jobStatus`` never has one of these values: its readers know only five (design §2.3). Reasons
are for ``status.reason``, conditions, events, ``failurePolicy.rules[].onReasons`` and exit codes.
"""

from __future__ import annotations

from enum import StrEnum


class ReasonClass(StrEnum):
    """Who or what caused an end; it decides whether a failure is counted, and the exit code."""

    USER = "User"
    INFRASTRUCTURE = "Infrastructure"
    POLICY = "Policy"
    INVALID = "Invalid"


class Reason(StrEnum):
    """The documented reasons (design §3.2)."""

    #: The runner's main container exited by itself with a code other than 0.
    EXIT_CODE = "ExitCode"
    #: The runner's main container exceeded its memory limit and was killed by the kernel.
    OOM_KILLED = "OOMKilled"
    #: The scheduler never became ready: it crashed repeatedly, or its command is wrong.
    SCHEDULER_FAILED = "SchedulerFailed"
    #: No worker ever became ready, and all crash repeatedly: the job can never run a task.
    WORKERS_FAILED = "WorkersFailed"
    #: The packages or the code of a pod cannot be installed, unpacked or fetched. It is not tried
    #: again, unless the network was the cause: then it is, without being counted, and the exit code
    #: is 121.
    ENVIRONMENT_FAILED = "EnvironmentFailed"
    #: The node evicted or did not admit the runner: memory, disk, preemption, capacity.
    EVICTED = "Evicted"
    #: The node of the runner is gone or does not respond.
    NODE_LOST = "NodeLost"
    #: The runner was deleted or killed from outside before it had an exit code.
    RUNNER_LOST = "RunnerLost"
    #: The scheduler was ready and is gone or has restarted: all tasks and results are lost.
    SCHEDULER_LOST = "SchedulerLost"
    #: An image does not exist or may not be pulled, or its registry does not respond.
    IMAGE_PULL = "ImagePull"
    #: No node has room for a pod, or none satisfies its constraints.
    UNSCHEDULABLE = "Unschedulable"
    #: The namespace's quota has no room for a pod.
    QUOTA_EXCEEDED = "QuotaExceeded"
    #: An admission plugin or webhook rejects a pod.
    REJECTED = "Rejected"
    #: A volume cannot be attached or mounted.
    VOLUME_MOUNT = "VolumeMount"
    #: A Secret or ConfigMap that a container needs does not exist, or has no such key.
    CONFIG_MISSING = "ConfigMissing"
    #: A node cannot create or start a container, or set up the network of its pod.
    CONTAINER_FAILED = "ContainerFailed"
    #: Attempts failed more often than ``backoffLimit`` allows.
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
    #: All attempts together took longer than ``activeDeadlineSeconds``.
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    #: One attempt took longer than ``attemptDeadlineSeconds``.
    ATTEMPT_DEADLINE_EXCEEDED = "AttemptDeadlineExceeded"
    #: The runner's container did not start within ``startupDeadlineSeconds``.
    STARTUP_DEADLINE_EXCEEDED = "StartupDeadlineExceeded"
    #: No task made progress for ``stallDeadlineSeconds`` while the runner ran; stallAction is Fail.
    STALLED = "Stalled"
    #: ``cancel`` was set.
    CANCELLED = "Cancelled"
    #: ``suspend`` was set: the attempt was stopped and is not counted.
    SUSPENDED = "Suspended"
    #: The spec cannot work; a retry would fail the same way.
    INVALID_SPEC = "InvalidSpec"
    #: A name that the job needs belongs to another object.
    NAME_CONFLICT = "NameConflict"

    @property
    def reason_class(self) -> ReasonClass:
        """Who or what caused an end with this reason."""
        return _CLASSES[self]


_CLASSES = {
    Reason.EXIT_CODE: ReasonClass.USER,
    Reason.OOM_KILLED: ReasonClass.USER,
    Reason.SCHEDULER_FAILED: ReasonClass.USER,
    Reason.WORKERS_FAILED: ReasonClass.USER,
    Reason.ENVIRONMENT_FAILED: ReasonClass.USER,
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

#: An attempt that ends like this ends the job: a retry would not help, or is not wanted.
FINAL_REASONS = frozenset(
    {
        Reason.DEADLINE_EXCEEDED,
        Reason.CANCELLED,
        Reason.INVALID_SPEC,
        Reason.NAME_CONFLICT,
    }
)
