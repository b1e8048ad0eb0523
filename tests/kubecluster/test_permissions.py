"""KubeCluster under exactly the Role of docs/howto/rbac.md, outside of the Kubernetes.

``test_connections`` runs in a pod, with this Role but for logs and forwards.
"""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from daskjob.errors import ValidationError
from daskjob.kubecluster.cluster import KubeCluster
from tests.cli.kubeconfigs import kubeconfig_of
from tests.kubecluster.conftest import PATIENCE, SMALL, Place
from tests.kubecluster.permissions import (
    ACCOUNT,
    apply_role,
    granted,
    requested,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions")
#: What Services of other types need, what only a start that takes longer looks at, and what newer
#: API servers demand for forwards beside the verb of the request.
ELSEWHERE = {
    *(("list", "services"), ("watch", "services")),
    ("list", "events"),
    ("create", "pods/portforward"),
}


@pytest.mark.check(11)
@pytest.mark.check(26)
def test_everything_works_with_the_role_of_the_page_and_nothing_in_it_is_unused(
    place: Place,
    tmp_path: Path,
    audit: Callable[[], AbstractContextManager[Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    apply_role(place.kubectl)
    path = kubeconfig_of(place.kubernetes, place.namespace, ACCOUNT, tmp_path)
    given = {"kubeconfig": str(path), "port_forward_cluster_ip": True}
    with caplog.at_level(logging.INFO, "daskjob"), audit() as audited:
        with (
            place.cluster("permitted", n_workers=1, security=True, **given) as cluster,
            Client(cluster) as client,
        ):
            assert client.submit(sum, range(100)).result(PATIENCE) == 4950
            workers = client.scheduler_info()["workers"]
            assert all(one.startswith("tls://") for one in (cluster.scheduler_address, *workers))
            use(cluster)
            with found(place, path) as again, Client(again) as other:
                assert other.submit(sum, [1]).result(PATIENCE) == 1
            with pickle.loads(pickle.dumps(cluster)) as copy:
                wait_until(lambda: copy.observed == cluster.observed != set(), PATIENCE)
            # A missing permission is logged where a cluster works without.
            assert [line for line in caplog.messages if "forbidden" in line] == []
            without_certificates(place, path)
        wait_until(lambda: not place.kubectl.there("daskclusters"), PATIENCE)
    used = set(requested(audited, place.namespace))
    assert granted(place.kubectl) - used <= ELSEWHERE


def use(cluster: KubeCluster) -> None:
    """Call everything that needs a permission of its own."""
    cluster.scale(0)
    cluster.adapt(minimum=0, maximum=1)
    cluster.add_worker_group("more", n_workers=0, resources=SMALL)
    cluster.adapt(minimum=0, maximum=1, worker_group="more")
    cluster.scale(0, worker_group="more")
    cluster.scale(1)
    # The kubelet's log may lag.
    wait_until(lambda: "Scheduler at:" in cluster.get_logs()["permitted-scheduler"], pause=0.2)
    cluster.delete_worker_group("more")


def found(place: Place, kubeconfig: Path) -> KubeCluster:
    """Connect with the certificates of the cluster's Secret."""
    given = {"namespace": place.namespace, "kubeconfig": str(kubeconfig), "quiet": True}
    return KubeCluster.from_name("permitted", **given)


def without_certificates(place: Place, kubeconfig: Path) -> None:
    """Connect where they cannot be had."""
    apply_role(place.kubectl, without=("secrets",))
    rejected(place, kubeconfig, r'cannot get resource "secrets" .* grants it with the rule')
    apply_role(place.kubectl)
    changed = json.dumps([{"op": "remove", "path": "/data/ca.pem"}])
    place.kubectl("patch", "secret", "permitted-tls", "--type=json", "--patch", changed)
    rejected(place, kubeconfig, "Secret permitted-tls has no certificates")
    place.kubectl("delete", "secret", "permitted-tls")
    rejected(place, kubeconfig, "there is no Secret permitted-tls with its certificates")


def rejected(place: Place, kubeconfig: Path, reason: str) -> None:
    text = "cluster permitted uses TLS: pass security=, a distributed.Security"
    with pytest.raises(ValidationError, match=f"{text}.*{reason}"):
        found(place, kubeconfig)
