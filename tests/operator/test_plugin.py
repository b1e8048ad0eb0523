"""The sample plugin, installed like any package, in an operator with a real API server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from daskjob.kube.credentials import find_credentials
from tests.cluster.plugin import Kubernetes
from tests.core.manifests import cluster
from tests.operator.staged import staged

PACKAGE = Path(__file__).parents[2] / "examples" / "operator_plugin"
HOSTNAME = "external-dns.alpha.kubernetes.io/hostname"


def test_sample_plugin_names_the_scheduler_of_every_cluster(
    with_crds: Kubernetes, tmp_path: Path
) -> None:
    platform = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(platform),
    ]
    subprocess.run([*pip, str(PACKAGE)], check=True)
    environment = {"PYTHONPATH": str(platform), "DASK_DNS_DOMAIN": "dask.test"}
    asyncio.run(_named(with_crds.kubeconfig, tmp_path, environment))


async def _named(kubeconfig: Path, folder: Path, environment: dict[str, str]) -> None:
    access = await find_credentials(str(kubeconfig)).access()
    async with staged(access, folder, "plugin", environment) as stage:
        await stage.operator.start()
        manifest = cluster()
        for part in ("scheduler", "worker"):
            manifest["spec"][part]["spec"]["schedulerName"] = "nobody"
        manifest["metadata"].pop("namespace")
        await stage.server.create("DaskCluster", manifest)

        def host() -> object:
            service = stage.server.objects.get(("Service", "simple-scheduler"), {})
            return service.get("metadata", {}).get("annotations", {}).get(HOSTNAME)

        try:
            await stage.server.until(host)
        except TimeoutError:
            raise AssertionError(stage.transcript()) from None
        assert host() == f"simple.{stage.server.namespace}.dask.test"
        # The operator keeps working alongside it.
        await stage.server.until(
            lambda: sum(kind == "Pod" for kind, _ in stage.server.objects) == 3
        )
