"""Arguments, keys of the configuration, variables and templates. Nothing is started."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.config
import pytest
import yaml
from distributed.core import Status
from distributed.security import Security

from daskjob.classic import KubeCluster, make_pod_spec
from daskjob.classic.models import manifest_of
from daskjob.errors import (
    ClusterClosed,
    DaskJobError,
    NoSuchFile,
    UnknownArgument,
    WrongArgument,
    WrongType,
)

POD = {"spec": {"containers": [{"image": "i", "args": ["dask-worker"]}]}}
LOTS = {"spec": {"containers": [{"image": "i", "resources": {"limits": {"memory": "lots"}}}]}}
#: The documented arguments, in their order.
ARGUMENTS = [
    *("pod_template", "name", "namespace", "n_workers", "host", "port", "env", "auth"),
    *("idle_timeout", "deploy_mode", "interface", "protocol", "dashboard_address", "security"),
    *("scheduler_service_wait_timeout", "scheduler_service_name_resolution_retries"),
    *("scheduler_pod_template", "apply_default_affinity"),
]


def cluster(*given: Any, **more: Any) -> Any:
    """A cluster that does not start: it would when awaited."""
    found = KubeCluster(*given, asynchronous=True, **more)
    found._quietly_closed()
    return found


async def test_arguments_are_the_documented_ones() -> None:
    parameters = list(inspect.signature(KubeCluster.__init__).parameters)
    assert parameters == ["self", *ARGUMENTS, "kwargs"]


@pytest.mark.check(49)
async def test_every_argument_has_its_effect() -> None:
    security = Security()
    found = cluster(
        make_pod_spec("i"),
        "name-{uuid}",
        "team",
        2,
        "127.0.0.1",
        1234,
        {"A": 1},
        [],
        "10 minutes",
        "local",
        "eth0",
        "tls://",
        ":0",
        security,
        5,
        3,
        {"spec": {"containers": [{"image": "s"}]}},
        "none",
        scheduler_sync_interval=5,
        shutdown_on_close=False,
    )
    chosen = found._options
    assert re.fullmatch("name-[0-9a-f]{8}-[0-9a-f]", found.name)
    assert (found.namespace, chosen.n_workers, found.host, found.port) == (
        *("team", 2, "127.0.0.1", 1234),
    )
    assert (found.env, found.auth, chosen.idle_timeout) == ({"A": 1}, [], "10 minutes")
    assert (chosen.deploy_mode, chosen.interface, chosen.protocol) == ("local", "eth0", "tls://")
    assert (chosen.dashboard_address, found.security) == (":0", security)
    assert (chosen.service_wait_seconds, chosen.name_tries) == (5, 3)
    assert found.scheduler_pod_template.spec.containers[0].image == "s"
    assert (found.apply_default_affinity, found.shutdown_on_close) == ("none", False)
    assert found.dashboard_link == found.forwarded_dashboard_port == ""


@pytest.mark.check(49)
@pytest.mark.parametrize(
    ("key", "value", "of"),
    [
        ("name", "mine", lambda c: c.name),
        ("namespace", "team", lambda c: c.namespace),
        ("count.start", 3, lambda c: c._options.n_workers),
        ("count.max", 4, lambda c: c._options.maximum),
        ("env", {"A": "b"}, lambda c: c.env),
        ("host", "h", lambda c: c.host),
        ("port", 99, lambda c: c.port),
        ("idle-timeout", "1h", lambda c: c._options.idle_timeout),
        ("deploy-mode", "local", lambda c: c._options.deploy_mode),
        ("interface", "lo", lambda c: c._options.interface),
        ("protocol", "tls://", lambda c: c._options.protocol),
        ("dashboard_address", ":1", lambda c: c._options.dashboard_address),
        ("scheduler-service-type", "NodePort", lambda c: c._options.service_type),
        ("scheduler-service-wait-timeout", 7, lambda c: c._options.service_wait_seconds),
        ("scheduler-service-name-resolution-retries", 8, lambda c: c._options.name_tries),
        ("scheduler-service-template", {"spec": {}}, lambda c: c._options.service_template),
        ("scheduler-pdb-template", {"spec": {}}, lambda c: c._options.budget_template),
        ("scheduler-start-timeout", 9, lambda c: c._options.start_seconds),
        ("lease-duration", 0, lambda c: c._options.lease_seconds),
    ],
)
async def test_every_key_has_its_effect(key: str, value: Any, of: Callable[[Any], object]) -> None:
    with dask.config.set({f"kubernetes.{key}": value}):
        assert of(cluster(POD)) == value
    with dask.config.set({f"kubernetes.{key}": None}):
        assert of(cluster(POD)) != value


@pytest.mark.check(49)
async def test_templates_come_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_IMAGE", "mine")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    pod = {"spec": {"containers": [{"image": "${MY_IMAGE}"}]}}
    file = tmp_path / "worker.yml"
    file.write_text(yaml.safe_dump(pod))

    def image(found: Any, which: str = "pod_template") -> str:
        return str(getattr(found, which).spec.containers[0].image)

    assert image(cluster(pod)) == image(cluster(str(file))) == image(cluster(file)) == "mine"
    for made in (
        KubeCluster.from_yaml(str(file), asynchronous=True),
        KubeCluster.from_dict(pod, asynchronous=True),
    ):
        made._quietly_closed()
        assert image(made) == "mine"
    for kind in ("worker", "scheduler"):
        which = "pod_template" if kind == "worker" else "scheduler_pod_template"
        given = () if kind == "worker" else (POD,)
        for key, value in (("template", pod), ("template-path", "{FOLDER}/worker.yml")):
            with dask.config.set({f"kubernetes.{kind}-{key}": value}):
                assert image(cluster(*given), which) == "mine"
    # The scheduler's is the workers' by default.
    assert image(cluster(pod), "scheduler_pod_template") == "mine"
    assert pod == {"spec": {"containers": [{"image": "${MY_IMAGE}"}]}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, {}), "Worker pod specification not provided"),
        ((POD, {"deploy_mode": "remotely"}), "Unknown deploy mode 'remotely'"),
        ((POD, {"apply_default_affinity": "maybe"}), "must be one of"),
        ((POD, {"n_workers": -1}), "n_workers must be a number from 0 on; found -1"),
        ((POD, {"name": "{nothing}"}), "there is no environment variable nothing"),
        (({"spec": {}}, {}), r"needs spec\.containers"),
        ((3, {}), "a pod template is a V1Pod, a dictionary or the path of a file; found: 3"),
        ((POD, {"namespace": "My Team"}), "namespace: 'My Team' cannot be the name of a namespace"),
        ((LOTS, {}), r"pod template: spec\.containers\[0\]\.resources\.limits\.memory is 'lots'"),
    ],
)
async def test_wrong_argument_is_reported(given: tuple[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster(given[0], **given[1])


@pytest.mark.parametrize("env", ["A=b", ["A=b"], 5])
async def test_variables_that_are_no_dictionary_are_rejected(env: Any) -> None:
    for make in (lambda: cluster(POD, env=env), lambda: make_pod_spec("i", env=env)):
        with pytest.raises(
            WrongType, match=r"^env is .*; write a dictionary, such as {'NAME': 'va"
        ):
            make()


@pytest.mark.parametrize(
    ("argument", "amount", "instead"),
    [("memory_limit", "4GB", "'4G' or '4Gi'"), ("cpu_request", "lots", "'500m' for half a CPU")],
)
def test_an_amount_that_kubernetes_cannot_read_is_rejected(
    argument: str, amount: str, instead: str
) -> None:
    given: dict[str, Any] = {argument: amount}
    with pytest.raises(WrongArgument) as caught:
        make_pod_spec("i", **given)
    assert f"{argument} is '{amount}', which is no quantity of Kubernetes; write {instead}" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.scale(-1), "^n must be a number from 0 on; found -1$"),
        (lambda c: c.scale("two"), "^n must be a number from 0 on; found 'two'$"),
        (lambda c: c.adapt(minimum=3, maximum=1), "^maximum=1 is less than minimum=3$"),
        (lambda c: c.adapt(maximum="3"), "^maximum must be a number from 0 on; found '3'$"),
        (lambda c: c.adapt(minimun=1), r"^adapt has no argument 'minimun' \(did you mean minimum"),
        (lambda c: c.adapt(1, 3), "write minimum= and maximum="),
    ],
)
async def test_a_wrong_number_of_workers_is_rejected_before_anything_is_scaled(
    call: Callable[[Any], Any], message: str
) -> None:
    found = cluster(POD)
    found.status = Status.created
    try:
        with pytest.raises(DaskJobError, match=message):
            call(found)
    finally:
        found._quietly_closed()


@pytest.mark.parametrize("call", ["scale", "adapt", "get_logs", "logs", "pods", "scale_down"])
async def test_a_closed_cluster_says_so(call: str) -> None:
    found = cluster(POD, name="mine")
    with pytest.raises(ClusterClosed, match=r"^cluster mine is closed; create a new KubeCluster$"):
        getattr(found, call)(*([()] if call == "scale_down" else []))
    assert repr(found) == "KubeCluster(mine, closed)"


@pytest.mark.parametrize("text", ["- a\n- b", "{", "\x00"])
async def test_wrong_file_is_reported(text: str, tmp_path: Path) -> None:
    file = tmp_path / "w.yml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"w\.yml"):
        cluster(str(file))


@pytest.mark.parametrize("how", ["pod_template", "from_yaml", "key"])
async def test_a_file_that_does_not_exist_is_named(how: str, tmp_path: Path) -> None:
    file = str(tmp_path / "none.yml")
    make: Callable[[Any], Any] = KubeCluster.from_yaml if how == "from_yaml" else cluster
    with (
        dask.config.set({"kubernetes.worker-template-path": file}),
        pytest.raises(NoSuchFile, match=r"pod template: there is no file /.*/none\.yml$"),
    ):
        make(None if how == "key" else file)


@pytest.mark.parametrize(
    ("argument", "near"),
    [
        ("n_worker", " (did you mean n_workers?)"),
        ("silence_log", " (did you mean silence_logs?)"),
        ("zzz", ""),
    ],
)
async def test_an_unknown_argument_is_reported_with_the_nearest_one(
    argument: str, near: str
) -> None:
    with pytest.raises(UnknownArgument) as caught:
        cluster(POD, **{argument: 1})
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == f"KubeCluster has no argument {argument!r}{near}"


async def test_security_of_another_type_is_reported() -> None:
    with pytest.raises(TypeError, match=r"security must be a distributed\.Security"):
        cluster(POD, security={"tls": True})


@pytest.mark.check(3)
@pytest.mark.parametrize("called", ["WORKER_NAME", "NAME"])
def test_variables_of_the_first_generation_count_with_a_warning(
    called: str, tmp_path: Path
) -> None:
    file = tmp_path / "worker-spec.yml"
    file.write_text(yaml.safe_dump(POD))
    code = """
import asyncio, json, warnings
from daskjob.classic import KubeCluster
async def main():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        c = KubeCluster(asynchronous=True)
    mine = [str(w.message) for w in seen if "DASK_KUBERNETES" in str(w.message)]
    from daskjob.classic.links import dashboard_link
    image = c.pod_template.spec.containers[0].image
    print(json.dumps([c.name, image, sorted(set(mine)), dashboard_link("h", 1)]))
    c._quietly_closed()
asyncio.run(main())
"""
    variables = {
        **os.environ,
        "DASK_KUBERNETES_WORKER_TEMPLATE_PATH": str(file),
        f"DASK_KUBERNETES_{called}": "first-{uuid}",
        "DASK_DIAGNOSTICS_LINK" if called == "NAME" else "DASK_DIANGOSTICS_LINK": (
            "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"
        ),
        "JUPYTERHUB_SERVICE_PREFIX": "/user/jo/",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=variables
    )
    assert done.returncode == 0, done.stderr
    name, image, seen, link = json.loads(done.stdout)
    assert (name[:6], image, link) == ("first-", "i", "/user/jo/proxy/1/status")
    assert len(seen) == 2, seen
    assert f"the variable DASK_KUBERNETES_{called} still counts" in seen[0]
    assert "its name today is DASK_KUBERNETES__WORKER_TEMPLATE_PATH" in seen[1]


@pytest.mark.check(51)
def test_cluster_needs_no_package_of_a_client() -> None:
    code = """
import asyncio, sys
for name in ("kubernetes", "kubernetes_asyncio", "kr8s"):
    sys.modules[name] = None
from daskjob.classic import KubeCluster, make_pod_spec
async def main():
    KubeCluster(make_pod_spec("i"), asynchronous=True)._quietly_closed()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_template_of_a_cluster_is_a_copy() -> None:
    pod = make_pod_spec("i", labels={"a": "b"})
    found = cluster(pod)
    found.pod_template.metadata.labels["c"] = "d"
    assert manifest_of(pod)["metadata"]["labels"] == {"a": "b"}
