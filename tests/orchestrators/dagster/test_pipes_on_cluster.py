"""An asset of Dagster whose work is a DaskJob of a cluster, with a real operator."""

import inspect
import signal
from pathlib import Path
from typing import Any

import dagster_pipes
import pytest
from dagster import AssetExecutionContext, DagsterInstance, RetryPolicy, asset, materialize

from daskjob.integrations.dagster import PipesDaskJobClient
from daskjob.integrations.dagster.manifests import job_of_image
from daskjob.submit.client.sync_client import JobClient
from tests.cluster.plugin import Kubernetes
from tests.kubecluster.conftest import started_operator
from tests.orchestrators.dagster.test_pipes import log_of
from tests.orchestrators.images import dask_image

#: Dagster warns of what itself uses.
pytestmark = pytest.mark.filterwarnings("default")

SUMS = """
import os, sys
sys.path.insert(0, "/daskjob/files")
from dagster_pipes import open_dagster_pipes
from distributed import Client
with open_dagster_pipes() as pipes, Client() as client:
    total = client.submit(sum, pipes.get_extra("numbers")).result()
    print("the total is", total)
    pipes.report_asset_materialization(metadata={"total": total})
"""


class Lost(Exception):
    """What ends a try without its job."""


def test_a_retry_has_what_the_job_of_a_lost_try_reports(
    with_crds: Kubernetes,
    namespace: str,
    instance: DagsterInstance,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The first try is lost right after its job was started."""
    job = job_of_image(dask_image(with_crds), ["python", "-c", SUMS], n_workers=1)
    job["spec"]["job"]["files"] = {"dagster_pipes.py": inspect.getsource(dagster_pipes)}
    for pod in (job["spec"]["job"], *job["spec"]["cluster"]["spec"].values()):
        pod["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"

    class Client(JobClient):
        tries = 0

        def logs(self, *arguments: Any, **more: Any) -> Any:
            Client.tries += 1
            if Client.tries == 1:
                raise Lost
            return super().logs(*arguments, **more)

    @asset(retry_policy=RetryPolicy(max_retries=1))
    def sums(context: AssetExecutionContext, daskjob: PipesDaskJobClient) -> Any:
        return daskjob.run(
            context=context, job=job, extras={"numbers": [1, 2, 3]}, on_interrupt="keep"
        ).get_materialize_result()

    operator = started_operator(with_crds, namespace, tmp_path / "operator.log")
    try:
        with Client(namespace, kubeconfig=str(with_crds.kubeconfig)) as client:
            result = materialize(
                [sums],
                resources={"daskjob": PipesDaskJobClient(client)},
                instance=instance,
                raise_on_error=False,
            )
            (ran,) = client.list()
    finally:
        operator.send_signal(signal.SIGTERM)
        operator.wait(60)
    log = log_of(instance, result.run_id)
    assert result.success, log
    (found,) = result.asset_materializations_for_node("sums")
    assert found.metadata["total"].value == 6
    assert found.metadata["daskjob"].value == ran.name
    assert "is adopted" in log
    assert "the total is 6" in capfd.readouterr().out
    assert ran.name.endswith("-g1")
    assert ran.manifest["metadata"]["annotations"]["kubernetes.dask.org/acknowledged"]
