"""The causes for which a job waits or fails, each with a job that has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.operator.jobs import job, python_job
from tests.why.registry import PRIVATE, UNKNOWN

Manifest = dict[str, Any]

#: A label of pods that an admission policy of the tests rejects.
REJECTED = {"why": "rejected"}
#: A taint of a node of the tests, and the label that selects it.
TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
TAINTED = {"why.daskjob.test/node": "tainted"}
#: The value of a Secret, which no answer may contain.
SECRET_VALUE = "hunter2-swordfish"


@dataclass(frozen=True)
class Case:
    """A job with one problem."""

    name: str
    #: The row in the table of the documentation.
    cause: str
    make: Callable[[str], Manifest]
    #: What the answer contains: what happened, to which object, in Kubernetes' words.
    waiting: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    #: What the next step contains.
    step: str = ""
    #: The namespace: that of most jobs, or one with a quota, a security level, no operator, …
    place: str = "main"
    #: Whether it ends in time; a job that no operator can work on never does.
    ends: bool = True
    #: Seconds after which to ask, where nothing observable changes.
    after: float = 0.0
    #: How many times its scheduler is deleted, once it is ready.
    scheduler_losses: int = 0
    #: The deadline that is reached once the job waits, if it has this one.
    deadline: str = "startupDeadlineSeconds"
    #: Whether the table has the answer after the end, where there are both.
    shows_end: bool = False
    #: Whether the status is about the problem by now; by default: it has a reason to wait.
    waits: Callable[[Manifest], object] = field(
        default=lambda job: job.get("status", {}).get("reason")
    )


def runner(job: Manifest) -> Manifest:
    """The runner's PodSpec."""
    found: Manifest = job["spec"]["job"]["spec"]
    return found


def main(job: Manifest) -> Manifest:
    """The runner's container."""
    found: Manifest = runner(job)["containers"][0]
    return found


def cluster(job: Manifest) -> Manifest:
    found: Manifest = job["spec"]["cluster"]["spec"]
    return found


def idle(name: str, **spec: Any) -> Callable[[str], Manifest]:
    """A job whose runner would sleep, without workers."""
    return lambda image: job(
        image,
        "sleep",
        "999",
        name=name,
        workers=0,
        **{"startupDeadlineSeconds": 900, "backoffLimit": 0, **spec},
    )


def changed(
    make: Callable[[str], Manifest], change: Callable[[Manifest], object]
) -> Callable[[str], Manifest]:
    """The job of another function, changed in place."""

    def made(image: str) -> Manifest:
        found = make(image)
        change(found)
        return found

    return made


def with_image(name: str, image: str) -> Callable[[str], Manifest]:
    return changed(idle(name), lambda job: main(job).update(image=image, imagePullPolicy="Always"))


def requesting(name: str, **requests: str) -> Callable[[str], Manifest]:
    resources = {"requests": requests, "limits": requests}
    return changed(idle(name), lambda job: main(job).update(resources=resources))


def placed(name: str, **fields: Any) -> Callable[[str], Manifest]:
    return changed(idle(name), lambda job: runner(job).update(fields))


def mounting(name: str, **source: Any) -> Callable[[str], Manifest]:
    def change(job: Manifest) -> None:
        runner(job)["volumes"] = [{"name": "data", **source}]
        main(job)["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]

    return changed(idle(name), change)


def variable_from(name: str, secret: str) -> Callable[[str], Manifest]:
    ref = {"secretKeyRef": {"name": secret, "key": "password"}}
    return changed(
        idle(name), lambda job: main(job).update(env=[{"name": "PASSWORD", "valueFrom": ref}])
    )


def scripted(
    name: str, code: str, *, dask: bool = False, workers: int = 0, **spec: Any
) -> Callable[[str], Manifest]:
    more = {"backoffLimit": 0, "activeDeadlineSeconds": 900, **spec}

    def made(image: str) -> Manifest:
        found = python_job(image, code, name=name, dask=dask, workers=workers, **more)
        if dask:
            # Fewer processes and imports.
            for part, words in (("scheduler", ()), ("worker", ("--no-nanny",))):
                container = cluster(found)[part]["spec"]["containers"][0]
                container["args"] = ["dask", part, "--no-dashboard", *words]
        return found

    return made


def runs(job: Manifest) -> bool:
    return bool(job.get("status", {}).get("jobStatus") == "Running")


def has_scheduler(job: Manifest) -> bool:
    """Return whether it runs, and its status has its scheduler."""
    return runs(job) and bool(job["status"].get("schedulerIdentity"))


def reports(text: str) -> Callable[[Manifest], object]:
    """Return a check whether a job's message has this text."""
    return lambda job: text in job.get("status", {}).get("message", "")


def uses_dask(job: Manifest) -> bool:
    """Return whether a job has a real cluster, which needs CPU time for its start."""
    scheduler = job["spec"]["cluster"]["spec"]["scheduler"]["spec"]["containers"][0]
    return bool(scheduler["args"][0] == "dask")


def always(job: Manifest) -> bool:
    del job
    return True


def never(job: Manifest) -> bool:
    del job
    return False


def limited(container: Manifest, memory: str) -> None:
    container["resources"] = {"limits": {"memory": memory}, "requests": {"memory": "20Mi"}}


#: A worker's memory without a nanny, which would end it before Kubernetes does.
def _worker_without_memory(job: Manifest) -> None:
    worker = cluster(job)["worker"]["spec"]["containers"][0]
    worker["args"] = ["dask", "worker", "--no-nanny", "--memory-limit", "0"]
    limited(worker, "300Mi")
    scheduler = cluster(job)["scheduler"]["spec"]["containers"][0]
    scheduler["env"] = [{"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "0"}]


def _with_a_file(job: Manifest) -> None:
    job["spec"]["job"]["files"] = {"load.py": LOADS}
    main(job)["args"] = ["python", "/daskjob/files/load.py"]


def _other_version(job: Manifest) -> None:
    code = "import sys; sys.argv = ['dask', 'worker', '--no-nanny']; "
    code += "import distributed.versions as v; known = v._version_cached; "
    code += "v._version_cached = lambda p: '2023.1.0' if p == 'distributed' else known(p); "
    code += "from dask.__main__ import main; main()"
    worker = cluster(job)["worker"]["spec"]["containers"][0]
    worker["args"] = ["python", "-c", code]


def _wrong_option(job: Manifest) -> None:
    worker = cluster(job)["worker"]["spec"]["containers"][0]
    worker["args"] = ["dask", "worker", "--n-threads", "2"]


def _short_connect(job: Manifest) -> None:
    main(job)["env"] = [{"name": "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "value": "40s"}]


def _without_dns(job: Manifest) -> None:
    _short_connect(job)
    runner(job).update(dnsPolicy="None", dnsConfig={"nameservers": ["127.0.0.1"]})


def _behind_a_policy(job: Manifest) -> None:
    _short_connect(job)
    job["spec"]["job"]["metadata"] = {"labels": {"why": "isolated"}}
    name, namespace = job["metadata"]["name"], "{namespace}"
    names = [f"{name}-scheduler.{namespace}.svc", f"{name}-scheduler.{namespace}.svc.cluster.local"]
    runner(job)["hostAliases"] = [{"ip": "10.255.255.1", "hostnames": names}]


def _with_no_wheels(job: Manifest) -> None:
    job["spec"]["environment"] = {"requirements": ["team-metrics==1.0"], "findLinks": "/wheels"}
    runner(job)["volumes"] = [{"name": "wheels", "emptyDir": {}}]
    main(job)["volumeMounts"] = [{"name": "wheels", "mountPath": "/wheels"}]
    # It would fail in the same way, and perhaps before the runner.
    cluster(job)["scheduler"]["spec"]["nodeSelector"] = {"disk": "fast"}


LOADS = """\
def load(day):
    return {}[day]

print("loading", flush=True)
import time; time.sleep(0.5)  # A log may have lines of stdout after later ones of stderr.
load("2026-02-30")
"""
CALCULATES = "from distributed import Client; c = Client(); "
CONNECTS = CALCULATES + "print(c.submit(sum, [1]).result())"

CASES = (
    Case(
        "image-unknown",
        "The image does not exist",
        with_image("image-unknown", UNKNOWN),
        waiting=("pod image-unknown-runner", f"{UNKNOWN}: not found"),
        failed=("pod image-unknown-runner", f"{UNKNOWN}: not found"),
        step="Correct the name or the tag of",
    ),
    Case(
        "image-private",
        "The registry wants credentials, and the pod has no pull secret",
        with_image("image-private", PRIVATE),
        waiting=("pod image-private-runner", "401 Unauthorized"),
        failed=("pod image-private-runner", "401 Unauthorized"),
        step="create secret docker-registry",
    ),
    Case(
        "no-cpu",
        "No node has enough CPU",
        requesting("no-cpu", cpu="900"),
        waiting=("pod no-cpu-runner does not fit on any node", "Insufficient cpu"),
        failed=("pod no-cpu-runner does not fit on any node", "Insufficient cpu"),
        step="Request less (cpu: 900)",
    ),
    Case(
        "no-memory",
        "No node has enough memory",
        requesting("no-memory", memory="900Gi"),
        waiting=("pod no-memory-runner", "Insufficient memory"),
        failed=("pod no-memory-runner", "Insufficient memory"),
        step="Request less (memory: 900Gi)",
    ),
    Case(
        "no-node",
        "No node has the labels of the nodeSelector",
        placed("no-node", nodeSelector={"disk": "fast"}),
        waiting=("pod no-node-runner", "didn't match Pod's node affinity/selector"),
        failed=("pod no-node-runner", "didn't match Pod's node affinity/selector"),
        step="nodeSelector (disk=fast)",
    ),
    Case(
        "tainted",
        "The nodes have a taint that the pod does not tolerate",
        placed("tainted", nodeSelector=TAINTED),
        waiting=("pod tainted-runner", "untolerated taint"),
        failed=("pod tainted-runner", "untolerated taint"),
        step="olerate the taint",
    ),
    Case(
        "over-quota",
        "The namespace's quota has no room",
        requesting("over-quota", cpu="2", memory="2Gi"),
        place="quota",
        waits=reports("over-quota-runner"),
        waiting=("over-quota-runner", "exceeded quota: team, requested: requests.memory=2Gi"),
        failed=("over-quota-runner", "exceeded quota: team, requested: requests.memory=2Gi"),
        step="describe quota team",
    ),
    Case(
        "insecure",
        "Pod Security rejects the pods",
        idle("insecure"),
        place="secure",
        waits=reports("insecure-runner"),
        waiting=("insecure-runner", 'violates PodSecurity "restricted:'),
        failed=("insecure-runner", 'violates PodSecurity "restricted:'),
        step="securityContext",
    ),
    Case(
        "not-admitted",
        "A ValidatingAdmissionPolicy rejects the pods",
        changed(
            idle("not-admitted"),
            lambda job: job["spec"]["job"].update(metadata={"labels": REJECTED}),
        ),
        waiting=(
            "not-admitted-runner",
            "ValidatingAdmissionPolicy",
            "pods need the label cost-center",
        ),
        failed=(
            "not-admitted-runner",
            "ValidatingAdmissionPolicy",
            "pods need the label cost-center",
        ),
        step="describe validatingadmissionpolicy",
    ),
    Case(
        "runner-memory",
        "The runner ran out of memory",
        changed(
            scripted("runner-memory", "x = []\nwhile True: x.append(bytearray(b'1') * 2**23)"),
            lambda job: limited(main(job), "60Mi"),
        ),
        waits=never,
        failed=("OOMKilled", "pod runner-memory-runner"),
        step="Raise resources.limits.memory (60Mi)",
    ),
    Case(
        "worker-memory",
        "A worker ran out of memory",
        changed(
            scripted(
                "worker-memory",
                CALCULATES + "c.submit(lambda: len(bytearray(b'1') * 2**30), pure=False).result()",
                dask=True,
                workers=1,
            ),
            _worker_without_memory,
        ),
        waits=never,
        failed=("KilledWorker", "lambda", "memory limit"),
        step="of the workers",
    ),
    Case(
        "script-error",
        "The script ended with an exception",
        changed(
            scripted("script-error", ""),
            _with_a_file,
        ),
        waits=never,
        failed=(
            "KeyError: '2026-02-30'",
            'File "/daskjob/files/load.py", line 2, in load',
            "return {}[day]",
        ),
        step="Look at /daskjob/files/load.py, line 2, in load",
    ),
    Case(
        "too-slow",
        "The job took longer than its deadline",
        scripted(
            "too-slow",
            "import time; " + CALCULATES + "c.submit(time.sleep, 999).result()",
            dask=True,
            workers=1,
        ),
        waits=lambda job: job.get("status", {}).get("progress", {}).get("total"),
        shows_end=True,
        deadline="activeDeadlineSeconds",
        failed=("activeDeadlineSeconds (", "sleep on worker"),
    ),
    Case(
        "scheduler-lost",
        "The scheduler was lost",
        scripted(
            "scheduler-lost",
            "import time; time.sleep(999)",
            failurePolicy={"maxIgnored": 1},
            backoff={"initialSeconds": 3},
        ),
        waits=lambda job: job.get("status", {}).get("attempts"),
        scheduler_losses=2,
        shows_end=True,
        waiting=("attempt 1", "SchedulerLost"),
        failed=("SchedulerLost", "the scheduler pod was deleted"),
        step="involvedObject.name=scheduler-lost-scheduler",
    ),
    Case(
        "worker-crashes",
        "The workers crash again and again",
        changed(
            scripted("worker-crashes", CONNECTS, dask=True, workers=1),
            _wrong_option,
        ),
        waiting=("worker pod worker-crashes-default-worker-", "exits with code 2", "Error: "),
        ends=False,
        step="command, the image or the memory of the workers",
    ),
    Case(
        "other-version",
        "Runner, scheduler and workers have different versions",
        changed(
            scripted(
                "other-version",
                CALCULATES + "c.wait_for_workers(1); c2 = Client(c.scheduler.address); "
                "c2.submit(eval, 'load(1)').result()",
                dask=True,
                workers=1,
            ),
            _other_version,
        ),
        waits=never,
        failed=(
            "exited with code 1",
            "versions of distributed differ: client: ",
            "workers: 2023.1.0",
        ),
        step="from one image",
    ),
    Case(
        "no-resource",
        "Tasks ask for a resource that no worker offers",
        scripted(
            "no-resource",
            CALCULATES + "c.submit(sum, [1], resources={'GPU': 1}).result()",
            dask=True,
            workers=1,
        ),
        waiting=("sum needs the resource GPU (1), which no worker offers",),
        ends=False,
        step="--resources GPU=1",
    ),
    Case(
        "no-operator",
        "No operator watches the namespace",
        idle("no-operator"),
        place="unwatched",
        ends=False,
        waits=always,
        waiting=("no operator has picked it up",),
        step="daskjob install",
    ),
    Case(
        "forbidden",
        "The operator lacks a permission",
        idle("forbidden"),
        place="restricted",
        ends=False,
        after=1.0,
        waits=lambda job: job.get("status"),
        waiting=("the operator lacks a permission", 'cannot create resource "pods"'),
        step="resources: [pods], verbs: [create]",
    ),
    Case(
        "no-secret",
        "A Secret is missing",
        variable_from("no-secret", "s3"),
        waiting=("pod no-secret-runner", 'secret "s3" not found'),
        failed=("pod no-secret-runner", 'secret "s3" not found'),
        step="create secret generic s3",
    ),
    Case(
        "no-key",
        "A Secret has no such key",
        variable_from("no-key", "there"),
        waiting=("pod no-key-runner", "couldn't find key password in Secret"),
        failed=("pod no-key-runner", "couldn't find key password in Secret"),
        step="Add the key password to Secret there",
    ),
    Case(
        "no-configmap",
        "A ConfigMap is missing",
        mounting("no-configmap", configMap={"name": "settings"}),
        waiting=("pod no-configmap-runner", 'configmap "settings" not found'),
        failed=("pod no-configmap-runner", 'configmap "settings" not found'),
        step="create configmap settings",
    ),
    Case(
        "no-claim",
        "A PersistentVolumeClaim is missing",
        mounting("no-claim", persistentVolumeClaim={"claimName": "data"}),
        waiting=("PersistentVolumeClaim data does not exist in namespace ",),
        failed=("PersistentVolumeClaim data does not exist in namespace ",),
        step="get pvc",
    ),
    Case(
        "no-package",
        "A package cannot be installed",
        changed(idle("no-package"), _with_no_wheels),
        waits=never,
        failed=(
            "EnvironmentFailed",
            "the code of pod no-package-runner could not be prepared",
            "team-metrics cannot be installed from /wheels",
            "installer: ",
        ),
        step="Check the names and the versions",
    ),
    Case(
        "name-taken",
        "A name that the job needs belongs to another object",
        idle("name-taken"),
        waits=never,
        failed=("NameConflict", "name-taken-scheduler already exists and is not the job's"),
        step="describe service name-taken-scheduler",
    ),
    Case(
        "no-dns",
        "The runner cannot resolve the name of the scheduler",
        changed(scripted("no-dns", CONNECTS, dask=False), _without_dns),
        waits=runs,
        after=20.0,
        waiting=("has sent no task to its scheduler", "dnsPolicy None"),
        failed=("dnsPolicy None", "no-dns-scheduler"),
        step="DNS",
    ),
    Case(
        "network-policy",
        "A NetworkPolicy is between the runner and the scheduler",
        changed(scripted("network-policy", CONNECTS, dask=False), _behind_a_policy),
        waits=runs,
        after=20.0,
        waiting=("has sent no task", "NetworkPolicy default-deny restricts"),
        failed=("Timed out trying to connect", "NetworkPolicy default-deny restricts"),
        step="describe networkpolicy default-deny",
    ),
)
