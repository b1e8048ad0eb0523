"""What the first generation's page shows, as values: worker specs, addresses, totals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjob.classic.first_generation import total, worker_spec, workers_at
from daskjob.classic.reach import comm_port, dashboard_port, node_port
from daskjob.kube.services import host_of_balancer

#: The file of the page, word for word.
PAGE = """\
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
        value: fastparquet git+https://github.com/dask/distributed
    resources:
      limits:
        cpu: "2"
        memory: 6G
      requests:
        cpu: "2"
        memory: 6G
"""
WORKERS: dict[str, dict[str, Any]] = {
    "tcp://10.0.0.7:1234": {"name": 0},
    "tls://[fd00::1]:1234": {"name": 1},
}


@pytest.mark.check(53)
def test_file_of_the_page_is_a_worker_spec_for_the_operator(tmp_path: Path) -> None:
    file = tmp_path / "worker-spec.yml"
    file.write_text(PAGE)
    found = worker_spec(str(file))
    (container,) = found["spec"]["containers"]
    given = yaml.safe_load(PAGE)["spec"]["containers"][0]
    assert found["metadata"] == {"labels": {"foo": "bar"}}
    assert "restartPolicy" not in found["spec"]
    assert container["args"] == [
        *("dask", "worker", "--nthreads", "2", "--no-dashboard", "--memory-limit", "6GB"),
        *("--death-timeout", "60", "--name", "$(DASK_WORKER_NAME)"),
    ]
    assert container["name"] == "worker"
    assert (container["env"], container["resources"]) == (given["env"], given["resources"])


@pytest.mark.check(53)
@pytest.mark.parametrize(
    ("container", "args"),
    [
        ({}, "dask worker --name $(DASK_WORKER_NAME)"),
        ({"args": ["dask-worker", "--name", "a"]}, "dask worker --name a"),
        ({"command": ["dask-worker"], "args": None}, "--name $(DASK_WORKER_NAME)"),
        (
            {"name": "dask-cuda", "args": ["dask-cuda-worker", "$(DASK_SCHEDULER_ADDRESS)"]},
            "dask-cuda-worker $(DASK_SCHEDULER_ADDRESS) --name $(DASK_WORKER_NAME)",
        ),
    ],
)
def test_other_containers_are_worker_specs_too(container: dict[str, Any], args: str) -> None:
    side = {"name": "side", "image": "j"}
    found = worker_spec({"spec": {"containers": [{"image": "i", **container}, side]}})
    assert found["spec"]["containers"][0]["args"] == args.split()
    assert found["spec"]["containers"][1] == side


@pytest.mark.check(55)
@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("tcp://10.0.0.7:1234", 0),
        ("10.0.0.7:1234", 0),
        ("10.0.0.7", 0),
        ("fd00::1", 1),
        (1, 1),
        ("missing", "missing"),
    ],
)
def test_workers_are_found_by_address_and_by_name(address: Any, name: Any) -> None:
    assert workers_at([address], WORKERS) == [name]


@pytest.mark.check(55)
@pytest.mark.parametrize(
    ("n", "present", "maximum", "expected"),
    [(10, 0, None, 10), (3, 5, None, 5), (10, 2, 4, 4), (10, 6, 4, 6), (0, 0, 0, 0)],
)
def test_scale_up_is_a_total_that_removes_nothing(
    n: int, present: int, maximum: int | None, expected: int
) -> None:
    assert total(n, present, maximum) == expected


@pytest.mark.check(54)
def test_ports_and_addresses_of_services() -> None:
    ports = [
        {"name": "http-dashboard", "port": 80, "nodePort": 30080},
        {"name": "tcp-comm", "port": 9000, "nodePort": 30900},
    ]
    service = {"spec": {"ports": ports}}
    assert (comm_port(service), dashboard_port(service)) == (9000, 80)
    assert (comm_port({}), dashboard_port({})) == (8786, 8787)
    place = node_port(service, {"status": {"hostIP": "10.1.1.1"}})
    assert (place.address("tcp"), place.dashboard_port) == ("tcp://10.1.1.1:30900", 30080)
    assert node_port(service, {"status": {"hostIP": "fd00::2"}}).address("tls") == (
        "tls://[fd00::2]:30900"
    )
    for ingress, host in (
        ([{"ip": "1.2.3.4"}], "1.2.3.4"),
        ([{"hostname": "a.test", "ip": "1.2.3.4"}], "a.test"),
        ([{}], ""),
        (None, ""),
    ):
        assert host_of_balancer({"status": {"loadBalancer": {"ingress": ingress}}}) == host
