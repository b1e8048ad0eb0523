"""Airflow in the process of the tests: a home of its own, and a cluster with an operator.

They run in Airflow's environment: ``make test-orchestrators ARGS=airflow``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Airflow reads its settings when it is imported.
HOME = Path(tempfile.mkdtemp(prefix="daskjob-airflow-"))
DAGS = HOME / "dags"
DAGS.mkdir()
DAGS.joinpath("tests").symlink_to(Path(__file__).parent / "dags")
DAGS.joinpath("examples").symlink_to(Path(__file__).parents[3] / "examples" / "airflow")
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "DASKJOB_STATE_DIR": str(HOME / "runs"),
}

from tests.cluster.plugin import Kubectl, Kubernetes, fresh_namespace  # noqa: E402
from tests.orchestrators.airflow.jobs import Jobs  # noqa: E402
from tests.orchestrators.airflow.runs import Runs  # noqa: E402
from tests.orchestrators.airflow.servers import Servers  # noqa: E402
from tests.waiting import wait_until  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Airflow and what it imports warn about each other."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """A home of Airflow with a database."""
    command = [str(Path(sys.executable).with_name("airflow")), "db", "migrate"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return HOME


@pytest.fixture
def runs(airflow_home: Path) -> Runs:
    """What runs the DAGs of this folder in this process."""
    return Runs(airflow_home, DAGS)


@pytest.fixture(scope="session")
def place(
    with_crds: Kubernetes, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A namespace with an operator, and the connection to it; returns its name."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with fresh_namespace(with_crds, request.node) as namespace:
        os.environ |= connection_to(with_crds, namespace)
        process = _operator(with_crds, namespace, log)
        try:
            yield namespace
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="session")
def servers(
    with_crds: Kubernetes, place: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """Airflow's four processes, for all tests that need them."""
    home = tmp_path_factory.mktemp("servers")
    started = Servers(home, DAGS, connection_to(with_crds, place))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def jobs(with_crds: Kubernetes, place: str) -> Jobs:
    """The jobs of the operator's namespace."""
    return Jobs(Kubectl(with_crds, place))


def connection_to(kubernetes: Kubernetes, namespace: str, **more: Any) -> dict[str, str]:
    """Return the variables that DAGs of tests need, with the default connection."""
    extra = {"kube_config_path": str(kubernetes.kubeconfig), "namespace": namespace, **more}
    return {
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": extra}),
        "DASKJOB_TEST_IMAGE": kubernetes.image("dask"),
    }


def _operator(kubernetes: Kubernetes, namespace: str, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("KUBE")},
        "KUBECONFIG": str(kubernetes.kubeconfig),
        "DASKJOB_POD_UID": namespace,
    }
    command = [sys.executable, "-m", "daskjob.controller", f"--namespace={namespace}"]
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    wait_until(lambda: "making passes" in log.read_text(), shows=log.read_text, pause=0.1)
    return process
