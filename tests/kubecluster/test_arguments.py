"""The arguments of KubeCluster: given, configured, checked, before a server is asked."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
import pytest
from distributed.security import Security

from daskjob.core.errors import DaskJobError
from daskjob.core.names import is_valid_name
from daskjob.core.parsed import parsed_cluster
from daskjob.kubecluster import defaults, errors
from daskjob.kubecluster.arguments import (
    Arguments,
    check_of_adapt,
    check_passed_on,
    known_arguments,
    resolved,
)
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.cluster_names import cluster_name, escaped
from daskjob.kubecluster.create_mode import CreateMode
from daskjob.kubecluster.custom_specs import check_worker_part
from daskjob.kubecluster.existing import values_of, without_effect
from daskjob.kubecluster.groups import checked_group_name
from daskjob.kubecluster.manifest import cluster_manifest
from daskjob.kubecluster.pod_logs import check_tail
from daskjob.kubecluster.scheduler_wait import quota_step
from daskjob.kubecluster.specs import make_cluster_spec, make_worker_spec
from daskjob.kubecluster.transport_security import (
    certificates,
    checked_security,
    is_secure,
    secured,
)
from daskjob.submit.clusters.cluster import Cluster

#: Each argument with its key, a value as a variable has it, and what it is then.
EVERY = {
    "name": ("name", "mine", "mine"),
    "namespace": ("namespace", "team", "team"),
    "image": ("image", "registry/dask:1", "registry/dask:1"),
    "n_workers": ("count.start", "4", 4),
    "resources": ("resources", "{'limits': {'memory': '1Gi'}}", {"limits": {"memory": "1Gi"}}),
    "env": ("env", "{'A': 1}", [{"name": "A", "value": "1"}]),
    "worker_command": ("worker-command", "dask cuda worker", ["dask", "cuda", "worker"]),
    "port_forward_cluster_ip": ("port-forward-cluster-ip", "true", True),
    "create_mode": ("create-mode", "CONNECT_ONLY", CreateMode.CONNECT_ONLY),
    "shutdown_on_close": ("shutdown-on-close", "false", False),
    "idle_timeout": ("idle-timeout", "900", 900),
    "resource_timeout": ("resource-timeout", "7", 7.0),
    "scheduler_service_type": ("scheduler-service-type", "NodePort", "NodePort"),
    "scheduler_forward_port": ("scheduler-forward-port", "18787", 18787),
    "comm_forward_port": ("comm-forward-port", "18786", 18786),
    "jupyter": ("scheduler-jupyter", "true", True),
}


@pytest.fixture(autouse=True)
def only_defaults() -> Iterator[None]:
    defaults.register()
    with dask.config.set({"kubernetes": dict(defaults.DEFAULTS["kubernetes"])}):
        yield


def from_variables(variables: dict[str, str], **given: Any) -> Arguments:
    found = dask.config.collect(paths=[], env=variables)
    with dask.config.set(dask.config.merge(dask.config.config, found)):
        return resolved(given)


@pytest.mark.check(1)
def test_defaults_are_those_of_the_documentation() -> None:
    found = resolved({})
    assert found.name.startswith("dask-")
    assert is_valid_name(found.name)
    assert (found.namespace, found.image) == (None, "ghcr.io/dask/dask:latest")
    assert (found.n_workers, found.resources, found.env) == (0, {}, [])
    assert found.worker_command == ["dask", "worker"]
    assert found.create_mode is CreateMode.CREATE_OR_CONNECT
    assert (found.shutdown_on_close, found.port_forward_cluster_ip) == (None, None)
    assert (found.idle_timeout, found.resource_timeout) == (0, 60.0)
    assert (found.scheduler_service_type, found.jupyter) == ("ClusterIP", False)
    assert resolved({}).name != found.name


@pytest.mark.check(1)
@pytest.mark.parametrize("argument", EVERY)
def test_a_given_value_wins_over_a_configured_one(argument: str) -> None:
    key, text, value = EVERY[argument]
    given = {
        "env": {"B": True},
        "resources": {"requests": {"cpu": 1}},
        "create_mode": CreateMode.CREATE_ONLY,
    }
    other = given.get(argument, {bool: not value, int: 1, float: 1.0}.get(type(value), "NodePort"))
    if argument in ("name", "namespace"):
        other = "other"
    if argument == "scheduler_service_type":
        other = "LoadBalancer"
    variables = {f"DASK_KUBERNETES__{key.replace('.', '__').replace('-', '_').upper()}": text}
    found = getattr(from_variables(variables, **{argument: other}), argument)
    assert found != value
    assert argument in known_arguments()


@pytest.mark.check(2)
@pytest.mark.parametrize("argument", EVERY)
def test_every_key_comes_from_its_variable_and_from_the_configuration(argument: str) -> None:
    key, text, value = EVERY[argument]
    name = f"DASK_KUBERNETES__{key.replace('.', '__').replace('-', '_').upper()}"
    assert getattr(from_variables({name: text}), argument) == value
    with dask.config.set({f"kubernetes.{key}": value}):
        assert getattr(resolved({}), argument) == value


@pytest.mark.check(2)
def test_a_custom_spec_may_be_configured(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(json.dumps(make_cluster_spec("from-file")))
    found = from_variables({"DASK_KUBERNETES__CUSTOM_CLUSTER_SPEC": str(file)})
    assert found.name == "from-file"


@pytest.mark.check(2)
def test_what_dask_kubernetes_configures_deletes_no_existing_cluster() -> None:
    with dask.config.set(
        {"kubernetes.shutdown-on-close": True, "kubernetes.worker-command": "dask-worker"}
    ):
        found = resolved({})
    assert found.shutdown_on_close is None
    assert found.worker_command == ["dask", "worker"]


@pytest.mark.check(3)
@pytest.mark.parametrize(
    ("variable", "new", "argument", "value"),
    [
        ("DASK_KUBERNETES_WORKER_NAME", "DASK_KUBERNETES__NAME", "name", "old"),
        ("DASK_KUBERNETES_NAMESPACE", "DASK_KUBERNETES__NAMESPACE", "namespace", "old"),
        ("DASK_KUBERNETES_COUNT_START", "DASK_KUBERNETES__COUNT__START", "n_workers", 3),
    ],
)
def test_variables_with_single_underscores_work_and_warn(
    variable: str, new: str, argument: str, value: object
) -> None:
    with pytest.warns(FutureWarning, match=f"{variable} is an old name: set {new} instead"):
        assert getattr(from_variables({variable: str(value)}), argument) == value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new_value = {"name": "new", "namespace": "new", "n_workers": 5}[argument]
        found = from_variables({variable: str(value), new: str(new_value)})
    assert getattr(found, argument) == new_value


@pytest.mark.check(4)
@pytest.mark.parametrize(
    "user", ["J.Doe", "root", "a_b", "", "ÄÖÜ", "x" * 100, "DOMAIN\\user", "-1-"]
)
def test_the_default_name_is_valid_for_every_user(
    monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: user)
    monkeypatch.setenv("user", "x")
    monkeypatch.setenv("uuid", "x")
    name = resolved({}).name
    assert is_valid_name(name), name
    assert name.startswith(f"dask-{escaped(user)}-")


@pytest.mark.check(4)
def test_a_user_without_a_name_has_a_cluster_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert resolved({}).name.startswith("dask-user-")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Mine", "'Mine' cannot be the name of a cluster: 1 to 63 characters"),
        ("{nothing}", r"placeholder \{nothing\}, which is neither user nor uuid nor a variable"),
        ("{", "is no template"),
        ("worker-spec.yml", "for a pod template, use KubeCluster.from_yaml"),
        ("a" * 64, "1 to 63 characters"),
    ],
)
def test_a_name_that_cannot_work_is_rejected_with_the_rule(template: str, message: str) -> None:
    with pytest.raises(errors.ValidationError, match=message):
        cluster_name(template, {})
    assert cluster_name("a-{HOST}", {"HOST": "Node.1"}) == "a-node-1"


def written(**given: Any) -> dict[str, Any]:
    return cluster_manifest(resolved(given), {"a": "b"})


@pytest.mark.check(5)
def test_arguments_beside_a_custom_spec_change_it() -> None:
    custom = make_cluster_spec("custom", n_workers=1, env={"KEPT": "1", "B": "old"})
    before = pickle.dumps(custom)
    found = written(
        custom_cluster_spec=custom,
        n_workers=5,
        image="other",
        env={"B": "new"},
        resources={"limits": {"cpu": 1}},
        idle_timeout="5 minutes",
        scheduler_service_type="NodePort",
        jupyter=True,
        namespace="team",
    )
    assert pickle.dumps(custom) == before
    spec = found["spec"]
    assert (spec["worker"]["replicas"], spec["idleTimeout"]) == (5, 300)
    assert spec["scheduler"]["service"]["type"] == "NodePort"
    for part in ("worker", "scheduler"):
        container = spec[part]["spec"]["containers"][0]
        assert (container["image"], container["resources"]) == ("other", {"limits": {"cpu": 1}})
        assert container["env"] == [{"name": "KEPT", "value": "1"}, {"name": "B", "value": "new"}]
    assert spec["scheduler"]["spec"]["containers"][0]["args"][-1] == "--jupyter"
    assert found["metadata"] == {"name": "custom", "namespace": "team", "annotations": {"a": "b"}}


@pytest.mark.check(5)
def test_parts_of_a_custom_spec_may_be_objects_of_a_classic_template() -> None:
    from daskjob.classic import make_pod_spec
    from daskjob.kubecluster.groups import worker_part

    pod = make_pod_spec("i", memory_limit="4G", env={"A": "1"})
    pod["spec"]["nodeSelector"] = {"disktype": "ssd"}
    spec = make_cluster_spec("merged")
    spec["spec"]["worker"]["spec"] = pod["spec"]
    made = written(custom_cluster_spec=spec)["spec"]["worker"]["spec"]
    given: dict[str, Any] = dict.fromkeys(("image", "resources", "worker_command", "env"))
    custom = {"replicas": 1, "spec": pod.spec}
    group = worker_part(None, n_workers=2, custom_spec=custom, **given)  # type: ignore[arg-type]
    for found in (made, group["spec"]):
        (container,) = found["containers"]
        assert found["nodeSelector"] == {"disktype": "ssd"}
        assert container["resources"]["limits"] == {"memory": "4G"}
        assert {"name": "A", "value": "1"} in container["env"]
    assert (group["replicas"], custom["replicas"]) == (2, 1)
    assert spec["spec"]["worker"]["spec"] is pod.spec


@pytest.mark.check(5)
def test_an_argument_that_cannot_be_applied_to_a_custom_spec_is_rejected_by_name() -> None:
    with pytest.raises(errors.ValidationError, match="worker_command cannot be applied"):
        written(custom_cluster_spec=make_cluster_spec("x"), worker_command="dask-cuda-worker")


@pytest.mark.check(12)
@pytest.mark.parametrize(
    ("given", "configured", "namespace"),
    [(None, None, "own"), ("given", None, "given"), (None, "configured", "own")],
)
def test_a_cluster_is_found_in_the_namespace_of_its_custom_spec(
    given: str | None, configured: str | None, namespace: str
) -> None:
    custom = make_cluster_spec("custom")
    custom["metadata"]["namespace"] = "own"
    with dask.config.set({"kubernetes.namespace": configured}):
        found = resolved({"custom_cluster_spec": custom, "namespace": given})
    assert found.namespace == namespace
    assert cluster_manifest(found, {})["metadata"]["namespace"] == namespace


@pytest.mark.check(37)
def test_a_custom_spec_that_was_copied_from_a_cluster_brings_no_old_lease() -> None:
    custom = make_cluster_spec("custom")
    old = {"kubernetes.dask.org/lease-renew-time": "2020-01-01T00:00:00Z"}
    old["kubernetes.dask.org/lease-duration-seconds"] = "5"
    custom["metadata"]["annotations"] = {**old, "kept": "1"}
    custom["metadata"] |= {"resourceVersion": "5", "uid": "u", "labels": {"x": "y"}}
    assert written(custom_cluster_spec=custom)["metadata"] == {
        "name": "custom",
        "annotations": {"kept": "1", "a": "b"},
        "labels": {"x": "y"},
    }


@pytest.mark.check(35)
def test_a_name_that_is_given_counts_more_than_a_configured_spec() -> None:
    with dask.config.set({"kubernetes.custom-cluster-spec": make_cluster_spec("configured")}):
        assert resolved({"name": "wanted"}).name == "wanted"
        assert resolved({}).name == "configured"


@pytest.mark.check(5)
def test_configured_values_leave_a_custom_spec_alone() -> None:
    custom = make_cluster_spec("custom", n_workers=2, image="own")
    with dask.config.set({"kubernetes.image": "configured", "kubernetes.count.start": 9}):
        found = written(custom_cluster_spec=custom)
    assert found["spec"] == custom["spec"]


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"n_workers": -1}, ValueError, "n_workers: -1 is not allowed"),
    ({"n_workers": True}, ValueError, "n_workers: True is not allowed"),
    ({"n_workers": "3"}, ValueError, "n_workers: '3' is not allowed"),
    ({"resources": {"limit": {}}}, ValueError, "resources has the unknown field 'limit'"),
    (
        {"resources": {"limits": {"memroy": "4Gi"}}},
        ValueError,
        "resources.limits has the unknown resource 'memroy' (did you mean memory?)",
    ),
    ({"resources": {"requests": {"CPU": 1}}}, ValueError, "'CPU' (did you mean cpu?)"),
    ({"resources": {"limits": {"gpu": 1}}}, ValueError, "'gpu' (did you mean nvidia.com/gpu?)"),
    ({"resources": {"limits": {"disk": "1Gi"}}}, ValueError, "'disk'; resources are cpu, memory"),
    (
        {"custom_cluster_spec": "/none/spec.yaml"},
        FileNotFoundError,
        "custom_cluster_spec: there is no file /none/spec.yaml",
    ),
    ({"resources": {"limits": "1Gi"}}, TypeError, "resources has limits: '1Gi'"),
    ({"env": "A=1"}, TypeError, "env is 'A=1'"),
    ({"worker_command": []}, ValueError, "the worker command is empty"),
    ({"create_mode": "SOMETIMES"}, ValueError, "create_mode: 'SOMETIMES' is not allowed"),
    ({"scheduler_service_type": "ExternalName"}, ValueError, "scheduler_service_type"),
    ({"scheduler_forward_port": 70000}, ValueError, "scheduler_forward_port: 70000 is no port"),
    ({"resource_timeout": 0}, ValueError, "resource_timeout: 0 is no time"),
    ({"resource_timeout": "soon"}, ValueError, "resource_timeout: 'soon' is no time"),
    ({"shutdown_on_close": "yes"}, ValueError, "shutdown_on_close: 'yes' is neither True"),
    ({"custom_cluster_spec": {}}, ValueError, "custom_cluster_spec is no DaskCluster"),
    ({"custom_cluster_spec": {"kind": "DaskJob", "spec": {}}}, ValueError, "is a DaskJob"),
    ({"custom_cluster_spec": {"spec": {"worker": None}}}, ValueError, "spec.worker is None"),
    ({"custom_cluster_spec": {"spec": {"scheduler": []}}}, ValueError, "spec.scheduler is []"),
    (
        {"custom_cluster_spec": {"spec": {"scheduler": {"service": None}}}},
        ValueError,
        "spec.scheduler.service is None, not a mapping",
    ),
    ({"custom_cluster_spec": {"spec": {}, "metadata": []}}, ValueError, "metadata is []"),
    ({"custom_cluster_spec": "nul\0"}, ValueError, "cannot be read: embedded null byte"),
    (
        {"custom_cluster_spec": make_cluster_spec("x") | {"spec": {"idleTimeuot": 5}}},
        ValueError,
        "custom_cluster_spec: spec.idleTimeuot: 5 is not allowed; did you mean 'idleTimeout'",
    ),
    (
        {"custom_cluster_spec": {"spec": {"worker": {"replica": 3}}}},
        ValueError,
        "spec.worker.replica: 3 is not allowed; did you mean 'replicas'",
    ),
    ({"custom_cluster_spec": {"spec": {}}}, ValueError, "spec.scheduler: is missing"),
    ({"worker_command": 5}, TypeError, "the worker command is 5"),
    ({"idle_timeout": ""}, ValueError, "idle_timeout: '' is no time"),
    ({"comm_forward_port": float("inf")}, ValueError, "comm_forward_port: inf is no port"),
    ({"name": 5}, ValueError, "the name of a cluster is a string, not 5"),
    ({"namespace": 5}, ValueError, "namespace: 5 cannot be the name of a namespace"),
]


@pytest.mark.check(20)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"replica": 3}, "custom_spec: replica: 3 is not allowed; did you mean 'replicas'"),
        ({"replicas": -1}, "custom_spec: replicas: -1 is not allowed"),
        ({"autoscaling": {}}, "custom_spec: autoscaling: {} is not allowed"),
    ],
)
async def test_a_mistyped_field_of_a_groups_custom_spec_is_rejected(
    wrong: dict[str, Any], message: str
) -> None:
    given = {**make_worker_spec(), **wrong}
    cluster = KubeCluster("x", asynchronous=True, quiet=True)
    with pytest.raises(errors.ValidationError, match=re.escape(message)):
        cluster.add_worker_group("big", custom_spec=given)


@pytest.mark.check(18)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"minimun": 1}, "adapt has no argument 'minimun' (did you mean minimum?)"),
        ({"interval": 1, "workergroup": "x"}, "'workergroup' (did you mean worker_group?)"),
        ({"cores": 1}, "adapt has no argument 'cores'"),
    ],
)
async def test_an_unknown_argument_of_adapt_is_rejected(
    given: dict[str, Any], message: str
) -> None:
    cluster = KubeCluster("x", asynchronous=True, quiet=True)
    with pytest.raises(errors.UnknownArgument, match=re.escape(message)):
        cluster.adapt(**given)


@pytest.mark.check(18)
@pytest.mark.parametrize("given", [("interval",), ("wait_count", "target_duration"), ()])
def test_arguments_of_dasks_own_adaptive_scaling_are_noted(given: tuple[str, ...]) -> None:
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        check_of_adapt(dict.fromkeys(given, 1))
    texts = [str(warning.message) for warning in noted]
    assert [text.split(";")[0] for text in texts] == (
        [f"without effect in adapt: {', '.join(given)}"] if given else []
    )


@pytest.mark.check(12)
@pytest.mark.parametrize(
    ("given", "ignored"),
    [
        ({}, []),
        ({"image": "own", "n_workers": 2, "env": {}, "idle_timeout": 0}, []),
        ({"image": "other", "n_workers": 2, "namespace": "team"}, ["image"]),
        ({"n_workers": 5, "worker_command": "x"}, ["n_workers", "worker_command"]),
        ({"custom_cluster_spec": make_cluster_spec("x")}, ["custom_cluster_spec"]),
    ],
)
def test_what_an_existing_cluster_does_not_take(given: dict[str, Any], ignored: list[str]) -> None:
    existing = Cluster(make_cluster_spec("x", n_workers=2, image="own"))
    assert without_effect(resolved(given), values_of(existing)) == ignored


@pytest.mark.check(26)
def test_security_needs_certificates(tmp_path: Path) -> None:
    with pytest.raises(errors.ValidationError, match="security: 'yes' is neither True nor a"):
        checked_security("yes")
    with pytest.raises(errors.ValidationError, match="security has no tls_ca_file, which"):
        certificates(Security(require_encryption=True))
    lost = Security(tls_ca_file=str(tmp_path / "none"), require_encryption=True)
    with pytest.raises(errors.ValidationError, match="security: tls_ca_file cannot be read"):
        certificates(lost)
    made = checked_security(True)
    assert made is not None
    files = certificates(made)
    assert sorted(files) == [
        *("ca.pem", "scheduler-key.pem", "scheduler.pem", "worker-key.pem", "worker.pem")
    ]
    plain = make_cluster_spec("x")
    assert not is_secure(plain)
    assert is_secure(secured(plain, "x-tls"))
    assert not is_secure(plain)


@pytest.mark.check(6)
@pytest.mark.parametrize(("given", "kind", "message"), WRONG)
def test_a_wrong_argument_is_named_in_one_sentence(
    given: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(DaskJobError) as caught:
        resolved(given)
    assert isinstance(caught.value, kind)
    assert str(caught.value).startswith(message) or message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.check(6)
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ValidationError("x"), ValueError),
        (errors.UnknownArgument("x"), TypeError),
        (errors.ClusterExists("x"), ValueError),
        (errors.NoSuchCluster("x"), ValueError),
        (errors.ClusterClosed("x"), RuntimeError),
        (errors.OperatorNotInstalled(), RuntimeError),
        (errors.StartTimeout("x"), TimeoutError),
        (errors.CloseTimeout("x"), TimeoutError),
        (errors.NoConnection("x"), ConnectionError),
        (errors.LocalPortTaken("x"), ConnectionError),
        (errors.StillMissing(1, 2, 3, "no node"), Exception),
        (errors.CrashLoopBackOffError("x"), errors.SchedulerStartupError),
        (errors.BlockingCall("x"), RuntimeError),
    ],
)
def test_every_error_is_of_daskjob_and_of_the_kind_that_upstream_raised(
    error: Exception, kind: type[Exception]
) -> None:
    assert isinstance(error, DaskJobError)
    assert isinstance(error, kind)
    assert str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.check(6)
def test_an_argument_that_does_not_exist_is_rejected_with_the_similar_one() -> None:
    with pytest.raises(
        errors.UnknownArgument, match=r"no argument 'n_worker' \(did you mean n_workers\?\)$"
    ):
        check_passed_on({"n_worker": 1}, known_arguments())
    with pytest.raises(TypeError, match=r"no argument .zzz.$"):
        check_passed_on({"zzz": 1}, known_arguments())
    check_passed_on({"scheduler_sync_interval": "2s"}, known_arguments())


#: As the page of the first generation has it.
WORKER_SPEC = """\
kind: Pod
metadata:
  labels:
    foo: bar
spec:
  restartPolicy: Never
  containers:
  - image: daskdev/dask:latest
    args: [dask-worker, --nthreads, '2', --no-bokeh, --memory-limit, 6GB, --death-timeout, '60']
    env:
      - name: EXTRA_PIP_PACKAGES
        value: fastparquet
    resources:
      limits: {cpu: "2", memory: 6G}
"""


@pytest.mark.check(3)
@pytest.mark.check(53)
@pytest.mark.parametrize("how", ["method", "variable", "old variable"])
def test_a_pod_template_of_the_first_generation_makes_a_cluster(tmp_path: Path, how: str) -> None:
    file = tmp_path / "worker-spec.yml"
    file.write_text(WORKER_SPEC)
    if how == "method":
        given = {"name": "first", "n_workers": 2, "host": "0.0.0.0", "_starts_at_once": False}
        with pytest.warns(FutureWarning, match="host has no effect"):
            found = KubeCluster.from_yaml(str(file), **given)._session.arguments
    elif how == "variable":
        name = "DASK_KUBERNETES__WORKER_TEMPLATE_PATH"
        found = from_variables({name: str(file)}, name="first", n_workers=2)
    else:
        name = "DASK_KUBERNETES_WORKER_TEMPLATE_PATH"
        with pytest.warns(FutureWarning, match="set DASK_KUBERNETES__WORKER_TEMPLATE_PATH instead"):
            found = from_variables({name: str(file)}, name="first", n_workers=2)
    made = cluster_manifest(found, {})
    cluster, mistakes = parsed_cluster(made)
    assert mistakes == ()
    assert (cluster.meta.name, cluster.spec.worker.replicas) == ("first", 2)
    (worker,) = made["spec"]["worker"]["spec"]["containers"]
    assert worker["args"][:2] == ["dask", "worker"]
    assert "--no-dashboard" in worker["args"]
    assert "--no-bokeh" not in worker["args"]
    (scheduler,) = made["spec"]["scheduler"]["spec"]["containers"]
    assert scheduler["image"] == worker["image"] == "daskdev/dask:latest"
    # The workers' resources are not the scheduler's.
    assert not scheduler["resources"]


@pytest.mark.check(8)
def test_values_of_variables_become_strings() -> None:
    found = written(name="x", env={"A": 1, "B": True, "C": 1.5})
    for part in ("worker", "scheduler"):
        env = found["spec"][part]["spec"]["containers"][0]["env"]
        assert all(isinstance(variable["value"], str) for variable in env)
    listed = [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    assert resolved({"env": listed}).env == listed


@pytest.mark.check(2)
@pytest.mark.parametrize("maximum", [1, 10, "10"])
def test_a_maximum_of_the_first_generation_is_reported(maximum: object) -> None:
    limited = dask.config.set({"kubernetes.count.max": maximum})
    with limited, pytest.warns(FutureWarning, match=rf"count.max={maximum} limits scale_up only"):
        resolved({"name": "x"})


@pytest.mark.check(48)
def test_the_defaults_of_dask_kubernetes_beside_ours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    config: dict[str, Any] = {}
    theirs = {"kubernetes": {"shutdown-on-close": True, "worker-command": "dask-worker"}}
    monkeypatch.setattr(dask.config, "defaults", [])
    monkeypatch.setattr(dask.config, "config", config)
    dask.config.update_defaults(theirs, config=config, defaults=dask.config.defaults)
    defaults.register()
    defaults.register()
    assert dask.config.defaults == [theirs, defaults.DEFAULTS]
    assert config["kubernetes"]["shutdown-on-close"] is True
    assert config["kubernetes"]["worker-command"] == "dask-worker"
    assert config["kubernetes"]["image"] == "ghcr.io/dask/dask:latest"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image": "my image"}, "image: 'my image' is no reference of an image; write one, such"),
        ({"image": ""}, "image: '' is no reference of an image"),
        ({"namespace": "My Team"}, "namespace: 'My Team' cannot be the name of a namespace"),
        ({"env": {"A": object()}}, "the variable A in env is <object object at"),
        ({"env": {"A": dict}}, "the variable A in env is <class 'dict'>, but a variable is text"),
        (
            {"resources": {"requests": {"memory": "4Gi"}, "limits": {"memory": "1Gi"}}},
            "resources.requests.memory is '4Gi', more than resources.limits.memory, which is '1Gi'",
        ),
    ],
)
def test_what_every_api_server_would_reject_is_rejected_before_a_start(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(DaskJobError, match="^" + re.escape(message)):
        resolved(given)


def test_a_request_of_the_limit_is_no_mistake() -> None:
    same = {"requests": {"memory": "1024Mi", "cpu": "500m"}, "limits": {"memory": "1Gi", "cpu": 1}}
    assert resolved({"resources": same}).resources == same


@pytest.mark.parametrize("argument", ["n_workers", "resource_timeout", "create_mode", "image"])
def test_a_wrong_value_of_the_configuration_is_named_by_its_key(argument: str) -> None:
    key = EVERY[argument][0]
    with (
        dask.config.set({f"kubernetes.{key}": "so long"}),
        pytest.raises(errors.ValidationError, match=rf"^kubernetes\.{re.escape(key)}: 'so long' "),
    ):
        resolved({})
    with pytest.raises(errors.ValidationError, match=rf"^{argument}: 'so long' "):
        resolved({argument: "so long"})


@pytest.mark.parametrize(
    ("wrong", "key"), [("n_workers", "count.start"), ("n-workers", "count.start")]
)
def test_an_argument_whose_key_has_another_name_is_named(wrong: str, key: str) -> None:
    with (
        dask.config.set({f"kubernetes.{wrong}": 4}),
        pytest.warns(
            UserWarning, match=rf"^kubernetes\.n.workers has no effect: the key is .*{key}"
        ),
    ):
        assert resolved({}).n_workers == 0


def test_all_unknown_arguments_are_named_at_once() -> None:
    with pytest.raises(errors.UnknownArgument) as caught:
        check_passed_on({"nworkers": 1, "img": "x"}, known_arguments())
    assert str(caught.value) == (
        "KubeCluster has no argument 'nworkers' (did you mean n_workers?), "
        "'img' (did you mean image?)"
    )


def test_unknown_fields_of_custom_specs_are_named_with_a_warning() -> None:
    spec = make_cluster_spec("mine", n_workers=1)
    spec["spec"]["worker"]["spec"]["containers"][0]["arg"] = ["--nthreads", "2"]
    with pytest.warns(UserWarning, match=r"^custom_cluster_spec: spec\.worker\.spec.*'args'\?$"):
        resolved({"custom_cluster_spec": spec})
    part = make_worker_spec("mine", n_workers=1)
    part["spec"]["nodeselector"] = {}
    with pytest.warns(UserWarning, match=r"^custom_spec: .*nodeselector.*'nodeSelector'\?$"):
        check_worker_part(part)


@pytest.mark.parametrize("name", ["a" * 64, "A", "", 5, "default"])
def test_a_name_that_no_group_can_have_is_rejected(name: Any) -> None:
    with pytest.raises(errors.ValidationError, match="cannot be the name of a worker group"):
        checked_group_name(name)


@pytest.mark.parametrize("tail", [-1, "all", True])
def test_a_wrong_number_of_lines_is_rejected(tail: Any) -> None:
    check_tail(0)
    with pytest.raises(errors.ValidationError, match="is no number of lines from 0 on"):
        check_tail(tail)


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        (
            'pods "a-scheduler" is forbidden: failed quota: q: must specify limits.memory,'
            "requests.cpu for: scheduler.",
            " Pass resources= with limits.memory and requests.cpu.",
        ),
        (
            "failed quota: q: must specify requests.cpu.",
            " Pass resources= with requests.cpu.",
        ),
        (
            "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1.",
            " kubectl describe resourcequota -n team shows what is used.",
        ),
        ("no node has room", ""),
    ],
)
def test_a_quota_comes_with_what_to_do_about_it(problem: str, step: str) -> None:
    assert quota_step(problem, "team") == step
