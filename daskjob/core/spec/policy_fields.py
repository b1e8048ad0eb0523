"""What a job's policy is written with: its words, defaults, limits, and rules. No I/O here."""

from __future__ import annotations

from enum import StrEnum

from daskjob.core.reasons import FINAL_REASONS, Reason
from daskjob.core.shapes import Choice, Integer, Many, Number, Record, Rule, Text


class Action(StrEnum):
    """What a failure rule does with an attempt that it matches."""

    FAIL_JOB = "FailJob"
    IGNORE = "Ignore"
    COUNT = "Count"


class Restart(StrEnum):
    """On what the next attempt runs."""

    CLUSTER = "Cluster"
    RUNNER = "Runner"


class OnSchedulerLoss(StrEnum):
    """What the loss of a scheduler means for an attempt."""

    FAIL = "Fail"
    IGNORE = "Ignore"


class StallAction(StrEnum):
    """What a stall leads to."""

    REPORT = "Report"
    FAIL = "Fail"


class Deletion(StrEnum):
    """What goes when a job has ended."""

    DELETE_CLUSTER = "DeleteCluster"
    DELETE_WORKERS = "DeleteWorkers"
    KEEP = "Keep"


class RunnerStart(StrEnum):
    """When the runner is created."""

    AT_ONCE = "AtOnce"
    AFTER_SCHEDULER = "AfterScheduler"
    AFTER_WORKERS = "AfterWorkers"


class Operator(StrEnum):
    """How a rule's exit codes are meant."""

    IN = "In"
    NOT_IN = "NotIn"


#: batch/v1's default, for jobs whose documented restart policy is OnFailure.
DEFAULT_BACKOFF_LIMIT = 6
DEFAULT_BACKOFF_INITIAL_SECONDS = 10
DEFAULT_BACKOFF_FACTOR = 2.0
DEFAULT_BACKOFF_MAX_SECONDS = 360
#: Infrastructure failures that are tried again without being counted.
DEFAULT_MAX_IGNORED = 10
DEFAULT_PROGRESS_SECONDS = 30
#: How long a job waits for the DaskCluster that its ``clusterRef`` names.
CLUSTER_REF_STARTUP_SECONDS = 60
#: As batch/v1 bounds its podFailurePolicy.
MOST_RULES = 20
MOST_EXIT_CODES = 255
LARGEST_EXIT_CODE = 255
#: What a rule may speak of: an end that ends the job whatever a rule says is not among it.
RULE_REASONS = tuple(r for r in Reason if r not in FINAL_REASONS and r is not Reason.SUSPENDED)

BACKOFF_LIMIT = Integer(
    "backoffLimit",
    f"How many failed attempts are tried again; absent: {DEFAULT_BACKOFF_LIMIT} with restartPolicy "
    "OnFailure, 0 with Never.",
)

INITIAL_SECONDS = Integer(
    "initialSeconds",
    f"Seconds before the second attempt; absent: {DEFAULT_BACKOFF_INITIAL_SECONDS}.",
)
FACTOR = Number(
    "factor",
    f"By what the wait grows with every failure; absent: {DEFAULT_BACKOFF_FACTOR:g}.",
    minimum=1,
)
MAX_SECONDS = Integer(
    "maxSeconds",
    f"The longest wait in seconds; absent: {DEFAULT_BACKOFF_MAX_SECONDS}.",
)
LONGEST_IS_LONGER = Rule(
    f"(has(self.maxSeconds) ? self.maxSeconds : {DEFAULT_BACKOFF_MAX_SECONDS}) >="
    f" (has(self.initialSeconds) ? self.initialSeconds : {DEFAULT_BACKOFF_INITIAL_SECONDS})",
    "write at least initialSeconds",
    ".maxSeconds",
)
BACKOFF = Record(
    "backoff",
    "How long a failed job waits before it is tried again.",
    (INITIAL_SECONDS, FACTOR, MAX_SECONDS),
    rules=(LONGEST_IS_LONGER,),
)

RULE_NAME = Text("name", "What the rule is for.")
ACTION = Choice(
    "action",
    "FailJob: the job ends; Ignore: it is tried again, uncounted; Count: tried again and counted.",
    Action,
    required="write one of " + ", ".join(Action),
)
OPERATOR = Choice(
    "operator", "Whether the codes are those meant, or all others.", Operator, "write In or NotIn"
)
VALUES = Many(
    "values",
    f"Exit codes, up to {LARGEST_EXIT_CODE}; 0 is no failure.",
    Integer("", "An exit code.", maximum=LARGEST_EXIT_CODE),
    required=f"write a list of exit codes from 1 to {LARGEST_EXIT_CODE}",
    at_most=MOST_EXIT_CODES,
)
FAILURES_ONLY = Rule(
    f"self.operator == '{Operator.NOT_IN}' || self.values.all(code, code != 0)",
    f"write exit codes from 1 to {LARGEST_EXIT_CODE} (0 is no failure)",
    ".values",
)
ON_EXIT_CODES = Record(
    "onExitCodes",
    "The exit codes of the runner's main container that the rule is about.",
    (OPERATOR, VALUES),
    rules=(FAILURES_ONLY,),
)
ON_REASONS = Many(
    "onReasons",
    "The reasons of an attempt's end that the rule is about.",
    Choice("", "A reason.", Reason, only=RULE_REASONS),
)
ABOUT_SOMETHING = Rule(
    "has(self.onExitCodes) || has(self.onReasons)",
    "give the rule onExitCodes, onReasons, or both",
)
RULES = Many(
    "rules",
    "What to do with a failed attempt; the first rule that matches is followed.",
    Record(
        "",
        "A rule: with codes and reasons both have to match.",
        (RULE_NAME, ACTION, ON_EXIT_CODES, ON_REASONS),
        rules=(ABOUT_SOMETHING,),
    ),
    at_most=MOST_RULES,
)
MAX_IGNORED = Integer(
    "maxIgnored",
    f"How many infrastructure failures are tried again uncounted; absent: {DEFAULT_MAX_IGNORED}.",
)
RESTART = Choice(
    "restart",
    "On what the next attempt runs: Cluster (absent): a fresh one; Runner: the same cluster.",
    Restart,
)
FAILURE_POLICY = Record(
    "failurePolicy", "Which failures are tried again, and how.", (RULES, MAX_IGNORED, RESTART)
)

ON_SCHEDULER_LOSS = Choice(
    "onSchedulerLoss",
    "Whether the loss of the scheduler, and with it of every task, fails the attempt; "
    "absent: Fail.",
    OnSchedulerLoss,
)
ACTIVE_DEADLINE_SECONDS = Integer(
    "activeDeadlineSeconds",
    "How long all attempts together may take; the clock stands still while suspended.",
    minimum=1,
)
ATTEMPT_DEADLINE_SECONDS = Integer(
    "attemptDeadlineSeconds", "How long one attempt may take.", minimum=1
)
STARTUP_DEADLINE_SECONDS = Integer(
    "startupDeadlineSeconds",
    "How long an attempt may take until its runner runs; absent: for ever, with clusterRef "
    f"{CLUSTER_REF_STARTUP_SECONDS}.",
    minimum=1,
)
STALL_DEADLINE_SECONDS = Integer(
    "stallDeadlineSeconds",
    "How long no task may move, while the runner runs, until the job counts as stalled.",
    minimum=1,
)
STALL_ACTION = Choice(
    "stallAction", "What a stall leads to: Report (absent) a condition; Fail the job.", StallAction
)
TTL_SECONDS_AFTER_FINISHED = Integer(
    "ttlSecondsAfterFinished",
    "How long after its end the job is deleted, its runner and log with it; absent: never.",
    minimum=1,
)
ON_SUCCESS = Choice("onSuccess", "What goes after success; absent: DeleteCluster.", Deletion)
ON_FAILURE = Choice("onFailure", "What goes after a failure; absent: DeleteCluster.", Deletion)
DELETION_POLICY = Record(
    "deletionPolicy",
    "What goes when the job has ended; its runner stays with it.",
    (ON_SUCCESS, ON_FAILURE),
)
RUNNER_START = Choice(
    "runnerStart",
    "When the runner is created: AtOnce (absent), AfterScheduler answers, AfterWorkers are ready.",
    RunnerStart,
)
MIN_AVAILABLE_WORKERS = Integer(
    "minAvailableWorkers",
    "With runnerStart AfterWorkers, how many workers have to be ready; absent: all.",
    minimum=1,
)
INTERVAL_SECONDS = Integer(
    "intervalSeconds",
    f"How often progress is written into the status; 0: never; absent: {DEFAULT_PROGRESS_SECONDS}.",
)
PROGRESS = Record("progress", "How the job's progress is told.", (INTERVAL_SECONDS,))

#: Fields of the spec that make up the policy.
POLICY_FIELDS = (
    BACKOFF_LIMIT,
    BACKOFF,
    FAILURE_POLICY,
    ON_SCHEDULER_LOSS,
    ACTIVE_DEADLINE_SECONDS,
    ATTEMPT_DEADLINE_SECONDS,
    STARTUP_DEADLINE_SECONDS,
    STALL_DEADLINE_SECONDS,
    STALL_ACTION,
    TTL_SECONDS_AFTER_FINISHED,
    DELETION_POLICY,
    RUNNER_START,
    MIN_AVAILABLE_WORKERS,
    PROGRESS,
)
#: Of these, what a running job still follows when it is given explicitly (design §3.1).
MUTABLE_FIELDS = (
    ACTIVE_DEADLINE_SECONDS,
    ATTEMPT_DEADLINE_SECONDS,
    STARTUP_DEADLINE_SECONDS,
    STALL_DEADLINE_SECONDS,
    TTL_SECONDS_AFTER_FINISHED,
)

AFTER_WORKERS = Rule(
    "!has(self.minAvailableWorkers) ||"
    f" (has(self.runnerStart) && self.runnerStart == '{RunnerStart.AFTER_WORKERS}')",
    f"it goes with runnerStart: {RunnerStart.AFTER_WORKERS}",
    ".minAvailableWorkers",
)
ONLY_RUNNER = Rule(
    "!has(self.clusterRef) || !has(self.failurePolicy) || !has(self.failurePolicy.restart)"
    f" || self.failurePolicy.restart == '{Restart.RUNNER}'",
    f"with clusterRef only {Restart.RUNNER}: the cluster stays",
    ".failurePolicy.restart",
)
NEVER_DELETED = Rule(
    "!has(self.clusterRef) || !has(self.deletionPolicy)",
    "leave it out: a cluster that clusterRef names is never deleted",
    ".deletionPolicy",
)
#: Rules over several of the policy's fields.
POLICY_RULES = (AFTER_WORKERS, ONLY_RUNNER, NEVER_DELETED)
