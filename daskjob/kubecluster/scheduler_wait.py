"""The wait for the scheduler: it ends, and names what blocks in Kubernetes' own words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from daskjob.core import names
from daskjob.core.diagnose import crash_loop, waiting_for
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Manifest, ObjectRef, metadata
from daskjob.core.pod_warnings import latest_warning
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.core.reasons import Reason
from daskjob.core.status import STARTING, ClusterPhase
from daskjob.core.wording import HOW_TO_INSTALL
from daskjob.kube.api import Api
from daskjob.kube.decoding import read_object, read_page
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import EVENTS, PODS, Selection
from daskjob.kubecluster.errors import (
    CrashLoopBackOffError,
    NoSuchCluster,
    SchedulerStartupError,
    StartTimeout,
)
from daskjob.kubecluster.watch import ClusterWatch

#: After this time without a status, a message says that there is no operator.
PICK_UP_SECONDS = 8.0
#: How many times ``resource_timeout`` a start may take that moves all the time: an image is pulled,
#: a scheduler installs packages.
LONGEST = 10
#: The same while no node fits: another node may be on its way.
NODES = 5
LOG_LINES = 20
LOG_SECONDS = 5.0
_INVALID = "InvalidSpec"
#: A quota counts amounts that the pod's containers do not have.
_UNSPECIFIED = re.compile(r"failed quota: \S+?: must specify (?P<what>[\w./,-]*[\w-])")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a scheduler that is not ready."""

    #: Why it is not; empty if it is being started without any problem.
    problem: str = ""
    #: How many times ``resource_timeout`` it may take.
    patience: int = 1
    crashed: ObjectRef | None = None
    container: str = ""


class SchedulerWait:
    """Waits until the scheduler of a cluster is ready."""

    def __init__(self, api: Api, watch: ClusterWatch, timeout: float, say: Say) -> None:
        self._api = api
        self._watch = watch
        self._timeout = timeout
        self._say = say
        self._said = ""

    async def ready(self) -> None:
        """Wait.

        Raises
        ------
        NoSuchCluster
            The cluster was deleted.
        SchedulerStartupError
            The scheduler cannot run, as it is.
        StartTimeout
            Nothing has moved for ``resource_timeout``.
        """
        clock = asyncio.get_running_loop().time
        began = moved = clock()
        last: tuple[str, ...] | None = None
        while not self._is_ready():
            self._check()
            if (state := self._state()) != last:
                last, moved = state, clock()
                await self._check_for_good()
            self._report(clock() - began)
            now = clock()
            if now >= min(moved + self._timeout, began + self._timeout * LONGEST):
                verdict = await self._verdict()
                if clock() - began >= self._timeout * verdict.patience:
                    raise await self._failure(verdict, clock() - began)
                moved = clock()
            due = [moved + self._timeout, began + self._timeout * LONGEST]
            if now < began + PICK_UP_SECONDS:
                due.append(began + PICK_UP_SECONDS)
            await self._watch.change(max(min(due) - clock(), 0.0) + 0.01)

    def _is_ready(self) -> bool:
        condition, status = self._watch.scheduler_condition(), self._watch.cluster.status
        return condition.status if condition else status.phase is ClusterPhase.RUNNING

    def _state(self) -> tuple[str, ...]:
        condition = self._watch.scheduler_condition()
        phase = self._watch.cluster.status.phase
        return str(phase or ""), condition.reason if condition else ""

    def _check(self) -> None:
        cluster = self._watch.cluster
        if self._watch.gone:
            raise NoSuchCluster(f"cluster {cluster.name} was deleted while it started")
        condition = self._watch.scheduler_condition()
        if condition is not None and condition.reason == _INVALID:
            raise SchedulerStartupError(f"cluster {cluster.name} cannot start: {condition.message}")

    async def _check_for_good(self) -> None:
        """Raise if the scheduler's pod has a problem that no time mends, such as its image's name.

        Raises
        ------
        SchedulerStartupError
            It has.
        """
        condition = self._watch.scheduler_condition()
        if condition is None or condition.reason != Reason.IMAGE_PULL:
            return
        pod = await self._pod()
        problem = waiting_for(pod_facts(pod)) if pod else None
        if problem is not None and problem.final:
            name = self._watch.cluster.name
            raise SchedulerStartupError(f"cluster {name} cannot start: {problem.message}")

    def _report(self, seconds: float) -> None:
        """Report a problem once, as soon as it is known."""
        condition = self._watch.scheduler_condition()
        if self._watch.cluster.status.phase is None and condition is None:
            text = self._no_operator() if seconds >= PICK_UP_SECONDS else ""
        else:
            known = condition is not None and condition.reason != STARTING
            text = condition.message if known and condition else ""
        if text and text != self._said:
            self._say(text)
        self._said = text or self._said

    def _no_operator(self) -> str:
        ref = self._watch.cluster.ref
        return (
            f"no operator has picked up {ref.name} yet; check that one watches namespace "
            f"{ref.namespace}, or install it: {HOW_TO_INSTALL}"
        )

    async def _verdict(self) -> Verdict:
        """Return why the scheduler is not ready, by its pod, its Events, and the operator."""
        cluster = self._watch.cluster
        if cluster.status.phase is None:
            return Verdict(self._no_operator())
        pod = await self._pod()
        if pod is None:
            return Verdict(cluster.state())
        facts = await self._facts(pod)
        if (crash := crash_loop(facts)) is not None:
            container = facts.main.name if facts.main else ""
            return Verdict(crash.message, crashed=facts.ref, container=container)
        problem = waiting_for(facts)
        if problem is None:
            return Verdict("", LONGEST) if facts.alive else Verdict(cluster.state())
        nodes = problem.reason == Reason.UNSCHEDULABLE
        return Verdict(problem.message, NODES if nodes else 1)

    async def _pod(self) -> Manifest | None:
        ref = self._watch.cluster.ref
        labels = (
            f"{names.LABEL_CLUSTER_NAME}={names.label_value(ref.name)},"
            f"{names.LABEL_COMPONENT}={names.Component.SCHEDULER}"
        )
        with suppress(DaskJobError):
            found = (await list_objects(self._api, Selection(PODS, ref.namespace, labels))).items
            return (
                max(found, key=lambda pod: str(metadata(pod).get("creationTimestamp")))
                if found
                else None
            )
        return None

    async def _facts(self, pod: Manifest) -> PodFacts:
        facts = pod_facts(pod)
        with suppress(DaskJobError):
            page = read_page(await self._api.warnings(facts.ref), EVENTS.plural)
            events = [read_object(raw) for raw in page.items]
            warning = latest_warning(events, datetime.now(UTC))
            if warning is not None:
                return pod_facts(pod, [(warning.reason, warning.message)])
        return facts

    async def _failure(self, verdict: Verdict, seconds: float) -> DaskJobError:
        name = self._watch.cluster.name
        if verdict.crashed is not None:
            log = await end_of_log(self._api, verdict.crashed, verdict.container)
            text = f"the scheduler of {name} cannot start: {verdict.problem}"
            return CrashLoopBackOffError(f"{text}\n{log}" if log else text)
        problem = verdict.problem or (
            f"the scheduler's pod is running or being created, and is not ready: see "
            f"kubectl logs {names.scheduler_pod_name(name)}"
        )
        problem += quota_step(problem, self._watch.cluster.ref.namespace)
        return StartTimeout(f"cluster {name} did not start within {seconds:.0f} s: {problem}")


def quota_step(problem: str, namespace: str) -> str:
    """Return what to do about a quota that a problem names, to be appended; empty without one."""
    if (missing := _UNSPECIFIED.search(problem)) is not None:
        return f" Pass resources= with {missing['what'].replace(',', ' and ')}."
    if "exceeded quota: " in problem:
        return f" kubectl describe resourcequota -n {namespace} shows what is used."
    return ""


async def end_of_log(api: Api, pod: ObjectRef, container: str) -> str:
    """Return the last lines of a container that crashed; empty if they cannot be read."""
    for previous in ("false", "true"):
        query = {"tailLines": str(LOG_LINES), "previous": previous}
        if container:
            query["container"] = container
        with suppress(DaskJobError, TimeoutError):
            data = b""
            async with asyncio.timeout(LOG_SECONDS):
                async with api.log(pod, query, idle_seconds=LOG_SECONDS) as chunks:
                    async for chunk in chunks:
                        data += chunk
            if data.strip():
                return data.decode(errors="replace").rstrip()
    return ""
