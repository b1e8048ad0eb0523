"""Why a pod does not run, or why it ended, as a message with the next step.

Each ``_check`` looks for one situation in a pod's facts; the first match is the diagnosis. It
quotes the message of Kubernetes, and adds the object and the next step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.advice import LAST_LINES
from daskjob.core.errors import RejectionKind
from daskjob.core.image_advice import image_advice
from daskjob.core.image_volumes import NEEDS, lacks_image_volumes, volume_of_image
from daskjob.core.last_exception import last_exception, plain_lines
from daskjob.core.messages import cut
from daskjob.core.names import Component
from daskjob.core.observed import Rejection
from daskjob.core.pods import ContainerFacts, PodFacts
from daskjob.core.preparation import is_preparation, unprepared
from daskjob.core.reasons import Reason
from daskjob.core.wording import OF_MANIFESTS, Words

#: How long to wait for an image, a volume or a missing name: a registry may be slow, a Secret
#: may be created later (design §3.1).
PATIENCE_SECONDS = 600
#: When to read the Events of a pod that its node is still creating, and the interval after that.
SILENT_SECONDS = 30
AGAIN_SECONDS = 60
#: Events for a volume that cannot be mounted, and for a pod that its node cannot create.
VOLUME_WARNINGS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
NODE_WARNINGS = frozenset(
    {
        "FailedCreatePodSandBox",
        "FailedCreatePodContainer",
        "FailedPrepareDynamicResources",
        "NetworkNotReady",
    }
)
STARTUP_WARNINGS = VOLUME_WARNINGS | NODE_WARNINGS
#: Waiting reasons of a container whose image cannot be pulled, or that cannot be created.
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONTAINER_REASONS = frozenset(
    {
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
    }
)
_REJECTED = {
    RejectionKind.QUOTA: Reason.QUOTA_EXCEEDED,
    RejectionKind.REJECTED: Reason.REJECTED,
    RejectionKind.UNREACHED: Reason.REJECTED,
    RejectionKind.INVALID: Reason.INVALID_SPEC,
    RejectionKind.CONFLICT: Reason.NAME_CONFLICT,
}
#: Terminated reasons of a container that its node could not start at all.
_NEVER_STARTED = frozenset({"StartError", "ContainerCannotRun"})
#: Waiting reasons of a container while its pod's node is creating it normally.
_CREATING_REASONS = frozenset({"", "ContainerCreating", "PodInitializing"})
#: What the kube-scheduler says of a claim that does not exist.
MISSING_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found', re.IGNORECASE)
#: After why no node fits: which ways the kube-scheduler tried to make one fit.
_FURTHER_WAYS = re.compile(r"[\s.,]*\b(no new claims to deallocate|preemption: ).*$", re.DOTALL)
#: The last line of a program that complained before it ended: of argparse, Python, a shell.
_COMPLAINT = re.compile(
    r"^(usage: |\S+: error: |.*: can't open file |\S*: (line \d+: )?.*: (command )?not found$"
    r"|\S+: .*: No such file or directory$|SyntaxError: |error: |fatal: |Fatal Python error"
    r"|.*\bpy(thon|py)[\w.]*: (No module named |No code object |can't find |Error while finding ))",
    re.IGNORECASE,
)
#: What faulthandler prints when a program crashes: the thread, and its innermost frame.
_CRASH_DUMP = re.compile(
    r"^Fatal Python error: (?:.*\n)*?Current thread 0x.*\n"
    r"(?:  File \"(?P<file>.*)\", line (?P<line>\d+) in (?P<name>.*))?",
    re.MULTILINE,
)
#: Lines that a server logs whatever happens.
_ROUTINE = re.compile(r"\b(INFO|DEBUG)\b|^[-\s]*$")
#: Before the text of ``sys.exit("text")``, at the end of an output, where a backend knows it.
EXIT_LINE = "SystemExit: "
#: Before the exception that ended a program, in place of an output, where a backend knows it.
EXCEPTION_LINE = "daskjob: ended by "
#: The exit code of Python after an exception that was not caught.
UNCAUGHT_CODE = 1
#: A process that signal N ended has the exit code 128 + N; these are Linux' numbers.
SIGNAL_CODES = 128
_SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
}
#: Maximum length of the quoted last line of a log.
LINE_LENGTH = 400
#: The number of quoted lines of an init container, whose log is not asked for otherwise.
INIT_LINES = 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A problem, the message that reports it, and what to do."""

    reason: Reason
    summary: str
    #: The message of Kubernetes or this machine; may be empty.
    detail: str = ""
    next_step: str = ""
    #: Seconds after which the wait is given up; 0: at once; ``None``: never.
    patience_seconds: int | None = None
    #: Whether the cause is the network, which may answer later.
    may_pass: bool = False
    #: The exit code that counts as the attempt's; ``None``: no program ended.
    exit_code: int | None = None

    @property
    def final(self) -> bool:
        """Whether a retry would fail the same way, so that waiting is useless."""
        return self.patience_seconds == 0

    @property
    def message(self) -> str:
        """The whole diagnosis on one line."""
        detail = f": {self.detail}" if self.detail else ""
        step = f" {self.next_step}" if self.next_step else ""
        return f"{self.summary}{detail}.{step}".replace("..", ".")


def waiting_for(pod: PodFacts) -> Diagnosis | None:
    """Return the problem of a pod that does not run yet; ``None`` if none is known."""
    if pod.ended or pod.ready:
        return None
    return (
        _check_unschedulable(pod)
        or _check_image(pod)
        or _check_configuration(pod)
        or _check_container(pod)
        or _check_warnings(pod)
    )


def creating_since(pod: PodFacts) -> datetime | None:
    """Return since when a node has been creating a pod; ``None``: it is not, or unknown."""
    return (pod.started_at or pod.created_at) if _is_being_created(pod) else None


def _is_being_created(pod: PodFacts) -> bool:
    """Return whether a pod is being created; its status does not show whether it is stuck.

    Volumes and network are ready before the first container, also an init container, runs.
    """
    first = next(iter(pod.starting_containers), None)
    if first is None or pod.ended or pod.deleting or not pod.scheduled:
        return False
    return not (first.running or first.terminated) and first.reason in _CREATING_REASONS


def events_due_at(pod: PodFacts, now: datetime) -> datetime | None:
    """Return when to read the Events of a pod whose status does not show a problem."""
    since = creating_since(pod)
    if since is None:
        return None
    first = since + timedelta(seconds=SILENT_SECONDS)
    return first if now < first else now + timedelta(seconds=AGAIN_SECONDS)


def rejected(rejections: Mapping[str, Rejection]) -> Diagnosis | None:
    """Return why an object cannot be created, the first by name; ``None`` if there is none.

    A name whose previous object is terminating does not count: it will soon be free.
    """
    for _, rejection in sorted(rejections.items()):
        reason = _REJECTED.get(rejection.kind)
        if reason is not None:
            return Diagnosis(reason, f"{rejection.name} could not be created", rejection.message)
    return None


def ended_by(pod: PodFacts) -> Diagnosis | None:
    """Return what stopped a pod from outside; ``None`` if it ended by itself."""
    reason = pod.stop_reason
    detail = pod.message or pod.disruption
    if reason == "DeadlineExceeded":
        return Diagnosis(
            Reason.ATTEMPT_DEADLINE_EXCEEDED,
            f"pod {pod.ref.name} was stopped after {pod.active_deadline_seconds} s",
            next_step="Raise attemptDeadlineSeconds, or find out what is slow.",
        )
    if reason in ("NodeLost", "DeletionByTaintManager", "DeletionByPodGC", "NodeShutdown"):
        return Diagnosis(
            Reason.NODE_LOST,
            f"the node of pod {pod.ref.name} was lost",
            detail,
            "Check the node: kubectl describe node.",
        )
    if reason == "Deleted":
        return Diagnosis(
            Reason.RUNNER_LOST,
            f"pod {pod.ref.name} was deleted while it ran",
            detail,
            "Find out who deletes pods; to stop a job, use daskjob cancel.",
        )
    if reason:
        return Diagnosis(
            Reason.EVICTED,
            f"pod {pod.ref.name} was evicted ({reason})",
            detail,
            "Request the resources that the pod needs, or give it a higher priority.",
        )
    return None


def container_end(
    pod: PodFacts, container: ContainerFacts, words: Words = OF_MANIFESTS
) -> Diagnosis:
    """Return why a container failed by itself."""
    code = container.exit_code if container.exit_code is not None else -1
    is_main = pod.main is not None and container.name == pod.main.name
    who = words.runner if is_main else f"init container {container.name}"
    where = words.of_pod(pod.ref.name)
    if container.reason == "OOMKilled":
        return Diagnosis(
            Reason.OOM_KILLED,
            f"{who} ran out of memory{where}",
            container.message,
            f"Raise {words.runner_memory}, or keep the data on the workers.",
        )
    if container.reason == "ContainerStatusUnknown":
        # The kubelet did not find the container; it makes up the exit code 137.
        return Diagnosis(
            Reason.RUNNER_LOST,
            f"{who} was lost and its exit code is unknown{where}",
            container.message,
            "Check the node: kubectl describe node.",
        )
    never_started = container.reason in _NEVER_STARTED
    detail = _last_lines(container.message, INIT_LINES)
    if is_main:
        output = container.message
        detail = _last_lines(output, 1) if never_started else ending(output, code, words)
    return Diagnosis(
        Reason.EXIT_CODE,
        f"{who} exited with code {code}{signal_name(code)}{where}",
        detail,
        _exit_hint(126 if never_started else code, container.message, words),
    )


def ending(output: str, code: int, words: Words = OF_MANIFESTS) -> str:
    """Return why a program ended, from the end of its output; empty if that does not show it.

    The last line of an output is a reason only if it says so: it may as well be ``all good so far``
    before ``sys.exit(1)``. The program of a manifest may be any, so there it is quoted.
    """
    if output.strip() and not _without_result(output):
        # A result takes the place of the output, which may have had an exception.
        return ""
    if output.startswith(EXCEPTION_LINE) and code == UNCAUGHT_CODE:
        return cut(output.removeprefix(EXCEPTION_LINE), LINE_LENGTH)
    output, _, text = output.partition(f"\n{EXIT_LINE}")
    if text and code == UNCAUGHT_CODE:
        return cut(f"{EXIT_LINE}{' '.join(text.split())}", LINE_LENGTH)
    found = last_exception(output)
    if found is not None and found.is_main and code == UNCAUGHT_CODE:
        return cut(found.line, LINE_LENGTH)
    if code > SIGNAL_CODES:
        return ""
    last = _last_lines(output, 1)
    if _COMPLAINT.search(last) and (found is None or not found.is_main):
        return last
    text = ""
    if words.is_script:
        text = f"it called sys.exit({code}) or the like; no exception ended it"
    if found is not None:
        text += ("; " if text else "") + f"the last exception that it printed: {found.line}"
    elif last and not words.is_script:
        text = f"the last line of its output: {last}"
    return cut(text, LINE_LENGTH)


def not_prepared(pod: PodFacts) -> Diagnosis | None:
    """Return why a pod has no packages or no code; ``None`` if it has, or may get them yet."""
    found = unprepared(pod)
    if found is None or pod.ready:
        return None
    return Diagnosis(
        Reason.ENVIRONMENT_FAILED,
        f"the packages or the code of pod {pod.ref.name} could not be prepared",
        found.sentence.rstrip("."),
        f"{LAST_LINES}{found.lines}." if found.lines else "",
        0 if found.final else None,
        may_pass=found.may_pass,
        exit_code=found.exit_code,
    )


def crash_loop(pod: PodFacts, words: Words = OF_MANIFESTS) -> Diagnosis | None:
    """Return why a container of a scheduler or worker pod crashes; ``None`` if none does."""
    found = _looping(pod)
    if found is None:
        return None
    if is_preparation(found) and (problem := not_prepared(pod)):
        return problem
    code = found.exit_code if found.terminated else found.last_exit_code
    why = found.reason if found.terminated else found.last_reason
    text = found.message if found.terminated else found.last_message
    is_worker = pod.component == Component.WORKER
    if code is None or (code == 0 and is_worker and not found.restarts):
        return None
    killed = why == "OOMKilled"
    end = f"code {code}{' (out of memory)' if killed else signal_name(code)}"
    count = "once" if found.restarts == 1 else f"{found.restarts} times"
    restarts = f", restarted {count}" if found.restarts else ""
    is_main = pod.main is not None and found.name == pod.main.name
    what = "exits" if is_main else f"has an init container {found.name} that exits"
    who = f"{pod.component} pod {pod.ref.name}"
    if words.is_script:
        who = words.worker(pod.ref.name) if is_worker else "the scheduler"
        what = what.replace("exits", "exited")
    step = "Check its command and its log."
    if killed and is_worker:
        step = f"Raise {words.memory}, or give each task less data (smaller partitions)."
    return Diagnosis(
        Reason.WORKERS_FAILED if is_worker else Reason.SCHEDULER_FAILED,
        f"{who} {what} with {end}{restarts}",
        _complaint(text) if is_main else _last_lines(text, INIT_LINES),
        step,
    )


def _complaint(output: str) -> str:
    """Return the last exception of a server's output, or else its last line that is no routine."""
    found = last_exception(output)
    if found is not None:
        return cut(found.line, LINE_LENGTH)
    lines = [line for line in plain_lines(output) if line.strip() and not _ROUTINE.search(line)]
    return _last_lines(lines[-1], 1) if lines else ""


def _looping(pod: PodFacts) -> ContainerFacts | None:
    """Return the failed container without which the pod cannot continue."""
    main = pod.main
    if main is None:
        return None
    if main.ever_ran:
        return main if main.restarts or main.terminated else None
    failed = [c for c in pod.starting_containers if c.terminated or c.restarts]
    return failed[0] if failed else None


def _check_unschedulable(pod: PodFacts) -> Diagnosis | None:
    if pod.scheduled or not pod.unschedulable:
        return None
    if claim := MISSING_CLAIM.search(pod.unschedulable):
        # Of each pod the same sentence: they wait for one claim.
        return Diagnosis(
            Reason.UNSCHEDULABLE,
            f"PersistentVolumeClaim {claim['name']} does not exist in namespace "
            f"{pod.ref.namespace}",
            next_step="Create it, or correct its name.",
        )
    return Diagnosis(
        Reason.UNSCHEDULABLE,
        f"pod {pod.ref.name} does not fit on any node",
        _FURTHER_WAYS.sub("", pod.unschedulable),
        "Request less, add nodes, or wait for resources.",
    )


def _check_image(pod: PodFacts) -> Diagnosis | None:
    for container in _waiting(pod):
        what = volume_of_image(container.message, pod.image_volumes)
        whose = f"{what or f'container {container.name}'} in pod {pod.ref.name}"
        if container.reason in _IMAGE_REASONS:
            return Diagnosis(
                Reason.IMAGE_PULL,
                f"the image of {whose} cannot be pulled",
                container.message,
                f"{image_advice(container.message).step}.",
                PATIENCE_SECONDS,
            )
        if container.reason == "InvalidImageName":
            return Diagnosis(
                Reason.IMAGE_PULL,
                f"the image name of {whose} is invalid",
                container.message,
                "Correct the image's name.",
                0,
            )
    return None


def _check_configuration(pod: PodFacts) -> Diagnosis | None:
    for container in _waiting(pod):
        if container.reason != "CreateContainerConfigError":
            continue
        if _reports_missing(container.message):
            return Diagnosis(
                Reason.CONFIG_MISSING,
                f"container {container.name} in pod {pod.ref.name} lacks a Secret or ConfigMap",
                container.message,
                "Create it in the job's namespace.",
                PATIENCE_SECONDS,
            )
        return Diagnosis(
            Reason.CONTAINER_FAILED,
            f"container {container.name} in pod {pod.ref.name} cannot be created",
            container.message,
            "Correct the container's spec, or the objects that it refers to.",
            PATIENCE_SECONDS,
        )
    return None


def _check_container(pod: PodFacts) -> Diagnosis | None:
    for container in _waiting(pod):
        if container.reason in _CONTAINER_REASONS:
            return Diagnosis(
                Reason.CONTAINER_FAILED,
                f"container {container.name} in pod {pod.ref.name} cannot be started "
                f"({container.reason})",
                container.message,
                _missing_kind(pod, container.message)
                or "Check its command, its spec and its node: kubectl describe pod.",
                PATIENCE_SECONDS,
            )
    return None


def _check_warnings(pod: PodFacts) -> Diagnosis | None:
    """Return a problem that only Kubernetes' Events report, while a pod is being created.

    Later they do not count: warnings of a start that succeeded in the end are kept for an hour.
    """
    if not _is_being_created(pod):
        return None
    for reason, message in pod.warnings:
        if reason in VOLUME_WARNINGS:
            missing = _reports_missing(message)
            return Diagnosis(
                Reason.CONFIG_MISSING if missing else Reason.VOLUME_MOUNT,
                f"a volume of pod {pod.ref.name} cannot be mounted",
                message,
                _missing_kind(pod, message)
                or "Create the missing object, or check the volume claim.",
                PATIENCE_SECONDS,
            )
        if reason in NODE_WARNINGS:
            return Diagnosis(
                Reason.CONTAINER_FAILED,
                f"the node of pod {pod.ref.name} cannot create it ({reason})",
                message,
                "Check the node and its network: kubectl describe node.",
                PATIENCE_SECONDS,
            )
    return None


def _missing_kind(pod: PodFacts, message: str) -> str:
    """Return what to do about a node without image volumes; empty: it has them, as far as known."""
    return f"{NEEDS}." if pod.image_volumes and lacks_image_volumes(message) else ""


def _reports_missing(message: str) -> bool:
    """Return whether a message of Kubernetes reports a missing Secret, ConfigMap or key."""
    lowered = message.lower()
    named = "secret" in lowered or "configmap" in lowered or "config key" in lowered
    return named and any(w in lowered for w in ("not found", "couldn't find", "non-existent"))


def _waiting(pod: PodFacts) -> list[ContainerFacts]:
    containers = [*pod.init_containers, *([pod.main] if pod.main else [])]
    return [c for c in containers if not c.running and not c.terminated]


def signal_name(code: int) -> str:
    """Return the name of the signal that an exit code stands for, in brackets; or nothing."""
    name = _SIGNALS.get(code - SIGNAL_CODES)
    return f" ({name})" if name else ""


def _exit_hint(code: int, output: str, words: Words) -> str:
    if code in (126, 127) and words.is_script:
        return "A program was not found or is not executable: check the first line of the script."
    if code in (126, 127):
        return "The command was not found or is not executable: check command and args."
    if code == 137:
        return "It was killed, most often because it used too much memory."
    if code in (SIGNAL_CODES + 4, SIGNAL_CODES + 7, SIGNAL_CODES + 8, SIGNAL_CODES + 11):
        return f"It crashed in compiled code; {_crash_place(output)}."
    return ""


def _crash_place(output: str) -> str:
    """Return where a program crashed, as faulthandler printed it; or how to see that."""
    dump = _CRASH_DUMP.search(output)
    if dump is None:
        return "set PYTHONFAULTHANDLER=1 to see where"
    if dump["file"] is None:
        return "the end of its log shows where"
    inside = f", in {dump['name']}" if dump["name"] != "<module>" else ""
    return f"look at {dump['file']}, line {dump['line']}{inside}"


def _without_result(text: str) -> str:
    """Return an output; a result that was written before a failure does not count.

    Such a result is the whole text. Output of a script may also start with a bracket.
    """
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return ""


def _last_lines(text: str, count: int) -> str:
    """Return the last lines of a message."""
    lines = [line.strip() for line in _without_result(text).splitlines() if line.strip()]
    return cut("; ".join(lines[-count:]), LINE_LENGTH)
