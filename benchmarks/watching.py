"""The cost of watching a full cluster: CPU per object, total memory, requests.

1,000 jobs with their clusters, groups, Services and 10,000 pods are created, as if everything were
running. A separate process syncs with them and then receives a change of every pod; the figures are
those of this process. Needs a Kubernetes (see CONTRIBUTING.md).

    python benchmarks/watching.py --jobs 1000 --pods 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from daskjob.backends.kubernetes.watching.cache import Cache  # noqa: E402
from daskjob.backends.kubernetes.watching.informer import informers  # noqa: E402
from daskjob.backends.kubernetes.watching.items import Item  # noqa: E402
from daskjob.core import names  # noqa: E402
from daskjob.core.manifests import Manifest  # noqa: E402
from daskjob.core.observed import job_observed  # noqa: E402
from daskjob.kube.api import Api  # noqa: E402 - the checkout, not what is installed
from daskjob.kube.kubeconfig import Kubeconfig  # noqa: E402

NAMESPACE = "benchmark-watching"
IN_FLIGHT = 32


def main() -> None:
    """Create the objects, have another process watch them, and print its figures."""
    arguments = _arguments()
    if arguments.watch:
        asyncio.run(watch(arguments.watch, arguments.pods * arguments.jobs))
        return
    from tests.cluster.plugin import Kubernetes
    from tests.cluster.providers import KUBECONFIG_VARIABLE, External, Native

    given = os.environ.get(KUBECONFIG_VARIABLE)
    provider = External(Path(given)) if given else Native("benchmark")
    kubernetes = Kubernetes(provider)
    try:
        _prepare(kubernetes)
        asyncio.run(_fill(str(kubernetes.kubeconfig), arguments.jobs, arguments.pods))
        _watched_by_another(kubernetes, arguments)
    finally:
        kubernetes.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
        provider.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=10, help="per job (%(default)s)")
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    return parser.parse_args()


def _prepare(kubernetes: Any) -> None:
    crds = f"--filename={ROOT / 'operator-chart' / 'crds'}"
    kubernetes.kubectl("create", "namespace", NAMESPACE)
    kubernetes.kubectl("apply", crds)
    kubernetes.kubectl("wait", "--for=condition=Established", crds)
    there = ["--for=create", "--timeout=60s", "serviceaccount/default"]
    kubernetes.kubectl("wait", f"--namespace={NAMESPACE}", *there)


# The objects


async def _fill(kubeconfig: str, jobs: int, pods: int) -> None:
    from daskjob.kube.limiter import Limiter

    started = time.monotonic()
    async with Api(Kubeconfig(kubeconfig), limiter=Limiter(1e6)) as api:
        await _all(lambda n: _one_job(api, f"job-{n:04}", pods), jobs)
    count = jobs * (pods + 4)
    print(f"{count} objects created in {time.monotonic() - started:.0f} s", flush=True)


async def _all(make: Callable[[int], Awaitable[None]], count: int) -> None:
    room = asyncio.Semaphore(IN_FLIGHT // 4)

    async def one(number: int) -> None:
        async with room:
            await make(number)

    await asyncio.gather(*(one(number) for number in range(count)))


async def _one_job(api: Api, name: str, pods: int) -> None:
    from tests.core.manifests import cluster, group, job

    owner = await _made(api, job(name), None, name)
    owner = await _made(api, cluster(name), owner, name)
    await _made(api, _service(name), owner, name)
    owner = await _made(api, group(f"{name}-default", name), owner, name)
    workers = (_pod(f"{name}-default-worker-{number:010x}") for number in range(pods))
    await asyncio.gather(*(_made(api, worker, owner, name) for worker in workers))


async def _made(api: Api, manifest: Manifest, owner: Manifest | None, cluster: str) -> Manifest:
    meta = manifest["metadata"]
    meta["namespace"] = NAMESPACE
    meta.setdefault("labels", {})[names.LABEL_CLUSTER_NAME] = cluster
    if owner is not None:
        reference = {key: owner[key] for key in ("apiVersion", "kind")}
        reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
        meta["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": False}]
    made: Manifest = json.loads(await api.create(manifest))
    return made


def _service(cluster: str) -> Manifest:
    ports = [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}]
    meta = {"name": names.scheduler_service_name(cluster)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": ports}}


def _pod(name: str) -> Manifest:
    labels = {names.LABEL_COMPONENT: "worker", names.LABEL_WORKERGROUP_NAME: name[:16]}
    amounts = {"cpu": "1", "memory": "4Gi"}
    container = {
        "name": "worker",
        "image": "ghcr.io/dask/dask:latest",
        "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"],
        "env": [
            {"name": "DASK_WORKER_NAME", "value": name},
            {"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://somewhere.svc:8786"},
        ],
        "resources": {"requests": amounts, "limits": amounts},
    }
    # There is no scheduler of this name: the pods stay pending.
    spec = {"schedulerName": "nobody", "containers": [container]}
    meta = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _running(number: int) -> Manifest:
    """The status of a running pod, as a kubelet writes it."""
    moment = "2026-01-01T12:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": moment}
        for kind in (
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        )
    ]
    container = {
        "name": "worker",
        "state": {"running": {"startedAt": moment}},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": "ghcr.io/dask/dask:latest",
        "imageID": f"ghcr.io/dask/dask@sha256:{number:064x}",
        "containerID": f"containerd://{number:064x}",
        "started": True,
    }
    return {
        "phase": "Running",
        "startTime": moment,
        "hostIP": "10.0.0.1",
        "podIP": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "conditions": conditions,
        "containerStatuses": [container],
        "qosClass": "Guaranteed",
    }


# The watching process


def _watched_by_another(kubernetes: Any, arguments: argparse.Namespace) -> None:
    command = [sys.executable, __file__, "--watch", str(kubernetes.kubeconfig)]
    command += [f"--jobs={arguments.jobs}", f"--pods={arguments.pods}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        for line in watcher.stdout:
            if line.strip() == "synced":
                asyncio.run(_let_run(str(kubernetes.kubeconfig)))
            else:
                print(line, end="", flush=True)


async def _let_run(kubeconfig: str) -> None:
    """Change every pod once."""
    from daskjob.kube.limiter import Limiter

    async with Api(Kubeconfig(kubeconfig), limiter=Limiter(1e6)) as api:
        cache = Cache()
        found = [i for i in informers(api, cache, [NAMESPACE]) if i.watched.kind == "Pod"]
        task = asyncio.create_task(found[0].run())
        await found[0].synced.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        pods = cache.all("Pod")

        async def change(number: int) -> None:
            await api.replace_status(pods[number].ref, _running(number))

        await _all(change, len(pods))


async def watch(kubeconfig: str, pods: int) -> None:
    """Watch everything, and print the cost."""
    requests: Counter[str] = Counter()
    cache = Cache()
    changes: Counter[str] = Counter()

    def sink(old: Item | None, new: Item | None) -> None:
        item = new or old
        assert item is not None
        changes[item.ref.kind] += 1

    def on_request(verb: str, kind: str, code: int, seconds: float) -> None:
        del kind, code, seconds
        requests[verb] += 1

    cache.watch(sink)
    async with Api(Kubeconfig(kubeconfig), on_request=on_request) as api:
        await api.credentials.access()
        # The baseline, including modules that an operator in its pod does not import: kr8s.
        say(f"before: RSS {rss():.0f} MB")
        all_kinds = informers(api, cache, [NAMESPACE])
        began, before = time.process_time(), rss()
        tasks = [asyncio.create_task(informer.run()) for informer in all_kinds]
        await asyncio.gather(*(informer.synced.wait() for informer in all_kinds))
        cpu = time.process_time() - began
        count = len(cache)
        say(
            f"in sync with {count} objects: {cpu:.2f} s CPU, {cpu / count * 1e6:.0f} us each; "
            f"RSS {rss():.0f} MB, {(rss() - before) * 1e3 / count:.2f} KB each; "
            f"peak {peak():.0f} MB; {dict(requests)}"
        )
        _observe(cache)
        changes.clear()
        began = time.process_time()
        say("synced")
        while changes["Pod"] < pods:
            await asyncio.sleep(0.1)
        cpu = time.process_time() - began
        say(
            f"{changes['Pod']} changes of pods: {cpu:.2f} s CPU, {cpu / pods * 1e6:.0f} us each; "
            f"RSS {rss():.0f} MB, peak {peak():.0f} MB; {dict(requests)}"
        )
        _observe(cache)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _observe(cache: Cache) -> None:
    """Print the cost of observing each job once."""
    objects = cache.objects(NAMESPACE)
    jobs: Iterable[Item] = cache.all("DaskJob")
    began = time.process_time()
    seen = [job_observed(item.manifest, objects) for item in jobs if item.manifest]
    cpu = time.process_time() - began
    workers = len(seen[0].workers)
    say(f"observed {len(seen)} jobs of {workers} workers: {cpu / len(seen) * 1e6:.0f} us each")


def say(text: str) -> None:
    """Print a line for the parent process at once."""
    print(text, flush=True)


def rss() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """The most resident memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
