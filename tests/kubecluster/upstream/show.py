"""Shows the mistakes of dask-kubernetes: ``python -m tests.kubecluster.upstream.show FILE``.

It runs with dask-kubernetes, its own code and that of kr8s, and a real scheduler of Dask; only the
answers of Kubernetes are made up. For each number of `docs/howto/fixed-bugs.md`, FILE gets what was
seen in a few words, or the traceback if the mistake is not there.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import shutil
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import certifi
import dask
import dask_kubernetes.operator
import kr8s
import yaml
from click.testing import CliRunner
from dask_kubernetes.cli.cli import main as command_line
from dask_kubernetes.exceptions import ValidationError
from dask_kubernetes.operator import KubeCluster as Upstream
from dask_kubernetes.operator import discover, make_cluster_spec, make_worker_spec
from dask_kubernetes.operator.controller import controller
from dask_kubernetes.operator.networking import (
    get_external_address_for_scheduler_service,
    port_forward_service,
)
from distributed import rpc
from kr8s.asyncio.objects import Service
from rich.console import Console

from tests.kubecluster.upstream.api_server import (
    CRASHING,
    DASK,
    GATEWAY,
    WITHOUT_IMAGE,
    ApiServer,
    Scene,
    serving,
)
from tests.waiting import until

#: The caller has made the home directory, and put nothing into it.
WRITTEN_BY_IMPORTS = (Path.home() / ".config" / "dask" / "kubernetes.yaml").exists()

#: A kubeconfig with a password, which kr8s rejects.
UNUSABLE = Path.home() / "unusable"

Shown = Callable[[ApiServer], Awaitable[str]]
#: One after the other; beside them, since they wait; each in an event loop of its own.
IN_TURN: dict[int, Shown] = {}
AT_ONCE: dict[int, Shown] = {}
ALONE: dict[int, Shown] = {}


def bug(number: int, among: dict[int, Shown] = IN_TURN) -> Callable[[Shown], Shown]:
    """Register what shows a mistake."""

    def add(show: Shown) -> Shown:
        among[number] = show
        return show

    return add


def made(namespace: str, /, **more: Any) -> Any:
    """Return a cluster of dask-kubernetes, which starts when it is awaited."""
    arguments = {"name": "a", "namespace": namespace, "asynchronous": True, "quiet": True}
    return Upstream(**{**arguments, **more})


def existing(server: ApiServer, namespace: str) -> None:
    """Let there be a cluster of somebody else."""
    manifest = make_cluster_spec(name="a", n_workers=0)
    server.operate(namespace, manifest)
    server.put(namespace, "daskclusters", manifest)


@asynccontextmanager
async def started() -> AsyncIterator[Any]:
    """Yield the cluster that most of them share: three workers, in the namespace `shared`."""
    if not shared:
        shared.append(await made("shared", n_workers=3))
    yield shared[0]


@contextmanager
def raised(kind: type[BaseException], text: str = "") -> Iterator[list[str]]:
    """Check that the block raises this; the list gets the message."""
    messages: list[str] = []
    try:
        yield messages
    except kind as error:
        messages.append(str(error))
    assert messages, f"no {kind.__name__}"
    assert text in messages[0]


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        # Only these, since other threads read others meanwhile.
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


#: The cluster that they share, once it was started.
shared: list[Any] = []


@bug(1)
async def commands(_: ApiServer) -> str:
    spec = make_cluster_spec(name="a")["spec"]
    found = [spec[part]["spec"]["containers"][0]["args"][0] for part in ("scheduler", "worker")]
    folder = Path(sys.executable).parent
    assert (folder / "dask").exists()
    assert [(folder / command).exists() for command in found] == [False, False]
    return f"The pods run `{found[0]}` and `{found[1]}`, which are not in its own environment."


@bug(2)
async def create_mode(server: ApiServer) -> str:
    existing(server, "b2")
    with dask.config.set({"kubernetes.create-mode": "CREATE_ONLY"}):
        cluster = made("b2", shutdown_on_close=False)
    await cluster
    assert cluster.status.name == "running"
    await cluster.close()
    return "`CREATE_ONLY` connected to a cluster that existed."


@bug(3)
async def jupyter(server: ApiServer) -> str:
    with dask.config.set({"kubernetes.scheduler-jupyter": True}):
        cluster = made("b3")
    async with cluster:
        [posted] = server.asked("POST", "/b3/daskclusters")
    args = posted["spec"]["scheduler"]["spec"]["containers"][0]["args"]
    assert "--jupyter" not in args
    return "With `scheduler-jupyter: true`, the scheduler ran without `--jupyter`."


@bug(4)
async def connecting_deletes(server: ApiServer) -> str:
    existing(server, "b4")
    async with made("b4"):
        assert server.asked("POST", "/b4/") == []
    assert server.named("daskclusters", "b4") == []
    return "`close` deleted the cluster that it had connected to."


@bug(5)
async def default_name(_: ApiServer) -> str:
    with environment(LOGNAME="J.Doe"), raised(ValidationError):
        made("b5", name=None)
    return "`ValidationError` for the user `J.Doe`."


@bug(6)
async def variables_in_names(_: ApiServer) -> str:
    for name in ("user", "uuid"):
        with (
            environment(**{name: "x"}),
            raised(TypeError, f"multiple values for keyword argument '{name}'"),
        ):
            made("b6", name=None)
    return "`TypeError: str.format() got multiple values for keyword argument`."


@bug(7)
async def empty_messages(_: ApiServer) -> str:
    with raised(ValidationError) as invalid:
        made("b7", name="Not_Valid")
    with raised(TypeError) as of_wrong_type:
        made("b7", resources="4Gi")
    assert invalid == of_wrong_type == [""]
    return "The messages for an invalid name and for invalid `resources` were empty."


@bug(8)
async def scale_after_start(server: ApiServer) -> str:
    server.scenes["b8"] = Scene(has_group=False)
    async with made("b8") as cluster:
        with raised(kr8s.NotFoundError, "a-default does not exist"):
            await cluster.scale(2)
    return "`NotFoundError` until the operator has made the group of workers."


@bug(9)
async def adapt_without_limits(server: ApiServer) -> str:
    async with started() as cluster:
        with raised(kr8s.ServerError, "Required value"):
            await cluster.adapt()
    posted = server.asked("POST", "/shared/daskautoscalers")[-1]
    assert posted["spec"] == {"cluster": "a", "minimum": None, "maximum": None}
    folder = Path(dask_kubernetes.operator.__file__).parent / "customresources"
    crd = yaml.safe_load((folder / "daskautoscaler.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert schema["required"] == ["cluster", "minimum", "maximum"]
    assert schema["properties"]["minimum"].get("nullable") is None
    return "It sent two nulls, which its own CRD rejects: `spec.minimum: Required value`."


@bug(10)
async def adapt_unawaited(server: ApiServer) -> str:
    async with started() as cluster:
        asked = len(server.requests)
        result = cluster.adapt(minimum=1, maximum=2)
        # Another request, which has its answer, is after any that `adapt` could have made.
        await asyncio.sleep(0)
        await (await kr8s.asyncio.api()).version()
        assert not [path for _, path, _ in server.requests[asked:] if "autoscaler" in path]
        assert not hasattr(result, "minimum")
        assert await result is None
    return "Nothing was requested until the result was awaited; then it was `None`."


@bug(11)
async def autoscaler_labels(server: ApiServer) -> str:
    async with started() as cluster:
        await cluster.adapt(minimum=1, maximum=2)
    posted = server.asked("POST", "/shared/daskautoscalers")[-1]
    assert "labels" not in posted["metadata"]
    assert posted["metadata"]["dask.org/cluster-name"] == "a"
    return "What should be labels is in `metadata` itself, where Kubernetes drops it."


@bug(12)
async def scale_leaves_the_cluster(server: ApiServer) -> str:
    async with started() as cluster:
        await cluster.scale(5)
    [group] = server.named("daskworkergroups", "shared")
    [of_cluster] = server.named("daskclusters", "shared")
    found = [o["spec"]["worker"]["replicas"] for o in (group, of_cluster)]
    assert found == [5, 3]
    return "After `scale(5)` of 3 workers: 5 in the DaskWorkerGroup, 3 in the DaskCluster."


@bug(13)
async def scale_deletes_the_autoscaler(server: ApiServer) -> str:
    async with started() as cluster:
        await cluster.add_worker_group("other", n_workers=1)
        await cluster.adapt(minimum=1, maximum=2)
        assert len(server.named("daskautoscalers", "shared")) == 1
        await cluster.scale(2, worker_group="other")
        assert server.named("daskautoscalers", "shared") == []
    return "Scaling `other` deleted the autoscaler."


@bug(14)
async def logs(server: ApiServer) -> str:
    labels = {"dask.org/cluster-name": "a"}
    async with started() as cluster:
        for name in ("a-default-worker-1", "a-runner"):
            pod = {"metadata": {"name": name, "labels": labels}, "status": {"phase": "Running"}}
            server.put("shared", "pods", pod)
        found = await cluster.get_logs()
        assert found["a-runner"] == found["a-default-worker-1"] == "log of a-default-worker-1"
        with raised(TypeError, "unexpected keyword argument"):
            cluster.get_logs(workers=False)
    return "The runner of a job got the log of a worker; `TypeError` for `workers=False`."


@bug(15)
async def empty_group(server: ApiServer) -> str:
    async with started() as cluster:
        await cluster.add_worker_group("idle", n_workers=0)
    posted = server.asked("POST", "/shared/daskworkergroups")[-1]
    assert posted["metadata"]["name"] == "a-idle"
    assert posted["spec"]["worker"]["replicas"] == 3
    return "In a cluster of 3 workers, the empty group got 3."


@bug(16)
async def group_without_a_name(_: ApiServer) -> str:
    async with started() as cluster:
        with raised(TypeError, "missing 1 required positional argument: 'name'"):
            cluster.add_worker_group(custom_spec=make_worker_spec())
    return "`TypeError: missing 1 required positional argument: 'name'`."


@bug(17)
async def documented_worker_spec(_: ApiServer) -> str:
    with raised(TypeError, "unexpected keyword argument 'cluster_name'"):
        make_worker_spec(cluster_name="a", n_workers=2)
    return "`TypeError: unexpected keyword argument 'cluster_name'`."


@bug(18, AT_ONCE)
async def waits_without_end(server: ApiServer) -> str:
    server.scenes["b18"] = Scene(pod=WITHOUT_IMAGE)
    existing(server, "b18")
    cluster = made("b18", resource_timeout=0.2, shutdown_on_close=False)
    async with starting(cluster) as start:
        await until(lambda: last_step(cluster) == "Waiting for scheduler pod")
        # Longer than the 2 s that it takes to find no running pod.
        done, _ = await asyncio.wait([start], timeout=5)
    assert not done
    return "It still waited for an image that cannot be pulled after 25 times `resource_timeout`."


def last_step(cluster: Any) -> str:
    """Return what a cluster said last about its start."""
    steps = cluster._cluster_manager_logs
    return str(steps[-1][1]) if steps else ""


@asynccontextmanager
async def starting(cluster: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Start a cluster, and end the start with the block."""
    start = asyncio.ensure_future(cluster._start())
    try:
        yield start
    finally:
        start.cancel()
        with suppress(asyncio.CancelledError):
            await start


@contextmanager
def name_server(namespace: str, answer: Callable[[], Any]) -> Iterator[None]:
    """Let the name of the Service of this namespace, and no others, be asked of this."""
    real = socket.getaddrinfo

    def asked(host: Any, *more: Any, **named: Any) -> Any:
        return answer() if host == f"a-scheduler.{namespace}" else real(host, *more, **named)

    socket.getaddrinfo = asked
    try:
        yield
    finally:
        socket.getaddrinfo = real


def unknown() -> Any:
    raise socket.gaierror(-2, "Name or service not known")


@bug(19, AT_ONCE)
async def slow_name_server(server: ApiServer) -> str:
    server.scenes["b19"] = Scene(service="ClusterIP")
    existing(server, "b19")
    asked, over = threading.Event(), threading.Event()

    def never() -> Any:
        asked.set()
        over.wait(120)
        return unknown()

    cluster = made("b19", resource_timeout=0.2, shutdown_on_close=False)
    with name_server("b19", never):
        async with starting(cluster) as start:
            await until(asked.is_set)
            done, _ = await asyncio.wait([start], timeout=2)
            over.set()
    assert not done
    return "It still waited for a name server after 10 times `resource_timeout`."


@bug(20)
async def blocked_loop(server: ApiServer) -> str:
    existing(server, "b20")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0)
    assert ticks
    before, began = ticks, time.monotonic()
    await port_forward_service("a-scheduler", "b20", server.scheduler_port)
    assert (ticks, time.monotonic() - began > 0.1) == (before, True)
    ticking.cancel()
    return "No other task of the loop ran until a forward was there."


@bug(21)
async def forwards(server: ApiServer) -> str:
    server.scenes["b21"] = Scene(service="ClusterIP")
    cluster = await made("b21", port_forward_cluster_ip=True)
    watch = cluster._watch_worker_status_task
    server.replace_pod("b21")
    await until(watch.done)
    async with rpc(cluster.scheduler_address) as scheduler:
        assert (await scheduler.identity())["type"] == "Scheduler"
    assert cluster._watch_worker_status_task is watch
    assert cluster.status.name == "running"
    port = int(cluster.scheduler_address.rsplit(":", 1)[1])
    await cluster.close()
    left = [t.name for t in threading.enumerate() if "PortForward (b21/" in t.name]
    assert len(left) == 2
    socket.create_connection(("127.0.0.1", port), timeout=10).close()
    return "It learned of no worker after the scheduler's pod was replaced; its ports stayed open."


@bug(22)
async def forwards_in_a_pod(server: ApiServer) -> str:
    server.scenes["b22"] = Scene(service="ClusterIP")
    existing(server, "b22")
    service = await Service.get("a-scheduler", namespace="b22")
    reached = (service.spec.clusterIP, server.scheduler_port)
    socket.create_connection(reached, timeout=10).close()
    with environment(KUBERNETES_SERVICE_HOST="127.0.0.1"), name_server("b22", unknown):
        address = await get_external_address_for_scheduler_service(
            service, service_name_resolution_retries=1
        )
    assert address.startswith("tcp://localhost:")
    assert address != f"tcp://localhost:{server.scheduler_port}"
    return "While the name of the Service was unknown, its address was not used, but a forward."


@bug(23, ALONE)
async def node_port(server: ApiServer) -> str:
    server.scenes["b23"] = Scene(service="NodePort")
    existing(server, "b23")
    service = await Service.get("a-scheduler", namespace="b23")
    # Not by a whole start: kr8s closes its session for a 403, also under other requests.
    with raised(kr8s.ServerError, "nodes is forbidden"):
        await get_external_address_for_scheduler_service(service)
    return "Without the right to list nodes: `nodes is forbidden`."


@bug(25)
async def failed_start(server: ApiServer) -> str:
    server.scenes["b25"] = Scene(service="ExternalName")
    with raised(UnboundLocalError):
        await made("b25", scheduler_service_type="ExternalName")
    assert len(server.named("daskclusters", "b25")) == 1
    return (
        "After the `UnboundLocalError` of a start with `ExternalName`, the DaskCluster was there."
    )


@bug(26)
async def killed_program(server: ApiServer) -> str:
    async with started():
        [posted] = server.asked("POST", "/shared/daskclusters")
    assert posted["spec"]["idleTimeout"] is None
    assert set(posted["metadata"]) == {"name", "namespace"}
    asked = len(server.requests)
    await controller.daskcluster_autoshutdown(
        spec=posted["spec"], name="a", namespace="shared", logger=logging.getLogger()
    )
    assert not [path for _, path, _ in server.requests[asked:] if "/shared/" in path]
    assert not any("leases" in path for _, path, _ in server.requests)
    return "Nothing says that the client lives; the operator's check for idle clusters did nothing."


@bug(27, AT_ONCE)
async def panel(server: ApiServer) -> str:
    server.scenes["b27"] = Scene(pod=CRASHING)
    existing(server, "b27")
    cluster = made("b27", shutdown_on_close=False)

    def polls() -> int:
        """Count the requests for what was asked for most often."""
        paths = [path for method, path, _ in list(server.requests) if "/b27/" in path]
        return max(map(paths.count, paths), default=0)

    async with starting(cluster):
        await until(lambda: "schedulerpod" in cluster._startup_component_status and polls() > 5)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(await cluster.generate_rich_output())
    text = console.export_text()
    assert "Creating KubeCluster" in text
    assert "Health Checking" in text
    assert "CrashLoopBackOff" not in text
    return "It polled; a crashing pod was `Health Checking`, and connecting was `Creating`."


@bug(28)
async def before_the_start(_: ApiServer) -> str:
    cluster = made("b28")
    with raised(IndexError):
        cluster._repr_html_()
    for name in ("plan", "requested"):
        with raised(AttributeError):
            getattr(cluster, name)
    return "`IndexError` for its HTML, `AttributeError` for `plan` and `requested`."


@bug(29)
async def equality(_: ApiServer) -> str:
    one, other, same = made("b29"), made("other"), made("b29")
    assert one == other
    assert one == same
    assert hash(one) != hash(same)
    return "Two of different namespaces were equal; two of one cluster had different hashes."


@bug(30, ALONE)
async def discovery(server: ApiServer) -> str:
    api = await kr8s.asyncio.api()
    server.objects.clear()
    existing(server, "b30")
    [(name, found)] = [one async for one in discover()]
    assert (name, found) == ("a", Upstream)
    with raised(ValueError, "doesn't already exist"):
        await found.from_name(name, asynchronous=True, quiet=True)
    server.put("b30", "daskclusters", {"metadata": {"name": "of-a-gateway"}}, version=GATEWAY)
    server.groups = [GATEWAY, DASK]
    type(api)._instances.clear()
    assert [name async for name, _ in discover()] == ["of-a-gateway"]
    return "It looked for what it found in another namespace, and found clusters of Dask Gateway."


@bug(32, ALONE)
async def namespace_in_a_pod(server: ApiServer) -> str:
    folder = Path.home() / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("t")
    (folder / "namespace").write_text("team")
    shutil.copy(certifi.where(), folder / "ca.crt")
    place = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    plain = staticmethod(lambda host, port: f"http://{host}:{port}")
    with (
        patch.object(kr8s._auth.KubeAuth, "_format_server_address", plain),
        environment(KUBECONFIG=str(folder / "none"), **place),
    ):
        api = await kr8s.asyncio.api(serviceaccount=str(folder))
        async with made("", namespace=None):
            pass
    assert api.auth.token == "t"
    assert len(server.asked("POST", "/default/daskclusters")) == 1
    return "In a pod of namespace `team`, the DaskCluster was created in `default`."


@bug(33)
async def custom_spec(server: ApiServer) -> str:
    spec = make_cluster_spec(name="a", n_workers=1)
    with warnings.catch_warnings(record=True) as said:
        async with made("b33", custom_cluster_spec=spec, image="mine", n_workers=7, env={"A": "b"}):
            [posted] = server.asked("POST", "/b33/daskclusters")
    assert posted["spec"] == spec["spec"]
    assert not [w for w in said if "spec" in str(w.message)]
    return "`image`, `n_workers` and `env` beside it were ignored without a word."


@bug(34)
async def no_tls(_: ApiServer) -> str:
    with raised(TypeError, "unexpected keyword argument 'security'"):
        made("b34", security=object())
    return "`TypeError: unexpected keyword argument 'security'`."


@bug(35)
async def import_writes(_: ApiServer) -> str:
    assert WRITTEN_BY_IMPORTS
    return "It wrote `.config/dask/kubernetes.yaml`."


@bug(31, ALONE)
async def command_line_errors(_: ApiServer) -> str:
    wrong = CliRunner().invoke(command_line, ["gen", "cluster", "--name", "a", "-e", "A=b=c"])
    assert isinstance(wrong.exception, ValueError), wrong
    with environment(KUBECONFIG=str(UNUSABLE)):
        absent = CliRunner().invoke(command_line, ["port-forward", "mine"])
    assert "No such cluster mine" in absent.output, absent.output
    return "A traceback for `-e A=b=c`; `No such cluster` for a kubeconfig that it cannot use."


def write_kubeconfig(path: Path, server: ApiServer, **user: str) -> None:
    """Write a kubeconfig whose context has the namespace `context`."""
    context = {"cluster": "c", "user": "u", "namespace": "context"}
    made_up = {
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "one", "context": context}],
    }
    path.write_text(yaml.safe_dump(made_up))


async def show(number: int, one: Shown, server: ApiServer) -> None:
    """Note what is seen, or why it is not."""
    try:
        async with asyncio.timeout(120):
            seen[number] = {"words": await one(server)}
    except Exception:
        seen[number] = {"failed": traceback.format_exc()}


async def show_all(server: ApiServer) -> None:
    """Show those that share an event loop."""
    # Held, since kr8s keeps weak references to it only.
    api = await kr8s.asyncio.api()
    assert api.namespace == "context"
    at_once = asyncio.gather(*(show(number, one, server) for number, one in AT_ONCE.items()))
    for number, one in IN_TURN.items():
        await show(number, one, server)
    await at_once
    for cluster in shared:
        await cluster.close()


def fail_a_start() -> None:
    """Fail a start; what the exit prints then is for the caller to see."""
    Upstream._instances.clear()
    os.environ["KUBECONFIG"] = str(UNUSABLE)
    try:
        Upstream(name="a", quiet=True)
    except ValueError as error:
        print(f"failed start: {error}", file=sys.stderr)
    kept.extend(Upstream._instances)


def main(file: Path) -> None:
    warnings.simplefilter("ignore")
    with serving() as server:
        usable = Path.home() / "kubeconfig"
        write_kubeconfig(usable, server)
        write_kubeconfig(UNUSABLE, server, username="a", password="b")
        os.environ["KUBECONFIG"] = str(usable)
        asyncio.run(show_all(server))
        for number, one in ALONE.items():
            asyncio.run(show(number, one, server))
    file.write_text(json.dumps(seen))
    fail_a_start()


#: What was seen, by number.
seen: dict[int, dict[str, str]] = {}
#: Instances that live until the end of the program.
kept: list[Any] = []

if __name__ == "__main__":
    main(Path(sys.argv[1]))
